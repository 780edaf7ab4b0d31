from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from poolproof import probe
from poolproof.history import Executions, Follower, pair, read_records
from poolproof.history.records import _RECORD
from poolproof.probe import RAISED, RETURNED, STARTED
from tests.unit.record_files import RecordFile

Line = tuple[int, int, int, int, int, int]
"""kind, pid, start time, tid, operation, time."""


def records(*lines: Line) -> np.ndarray:
    made = np.zeros(len(lines), dtype=_RECORD)
    made["magic"] = probe.MAGIC
    for name, column in zip(("kind", "pid", "start_time", "tid", "op", "at"), zip(*lines, strict=True), strict=False):
        made[name] = column
    return made


def rows(executions: Executions) -> list[tuple[int, int, int, int, int, int, int]]:
    e = executions
    columns = (e.pid, e.start_time, e.tid, e.op, e.started, e.ended, e.raised)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_a_start_and_its_end_are_one_execution() -> None:
    assert rows(pair(records((STARTED, 1, 1, 1, 9, 10), (RETURNED, 1, 1, 1, 9, 20)))) == [(1, 1, 1, 9, 10, 20, 0)]


def test_an_execution_that_raised_says_so() -> None:
    assert rows(pair(records((STARTED, 1, 1, 1, 9, 10), (RAISED, 1, 1, 1, 9, 20)))) == [(1, 1, 1, 9, 10, 20, 1)]


def test_a_start_without_an_end_has_not_ended() -> None:
    assert rows(pair(records((STARTED, 1, 1, 1, 9, 10)))) == [(1, 1, 1, 9, 10, 0, 0)]


def test_a_start_and_an_end_of_the_same_nanosecond_belong_together() -> None:
    assert rows(pair(records((STARTED, 1, 1, 1, 9, 10), (RETURNED, 1, 1, 1, 9, 10)))) == [(1, 1, 1, 9, 10, 10, 0)]


def test_an_operation_that_one_thread_ran_twice_is_two_executions() -> None:
    lines = ((STARTED, 1, 1, 1, 9, 10), (RETURNED, 1, 1, 1, 9, 20), (STARTED, 1, 1, 1, 9, 30), (RAISED, 1, 1, 1, 9, 40))
    assert rows(pair(records(*lines))) == [(1, 1, 1, 9, 10, 20, 0), (1, 1, 1, 9, 30, 40, 1)]


def test_an_end_belongs_to_the_last_start_before_it() -> None:
    lines = ((STARTED, 1, 1, 1, 9, 10), (STARTED, 1, 1, 1, 9, 20), (RETURNED, 1, 1, 1, 9, 30))
    assert rows(pair(records(*lines))) == [(1, 1, 1, 9, 10, 0, 0), (1, 1, 1, 9, 20, 30, 0)]


def test_an_end_without_a_start_is_no_execution() -> None:
    assert rows(pair(records((RETURNED, 1, 1, 1, 9, 10)))) == []


def test_the_end_of_another_thread_process_life_or_operation_ends_nothing() -> None:
    for other in ((2, 1, 1, 9), (1, 2, 1, 9), (1, 1, 2, 9), (1, 1, 1, 8), (1, 1, 1, 10)):
        assert rows(pair(records((STARTED, 1, 1, 1, 9, 10), (RETURNED, *other, 20)))) == [(1, 1, 1, 9, 10, 0, 0)]


def test_executions_are_in_the_order_of_their_beginning() -> None:
    lines = ((STARTED, 1, 1, 1, 9, 30), (STARTED, 2, 1, 1, 8, 10), (STARTED, 3, 1, 1, 7, 20))
    assert pair(records(*lines)).started.tolist() == [10, 20, 30]


@dataclass
class Life:
    """One thread of one incarnation, as it goes through its operations."""

    pid: int
    start_time: int
    tid: int
    steps: list[tuple[int, int, int]] = field(default_factory=list)


