import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from poolproof import probe
from poolproof.probe import RAISED, RETURNED, STARTED, Call, ProbeError, WorkloadError, type_mark
from poolproof.workloads import commands
from poolproof.workloads.commands import ScriptedError
from tests.unit import samples

SCRIPTED = commands.REFERENCE
SAMPLE = "tests.unit.samples:doubling"


class Record(NamedTuple):
    magic: int
    kind: int
    pid: int
    tid: int
    counter: int
    start_time: int
    op: int
    at: int
    session: int
    epoch: int
    error_type: int


@pytest.fixture(autouse=True)
def _no_recorder_of_another_test() -> Iterator[None]:
    yield
    probe._forget()


def records_in(folder: Path) -> list[Record]:
    return [Record(*line) for path in sorted(folder.iterdir()) for line in probe.RECORD.iter_unpack(path.read_bytes())]


def answering(folder: Path, op: int = 7, value: Any = "yes", session: int = -1) -> Call:
    return Call(str(folder), SCRIPTED, op, "obey", ("answer", value), session)


def failing(folder: Path, op: int = 7) -> Call:
    return Call(str(folder), SCRIPTED, op, "obey", ("fail", "no"))


def test_a_call_returns_its_operation_beside_the_result(tmp_path: Path) -> None:
    assert answering(tmp_path)() == (7, "yes")


def test_a_call_that_returns_leaves_a_start_and_an_end_record(tmp_path: Path) -> None:
    answering(tmp_path)()
    assert [(r.kind, r.op) for r in records_in(tmp_path)] == [(STARTED, 7), (RETURNED, 7)]


def test_a_call_that_raises_leaves_a_record_of_that(tmp_path: Path) -> None:
    with pytest.raises(ScriptedError):
        failing(tmp_path)()
    assert [r.kind for r in records_in(tmp_path)] == [STARTED, RAISED]


def test_an_error_of_the_workload_arrives_as_itself(tmp_path: Path) -> None:
    with pytest.raises(ScriptedError, match=r"^no$"):
        failing(tmp_path)()


@pytest.mark.parametrize("kind", ["raises-base-exception", "calls-sys-exit"])
def test_what_is_no_exception_is_recorded_too(kind: str, tmp_path: Path) -> None:
    with pytest.raises(BaseException):  # noqa: B017, PT011 - any is let through
        Call(str(tmp_path), "poolproof.workloads.awkward:workload", 7, kind, None)()
    assert [r.kind for r in records_in(tmp_path)] == [STARTED, RAISED]


def test_a_workload_that_can_not_be_imported_is_an_error_of_its_operation(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="No module named 'no'"):
        Call(str(tmp_path), "no.such.module:workload", 7, "obey", None)()
    assert [r.kind for r in records_in(tmp_path)] == [STARTED, RAISED]


def test_the_record_of_an_error_bears_the_mark_of_its_type(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError):
        Call(str(tmp_path), "no.such.module:workload", 7, "obey", None)()
    assert records_in(tmp_path)[1].error_type == type_mark("poolproof.probe.WorkloadError")


def test_a_record_names_its_incarnation(tmp_path: Path) -> None:
    answering(tmp_path)()
    record = records_in(tmp_path)[0]
    assert (record.magic, record.pid, record.error_type) == (probe.MAGIC, os.getpid(), 0)
    assert [path.name for path in tmp_path.iterdir()] == [f"{record.pid}-{record.start_time}.bin"]


def test_the_end_is_not_before_the_start(tmp_path: Path) -> None:
    answering(tmp_path)()
    start, end = records_in(tmp_path)
    assert 0 < start.at <= end.at


def test_a_record_is_64_bytes_long_so_that_none_crosses_a_page() -> None:
    assert probe.RECORD.size == 64


def test_the_calls_of_a_process_share_one_file(tmp_path: Path) -> None:
    answering(tmp_path, 1)()
    answering(tmp_path, 2)()
    assert [r.op for r in records_in(tmp_path)] == [1, 1, 2, 2]
    assert len(list(tmp_path.iterdir())) == 1


def test_two_runs_in_one_process_keep_their_records_apart(tmp_path: Path) -> None:
    for op, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        answering(tmp_path / name, op)()
    assert [[r.op for r in records_in(tmp_path / name)] for name in "ab"] == [[0, 0], [1, 1]]


