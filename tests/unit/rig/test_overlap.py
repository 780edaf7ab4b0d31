import pytest

from poolproof.rig import Incarnation
from poolproof.rig.concurrency import overlap
from tests.unit.rig.executions import executions


def ran(op: int, started: int, ended: int, pid: int = 11) -> dict[str, int]:
    return {"op": op, "pid": pid, "tid": pid, "start_time": 1, "started": started, "ended": ended}


def test_what_overlaps_is_counted_at_its_peak() -> None:
    most, _, _ = overlap(executions(ran(0, 0, 10), ran(1, 2, 6, 12), ran(2, 4, 8, 13), ran(3, 20, 30)), {0, 1, 2, 3})
    assert most == 3


def test_what_begins_as_another_ends_does_not_overlap_with_it() -> None:
    assert overlap(executions(ran(0, 0, 10), ran(1, 10, 20)), {0, 1})[0] == 1


def test_the_mean_is_over_the_time_in_which_anything_ran() -> None:
    assert overlap(executions(ran(0, 0, 10), ran(1, 5, 10, 12), ran(2, 90, 100)), {0, 1, 2})[1] == pytest.approx(1.25)


def test_what_has_no_end_counts_for_its_worker_and_overlaps_with_nothing() -> None:
    most, mean, workers = overlap(executions(ran(0, 0, 0), ran(1, 5, 10, 12)), {0, 1})
    assert (most, mean, workers) == (1, 1.0, {Incarnation(11, 1, 11): 1, Incarnation(12, 1, 12): 1})


def test_operations_of_others_are_left_out() -> None:
    assert overlap(executions(ran(0, 0, 10), ran(1, 5, 10, 12)), {1}) == (1, 1.0, {Incarnation(12, 1, 12): 1})


def test_without_records_nothing_ran() -> None:
    assert overlap(executions(), {0}) == (0, 0.0, {})