@given(st.data())
def test_whatever_the_interleaving_each_execution_gets_its_own_end(data: st.DataObject) -> None:
    lives = [Life(pid, start, tid) for pid in (1, 2) for start in (5, 6) for tid in (1, 2)]
    lines: list[Line] = []
    expected = []
    clock = 0
    running: dict[int, tuple[int, int]] = {}
    for _ in range(data.draw(st.integers(0, 40))):
        number = data.draw(st.integers(0, len(lives) - 1))
        life, clock = lives[number], clock + data.draw(st.integers(1, 3))
        who = (life.pid, life.start_time, life.tid)
        if number in running:
            op, begun = running.pop(number)
            kind = data.draw(st.sampled_from([RETURNED, RAISED]))
            lines.append((kind, *who, op, clock))
            expected.append((*who, op, begun, clock, int(kind == RAISED)))
        else:
            op = data.draw(st.integers(0, 3))
            running[number] = (op, clock)
            lines.append((STARTED, *who, op, clock))
    expected += [
        (lives[n].pid, lives[n].start_time, lives[n].tid, op, begun, 0, 0) for n, (op, begun) in running.items()
    ]
    shuffled = data.draw(st.permutations(lines))
    assert sorted(rows(pair(records(*shuffled)))) == sorted(expected)


def test_the_files_of_all_workers_are_read(tmp_path: Path) -> None:
    RecordFile(tmp_path, 11, 1).begins(4, 10)
    RecordFile(tmp_path, 12, 1).begins(5, 20)
    executions, damaged = read_records(tmp_path)
    assert (executions.pid.tolist(), executions.op.tolist(), damaged) == ([11, 12], [4, 5], 0)


def test_a_run_without_workers_has_no_executions(tmp_path: Path) -> None:
    executions, damaged = read_records(tmp_path)
    assert (len(executions), damaged) == (0, 0)


def test_a_record_that_was_cut_off_is_counted_as_damage(tmp_path: Path) -> None:
    file = RecordFile(tmp_path)
    file.begins(4)
    file.append(b"\0" * 10)
    executions, damaged = read_records(tmp_path)
    assert (len(executions), damaged) == (1, 10)


def test_a_record_of_another_magic_is_counted_as_damage(tmp_path: Path) -> None:
    file = RecordFile(tmp_path)
    file.append(b"\xff" * 64)
    file.begins(4)
    executions, damaged = read_records(tmp_path)
    assert (len(executions), damaged) == (1, 64)


def test_a_record_of_an_unknown_kind_is_counted_as_damage(tmp_path: Path) -> None:
    file = RecordFile(tmp_path)
    file.write(9, 4)
    executions, damaged = read_records(tmp_path)
    assert (len(executions), damaged) == (0, 64)


def test_a_follower_tells_what_a_worker_runs_now(tmp_path: Path) -> None:
    RecordFile(tmp_path, 11, 1100).begins(4, tid=3)
    follower = Follower(tmp_path)
    follower.refresh()
    assert follower.workers[11, 1100].running == {3: 4}


def test_a_follower_reads_on_from_where_it_was(tmp_path: Path) -> None:
    file, follower = RecordFile(tmp_path), Follower(tmp_path)
    file.begins(4)
    follower.refresh()
    file.ends(4)
    file.begins(5)
    worker = follower.refresh_worker(11, 1100)
    assert (worker.running, worker.offset) == ({1: 5}, 192)


def test_a_follower_knows_a_worker_that_has_nothing_to_do(tmp_path: Path) -> None:
    file, follower = RecordFile(tmp_path), Follower(tmp_path)
    file.begins(4)
    file.ends(4)
    follower.refresh()
    assert follower.workers[11, 1100].running == {}


def test_a_follower_waits_for_the_rest_of_a_record(tmp_path: Path) -> None:
    file, follower = RecordFile(tmp_path), Follower(tmp_path)
    file.begins(4)
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:30])
    follower.refresh()
    assert (follower.workers[11, 1100].running, follower.workers[11, 1100].offset) == ({}, 0)
    file.path.write_bytes(whole)
    follower.refresh()
    assert follower.workers[11, 1100].running == {1: 4}


def test_a_follower_tells_the_threads_of_a_worker_apart(tmp_path: Path) -> None:
    file, follower = RecordFile(tmp_path), Follower(tmp_path)
    file.begins(4, tid=1)
    file.begins(5, tid=2)
    file.ends(4, tid=1)
    follower.refresh()
    assert follower.workers[11, 1100].running == {2: 5}