def test_a_forked_child_does_not_write_under_the_name_of_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(tmp_path, 1)()
    probe._forget()
    monkeypatch.setattr(os, "getpid", lambda: 4242)
    answering(tmp_path, 2)()
    assert [(r.op, r.pid == 4242) for r in records_in(tmp_path) if r.kind == STARTED and r.pid == 4242] == [(2, True)]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_forked_child_closes_the_file_of_its_parent(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    answering(tmp_path)()
    probe._forget()
    assert os.listdir("/proc/self/fd") == before


def test_a_workload_is_set_up_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_workloads", {})
    samples.set_up.clear()
    for op in range(3):
        Call(str(tmp_path), SAMPLE, op, "double", 4)()
    assert samples.set_up == ["once"]


def test_a_call_without_a_session_records_none(tmp_path: Path) -> None:
    answering(tmp_path)({})
    assert {(r.session, r.epoch, r.counter) for r in records_in(tmp_path)} == {(-1, 0, 0)}


def test_a_call_without_a_session_leaves_the_state_alone(tmp_path: Path) -> None:
    state: dict[str, Any] = {}
    answering(tmp_path)(state)
    assert state == {}


def test_a_session_counts_its_uses_in_its_state(tmp_path: Path) -> None:
    state: dict[str, Any] = {}
    for op in range(3):
        answering(tmp_path, op, session=5)(state)
    assert [r.counter for r in records_in(tmp_path) if r.kind == STARTED] == [1, 2, 3]


def test_a_session_keeps_its_epoch_as_long_as_it_keeps_its_state(tmp_path: Path) -> None:
    state: dict[str, Any] = {}
    for op in range(3):
        answering(tmp_path, op, session=5)(state)
    assert len({r.epoch for r in records_in(tmp_path)}) == 1


def test_fresh_state_begins_another_epoch(tmp_path: Path) -> None:
    for op in range(2):
        answering(tmp_path, op, session=5)({})
    starts = [r for r in records_in(tmp_path) if r.kind == STARTED]
    assert [r.counter for r in starts] == [1, 1]
    assert starts[0].epoch != starts[1].epoch


def test_the_token_is_the_one_that_is_found_in_the_state(tmp_path: Path) -> None:
    state: dict[str, Any] = {}
    answering(tmp_path, 1, session=5)(state)
    answering(tmp_path, 2, session=6)(state)
    assert {r.session for r in records_in(tmp_path)} == {5}


def test_the_workload_gets_the_state_of_its_session(tmp_path: Path) -> None:
    state: dict[str, Any] = {}
    Call(str(tmp_path), SAMPLE, 1, "remember", "one", 5)(state)
    assert Call(str(tmp_path), SAMPLE, 2, "remember", "two", 5)(state) == (2, ["one", "two"])


def test_a_session_whose_user_clears_its_state_keeps_its_epoch(tmp_path: Path) -> None:
    state: dict[str, Any] = {}
    Call(str(tmp_path), SAMPLE, 1, "remember", "one", 5)(state)
    assert Call(str(tmp_path), SAMPLE, 2, "forget", None, 5)(state) == (2, 0)
    answering(tmp_path, 3, session=5)(state)
    starts = [record for record in records_in(tmp_path) if record.kind == STARTED]
    assert [(record.session, record.counter) for record in starts] == [(5, 1), (5, 2), (5, 3)]
    assert len({record.epoch for record in starts}) == 1


def test_a_state_without_a_session_that_is_cleared_stays_empty(tmp_path: Path) -> None:
    state = {"key": True}
    Call(str(tmp_path), SAMPLE, 1, "forget", None)(state)
    assert state == {}


@pytest.mark.parametrize(("workload", "set_up"), [(SAMPLE, ["once"]), ("", [])])
def test_a_worker_has_set_up_its_work_before_it_meets_the_others(
    workload: str, set_up: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_workloads", {})
    monkeypatch.setattr(probe, "_rendezvous", lambda address, timeout_s: [*samples.set_up, address, timeout_s])
    samples.set_up.clear()
    assert Call(str(tmp_path), workload, 7, probe.RENDEZVOUS, ("there", 2.5))() == (7, [*set_up, "there", 2.5])


def test_a_call_survives_pickling(tmp_path: Path) -> None:
    call = answering(tmp_path, session=3)
    copy = pickle.loads(pickle.dumps(call))
    assert {name: getattr(copy, name) for name in Call.__slots__} == {
        name: getattr(call, name) for name in Call.__slots__
    }


def test_a_call_that_was_pickled_still_runs(tmp_path: Path) -> None:
    assert pickle.loads(pickle.dumps(answering(tmp_path)))() == (7, "yes")


def test_a_record_file_that_can_not_be_opened_is_the_probes_failure(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match=r"the record file .* can't be opened: No such file or directory"):
        answering(tmp_path / "none")()


def test_a_record_that_can_not_be_written_is_the_probes_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ProbeError, match="a record of operation 7 can't be written: No space left on device"):
        answering(tmp_path)()


def test_a_record_that_is_written_in_part_is_the_probes_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", lambda fd, content: 10)
    with pytest.raises(ProbeError, match="a record of operation 7 was written in part"):
        answering(tmp_path)()
