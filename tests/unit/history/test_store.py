from dataclasses import fields
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest

from poolproof import plan as plans
from poolproof.errors import HistoryError, UsageError
from poolproof.history import (
    ClientColumns,
    Error,
    History,
    Journal,
    Lifecycle,
    Outcome,
    Phase,
    Sample,
    collect,
    load,
    read_plan,
    save,
    write_claims,
)
from poolproof.history import journal as journals
from poolproof.plan import STARTS, Claims
from tests.unit.histories import KILL, KILL_PARENT, ORIGIN, STALL, Story, born, make_plan, promised
from tests.unit.record_files import RecordFile


def whole_story() -> History:
    """A history with something in every table."""
    story = Story.of(KILL, claims=promised("restores-capacity")).op(0.1).fails(0.2, by=12).hangs(0.3, ended=False)
    story.struck(12, 0.5, held=(1, 2)).lived(12, gone=0.5).left(12).capacity(4, 2).damaged(64).watched(9)
    history = story.history()
    sample = Sample(at=1, processes=2, zombies=0, memory_bytes=1 << 40, generator_ticks=4, lab_threads=5, lab_files=6)
    return History(
        **{
            **{field.name: getattr(history, field.name) for field in fields(history)},
            "samples": (sample,),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with a saved history."""
    home = tmp_path / "run"
    home.mkdir()
    history = whole_story()
    (home / "plan.json").write_bytes(plans.encode(history.plan))
    save(history, home)
    return home


def assert_equal(one: History, other: History) -> None:
    for field in fields(History):
        mine, its = getattr(one, field.name), getattr(other, field.name)
        if field.name in ("operations", "executions"):
            for column in fields(mine):
                np.testing.assert_array_equal(getattr(mine, column.name), getattr(its, column.name))
                assert getattr(mine, column.name).dtype == getattr(its, column.name).dtype
        else:
            assert mine == its, field.name


def test_a_history_that_was_saved_is_loaded_as_it_was(folder: Path) -> None:
    assert_equal(load(folder), whole_story())


def test_an_empty_history_is_loaded_as_it_was(tmp_path: Path) -> None:
    history = Story().history()
    (tmp_path / "plan.json").write_bytes(plans.encode(history.plan))
    save(history, tmp_path)
    assert_equal(load(tmp_path), history)


def test_saving_removes_the_raw_files(folder: Path) -> None:
    (folder / "client").mkdir()
    RecordFile(folder).begins(1)
    write_claims(folder, plans.Claims())
    Journal(folder).write(Lifecycle(event="e", at=1))
    save(whole_story(), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["history", "history.json", "plan.json"]


def test_saving_leaves_what_else_is_in_the_folder(folder: Path) -> None:
    (folder / "stacks.txt").write_text("stacks")
    save(whole_story(), folder)
    assert (folder / "stacks.txt").read_text() == "stacks"


def test_a_run_folder_holds_no_pickle(folder: Path) -> None:
    names = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert names == {".json", ".parquet"}


def refusal(folder: Path) -> str:
    with pytest.raises(HistoryError) as caught:
        load(folder)
    assert caught.value.folder == folder
    assert isinstance(caught.value, UsageError)
    message = str(caught.value)
    assert message.startswith(f"{folder}: ")
    return message


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    assert "not a run folder" in refusal(tmp_path)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert "not a run folder" in refusal(tmp_path / "none")


def test_a_run_that_did_not_end_is_refused(folder: Path) -> None:
    (folder / "history.json").unlink()
    assert "the run did not end there" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": "poolproof/history-3"}', b"\xff\xff"])
def test_a_damaged_description_is_refused(content: bytes, folder: Path) -> None:
    (folder / "history.json").write_bytes(content)
    assert "history.json is damaged" in refusal(folder)


def test_a_history_of_another_version_is_refused(folder: Path) -> None:
    meta = msgspec.json.decode((folder / "history.json").read_bytes())
    (folder / "history.json").write_bytes(msgspec.json.encode(meta | {"schema": "poolproof/history-99"}))
    assert "it is of version 'poolproof/history-99'" in refusal(folder)


def test_a_history_of_another_version_and_shape_is_refused_for_its_version(folder: Path) -> None:
    (folder / "history.json").write_bytes(b'{"schema": "poolproof/history-99", "sorts": []}')
    assert "it is of version 'poolproof/history-99'" in refusal(folder)


TABLES = ("operations", "executions", *journals.TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_missing_is_refused(table: str, folder: Path) -> None:
    (folder / "history" / f"{table}.parquet").unlink()
    assert f"{table}.parquet is missing" in refusal(folder)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("keep", [0, 3, 100])
def test_a_table_that_is_truncated_is_refused(table: str, keep: int, folder: Path) -> None:
    path = folder / "history" / f"{table}.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    assert f"{table}.parquet is truncated or damaged" in refusal(folder)


def test_a_table_with_other_columns_is_refused(folder: Path) -> None:
    tables = folder / "history"
    (tables / "operations.parquet").write_bytes((tables / "executions.parquet").read_bytes())
    assert "operations.parquet has the columns" in refusal(folder)


def test_a_table_with_rows_of_another_shape_is_refused(folder: Path) -> None:
    tables = folder / "history"
    (tables / "faults.parquet").write_bytes((tables / "lifecycle.parquet").read_bytes())
    assert "faults.parquet holds rows of another shape" in refusal(folder)


def test_a_table_with_values_of_another_type_is_refused(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "history" / "operations.parquet"
    table = pq.read_table(path)
    words = pa.array(["word"] * len(table))
    pq.write_table(table.set_column(table.column_names.index("sent"), "sent", words), path)
    assert "operations.parquet" in refusal(folder)


def test_a_plan_that_is_missing_is_refused(folder: Path) -> None:
    (folder / "plan.json").unlink()
    assert "plan.json can't be read" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[1]"])
def test_a_damaged_plan_is_refused(content: bytes, folder: Path) -> None:
    (folder / "plan.json").write_bytes(content)
    assert "plan.json is damaged or of another version" in refusal(folder)


def test_a_plan_of_another_schema_is_refused(folder: Path) -> None:
    plan = msgspec.structs.replace(make_plan(), schema="poolproof/plan-99")
    (folder / "plan.json").write_bytes(plans.encode(plan))
    assert "schema 'poolproof/plan-99', expected 'poolproof/plan-3'" in refusal(folder)


def test_a_plan_is_read_by_itself(folder: Path) -> None:
    assert read_plan(folder) == whole_story().plan


def test_what_a_run_left_is_collected(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(plans.encode(make_plan()))
    write_claims(tmp_path, promised("restores-capacity"))
    columns = ClientColumns(tmp_path, ("predict",), 4)
    columns.sent[0] = 5
    columns.close()
    RecordFile(tmp_path).begins(0)
    journal = Journal(tmp_path)
    journal.write(Lifecycle(event="measured", at=7))
    journal.close()
    history = collect(tmp_path, {"python": "3"})
    assert (len(history.operations), len(history.executions), history.kinds) == (1, 1, ("predict",))
    assert (history.lifecycle[0].at, history.claims, history.environment) == (
        7,
        promised("restores-capacity"),
        {"python": "3"},
    )


def ended(folder: Path, *, op: int = 0, raised: str | None = "m.E", outcome: Outcome = Outcome.POOL_ERROR) -> int:
    """How two operations ended that both ended so, with an m.E, after a worker had recorded what one of them raised."""
    (folder / "plan.json").write_bytes(plans.encode(make_plan()))
    columns = ClientColumns(folder, ("predict",), 2)
    for row in range(2):
        columns.sent[row], columns.done[row], columns.outcome[row], columns.error[row] = 5, 9, outcome, 3
    columns.close()
    records = RecordFile(folder)
    records.begins(op, 6)
    if raised is not None:
        records.raises(op, 7, raised)
    journal = Journal(folder)
    journal.write(Error(error=3, type="m.E", bases=(), message="", cause=""))
    journal.close()
    first, second = collect(folder, {}).operations.outcome.tolist()
    assert second == outcome
    return int(first)


def test_an_error_of_the_very_type_that_the_call_was_seen_to_raise_is_the_users_own(tmp_path: Path) -> None:
    assert ended(tmp_path) == Outcome.USER_ERROR


@pytest.mark.parametrize("raised", ["m.Other", None])
def test_an_error_that_the_call_was_not_seen_to_raise_is_the_pools(raised: str | None, tmp_path: Path) -> None:
    assert ended(tmp_path, raised=raised) == Outcome.POOL_ERROR


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.WRONG, Outcome.CANCELLED, Outcome.REJECTED])
def test_what_did_not_end_with_an_error_of_the_pool_ends_as_it_was_seen(outcome: Outcome, tmp_path: Path) -> None:
    assert ended(tmp_path, outcome=outcome) == outcome


@pytest.mark.parametrize("op", [-1, -2, 2, 99])
def test_what_an_unknown_operation_raised_is_nobodys_error(op: int, tmp_path: Path) -> None:
    assert ended(tmp_path, op=op) == Outcome.POOL_ERROR


def test_an_error_that_is_not_in_the_table_is_the_pools(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(plans.encode(make_plan()))
    columns = ClientColumns(tmp_path, ("predict",), 1)
    columns.sent[0], columns.done[0], columns.outcome[0], columns.error[0] = 5, 9, Outcome.POOL_ERROR, -1
    columns.close()
    records = RecordFile(tmp_path)
    records.begins(0, 6)
    records.raises(0, 7, "m.E")
    assert collect(tmp_path, {}).operations.outcome.tolist() == [Outcome.POOL_ERROR]


def test_a_pool_that_was_never_built_says_nothing_of_itself(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(plans.encode(make_plan()))
    assert collect(tmp_path, {}).claims == plans.Claims()


def test_damage_to_the_records_is_collected(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(plans.encode(make_plan()))
    RecordFile(tmp_path).append(b"x" * 70)
    assert collect(tmp_path, {}).damaged_bytes == 70


def test_moments_are_told_from_the_start_of_the_measured_window() -> None:
    assert Story().history().seconds(ORIGIN + 1_500_000_000) == 1.5


def test_moments_are_told_from_the_first_event_where_nothing_was_measured() -> None:
    history = msgspec_free(Lifecycle(event="stage", at=3_000_000_000))
    assert history.seconds(4_000_000_000) == 1.0


def test_moments_of_a_history_without_events_are_told_as_they_are() -> None:
    assert msgspec_free().seconds(4_000_000_000) == 4.0


def msgspec_free(*lifecycle: Lifecycle) -> History:
    """A history with these events alone."""
    history = Story().history()
    return History(
        **{**{field.name: getattr(history, field.name) for field in fields(history)}, "lifecycle": lifecycle}
    )


def test_the_first_event_of_a_name_and_stage_is_found() -> None:
    history = Story().event("stage", 1, "a").event("stage", 2, "b").event("stage", 3, "b").history()
    found = history.first("stage", "b")
    assert found is not None
    assert history.seconds(found.at) == 2.0


def test_an_event_that_did_not_happen_is_not_found() -> None:
    assert Story().history().first("hung") is None


def test_the_last_heal_is_the_end_of_the_last_fault() -> None:
    history = Story.of(KILL, STALL).struck(12, 1, 5, fault=1).struck(11, 2).history()
    assert history.seconds(history.last_heal) == 5.0


def test_there_is_no_heal_without_a_fault() -> None:
    assert Story().history().last_heal == 0


def test_operations_are_told_by_their_kinds_and_phases() -> None:
    history = Story().op(0.1).op(0.2, kind="batch").op(0.3, kind="raises", phase=Phase.PROBE).history()
    assert history.kind_of(1) == "batch"
    assert history.of_kinds(frozenset({"batch", "raises"})).tolist() == [False, True, True]
    assert history.in_phase(Phase.PROBE).tolist() == [False, False, True]


def test_ended_tells_the_operations_of_these_outcomes() -> None:
    history = Story().op(0.1).fails(0.2).op(0.3, outcome=Outcome.CANCELLED).hangs(0.4).history()
    assert history.ended(Outcome.POOL_ERROR, Outcome.CANCELLED).tolist() == [False, True, True, False]


def test_what_was_never_sent_has_not_ended_in_any_way() -> None:
    history = Story().op(0.1, None, sent=False, by=None).history()
    assert not history.ended(*Outcome).any()


def test_an_outcome_whose_moment_was_not_stored_any_more_does_not_count() -> None:
    history = Story().op(0.1).history()
    history.operations.done[0] = 0
    assert not history.ended(*Outcome).any()


def of_type(story: Story, *types: str) -> list[bool]:
    return [bool(mask) for mask in story.history().ended_with(types)]


@pytest.mark.parametrize("outcome", [Outcome.POOL_ERROR, Outcome.REJECTED])
def test_what_ended_with_an_error_is_told_by_its_type(outcome: Outcome) -> None:
    assert of_type(Story().fails(0.1, "m.A", outcome=outcome).fails(0.2, "m.B", outcome=outcome), "m.A") == [
        True,
        False,
    ]


def test_what_ended_with_an_error_is_told_by_a_base_of_it() -> None:
    story = Story().fails(0.1, "m.A", bases=("m.Base", "builtins.Exception")).fails(0.2, "m.B")
    assert of_type(story, "m.Base") == [True, False]


def test_any_of_several_types_will_do() -> None:
    assert of_type(Story().fails(0.1, "m.A").fails(0.2, "m.B").fails(0.3, "m.C"), "m.C", "m.A") == [
        True,
        False,
        True,
    ]


def test_without_a_type_nothing_ended_so() -> None:
    assert of_type(Story().fails(0.1, "m.A").op(0.2)) == [False, False]


def test_what_ended_without_an_error_ended_with_none_of_a_type() -> None:
    assert of_type(Story().op(0.1).op(0.2, outcome=Outcome.CANCELLED).fails(0.3, "m.A"), "m.A") == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.WRONG, Outcome.USER_ERROR, Outcome.CANCELLED])
def test_the_type_of_an_error_that_is_not_the_pools_does_not_matter(outcome: Outcome) -> None:
    assert of_type(Story().fails(0.1, "m.A", outcome=outcome), "m.A") == [False]


def test_the_executions_of_an_operation_are_found() -> None:
    history = Story().op(0.1).op(0.2).ran(0, 12, 0.5, 0.6).history()
    assert history.executions_of(0).tolist() == [0, 2]
    assert history.executions.start_time[2] == born(12)


@pytest.mark.parametrize(("op", "known"), [(-1, False), (0, True), (1, True), (2, False)])
def test_an_execution_is_known_when_its_operation_is_one_of_the_clients(op: int, known: bool) -> None:
    assert Story().op(0.1, by=None).op(0.2, by=None).ran(op, 11, 0.3, 0.4).history().known.tolist() == [known]


@pytest.mark.parametrize(
    ("kind", "target", "pids"),
    [("", "pool", [11, 12]), ("kill", "pool", [11]), ("stall", "pool", [12]), ("kill", "parent", [13])],
)
def test_effective_faults_are_told_apart_by_kind_and_by_whom_they_befell(
    kind: str, target: Literal["pool", "parent"], pids: list[int]
) -> None:
    story = Story.of(KILL, STALL, KILL_PARENT).struck(11, 1.0).struck(12, 1.0, fault=1).struck(13, 2.0, fault=2)
    assert [fault.pid for fault in story.history().effective(kind, target)] == pids


def test_effective_faults_on_the_parent_are_asked_for_by_name() -> None:
    story = Story.of(KILL, KILL_PARENT).struck(11, 1.0).struck(13, 2.0, fault=1)
    assert [fault.pid for fault in story.history().effective(target="parent")] == [13]


def test_a_fault_without_effect_is_no_effective_one() -> None:
    story = Story.of(KILL).struck(11, 1.0, effective="no").struck(0, 1.0, effective="pool-dead")
    assert story.history().effective() == []


def test_the_patience_with_a_pool_grows_with_the_longest_of_its_starts() -> None:
    story = Story.of(claims=Claims(detection_s=2)).event("ready", -3, "ready", 0.5).event("ready", -2, "ready", 1.5)
    assert story.event("ready", -1, "ready", 0.1).history().patience_s == 6 + STARTS * 1.5


def test_the_patience_with_a_pool_whose_start_was_not_seen_is_that_of_its_plan() -> None:
    assert Story().event("stage", -1, "ready", 9.0).event("ready", -1, "ready").history().patience_s == 3


def lives(story: Story, *, threads: bool = False) -> tuple[list[int], list[int]]:
    history = story.history()
    number, row = history.lives(np.arange(len(history.executions)), threads=threads)
    return number.tolist(), row.tolist()


def test_each_execution_has_the_number_of_the_process_that_ran_it() -> None:
    story = Story().op(0.1, by=12).op(0.2, by=11).op(0.3, by=12).op(0.4, by=12, life=7)
    number, _ = lives(story)
    assert number[0] == number[2]
    assert len({number[0], number[1], number[3]}) == 3


@pytest.mark.parametrize(("threads", "count"), [(False, 1), (True, 2)])
def test_threads_are_told_apart_where_that_is_asked_for(threads: bool, count: int) -> None:
    number, row = lives(Story().op(0.1, tid=1).op(0.2, tid=2).op(0.3, tid=1), threads=threads)
    assert (len(set(number)), len(row), number[0]) == (count, count, number[2])


def test_each_life_is_told_with_the_first_of_its_rows() -> None:
    number, row = lives(Story().op(0.1, by=12).op(0.2, by=11).op(0.3, by=12).op(0.4, by=11))
    assert [row[life] for life in number] == [0, 1, 0, 1]


@pytest.mark.parametrize("threads", [False, True])
def test_lives_are_told_apart_by_pid_and_start_time_together(threads: bool) -> None:
    story = Story()
    for number in range(27):
        pid, life, tid = 11 + number // 9, 5 + number // 3 % 3, 1 + number % 3
        story.op(number, by=pid, life=life, tid=tid)
    number_of, row = lives(story, threads=threads)
    assert (len(set(number_of)), len(row)) == ((27, 27) if threads else (9, 9))
    assert [row[life] for life in number_of] == [at if threads else at // 3 * 3 for at in range(27)]


def test_lives_are_those_of_the_rows_that_are_asked_for() -> None:
    history = Story().op(0.1, by=12).op(0.2, by=11).op(0.3, by=12).op(0.4, by=11).history()
    number, row = history.lives(np.array([3, 2, 1]))
    assert [int(row[life]) for life in number] == [3, 2, 3]


def test_no_rows_are_of_no_lives() -> None:
    assert lives(Story()) == ([], [])


def test_an_outcome_is_told_in_words() -> None:
    assert Outcome.POOL_ERROR.label == "pool-error"
