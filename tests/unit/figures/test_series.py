import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.figures import Series, load_figures, series
from poolproof.history import History, Outcome, Phase, Sample
from tests.unit.histories import Story, ns


def told(found: Series, name: str) -> list[float | None]:
    """A column, None where there is nothing to tell."""
    return [None if math.isnan(value) else round(value, 6) for value in getattr(found, name).tolist()]


def sampled(*samples: tuple[float, int, int]) -> History:
    """A second of a run with samples: when, how many processes, how many MB."""
    rows = tuple(
        Sample(
            at=ns(at),
            processes=processes,
            zombies=0,
            memory_bytes=memory * 1_000_000,
            generator_ticks=0,
            lab_threads=1,
            lab_files=1,
        )
        for at, processes, memory in samples
    )
    return dataclasses.replace(Story().op(0.0).op(0.25, 0.1).history(), samples=rows)


def test_a_run_without_operations_has_one_window_of_nothing() -> None:
    found = series(Story().history())
    assert (len(found), told(found, "offered"), told(found, "p50_ms")) == (1, [0], [None])


def test_windows_cover_all_that_was_due_and_all_that_ended() -> None:
    found = series(Story().op(0.05, 0.01).op(0.15, 0.3).history())
    assert told(found, "begin_s") == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_windows_are_as_long_as_asked_for() -> None:
    assert told(series(Story().op(0.1, 1.5).history(), 0.5), "begin_s") == [0.0, 0.5, 1.0, 1.5]


def test_a_moment_between_two_windows_belongs_to_the_later_one() -> None:
    found = series(Story().op(0.1, 0.1, due=0.1).history())
    assert (told(found, "offered"), told(found, "completed")) == ([0, 1, 0], [0, 0, 1])


def test_operations_are_offered_when_they_are_due_and_complete_when_they_are_done() -> None:
    found = series(Story().op(0.15, 0.2, due=0.05).op(0.15, 0.01).history())
    assert (told(found, "offered"), told(found, "completed")) == ([1, 1, 0, 0], [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("outcome", "completed", "failed"),
    [
        (Outcome.OK, 1, 0),
        (Outcome.USER_ERROR, 1, 0),
        (Outcome.WRONG, 0, 1),
        (Outcome.POOL_ERROR, 0, 1),
        (Outcome.REJECTED, 0, 1),
        (Outcome.CANCELLED, 0, 1),
    ],
)
def test_each_outcome_counts_as_completed_or_failed(outcome: Outcome, completed: int, failed: int) -> None:
    found = series(Story().op(0.01, 0.02, outcome=outcome).history())
    assert (told(found, "completed"), told(found, "failed")) == ([completed], [failed])


def test_what_never_ended_is_offered_and_stays_in_the_backlog() -> None:
    found = series(Story().hangs(0.01).op(0.25, 0.01).history())
    assert told(found, "offered") == [1, 0, 1]
    assert (told(found, "completed"), told(found, "failed")) == ([0, 0, 1], [0, 0, 0])
    assert told(found, "backlog") == [1, 1, 1]


def test_the_backlog_is_what_was_due_and_had_not_ended_at_the_end_of_each_window() -> None:
    found = series(Story().op(0.01, 0.14).op(0.02, 0.05).op(0.12, 0.13).history())
    assert told(found, "backlog") == [1, 1, 0]


def test_what_ends_with_a_window_is_still_in_its_backlog() -> None:
    assert told(series(Story().op(0.05, 0.05).history()), "backlog") == [1, 0]


def test_response_times_are_told_in_the_window_in_which_operations_were_due() -> None:
    found = series(Story().op(0.06, 0.2, due=0.05).op(0.07, 0.02).op(0.15, 0.01).history())
    assert told(found, "max_ms") == [210.0, 10.0, None]


def test_what_failed_has_no_response_time() -> None:
    assert told(series(Story().fails(0.01, took=0.05).history()), "p50_ms") == [None]


def test_the_median_of_a_window_is_that_of_its_own_operations() -> None:
    story = Story().op(0.15, 0.09)
    for number in range(5):
        story.op(0.01, 0.01 * (number + 1))
    assert told(series(story.history()), "p50_ms") == [30.0, 90.0, None]


@pytest.mark.parametrize(("count", "expected"), [(99, None), (100, 20.0)])
def test_p99_takes_a_hundred_operations_in_a_window(count: int, expected: float | None) -> None:
    found = series(Story().ops(count, 0.0, gap=0.0001, took=0.02).history())
    assert told(found, "p99_ms") == [expected]


def test_p99_leaves_out_the_longest_of_a_hundred() -> None:
    found = series(Story().ops(99, 0.0, gap=0.0001, took=0.02).op(0.01, 0.05).history())
    assert (told(found, "p99_ms"), told(found, "max_ms")) == ([20.0], [50.0])


def test_workers_are_busy_with_what_has_begun_and_not_ended() -> None:
    story = Story().op(0.0, 0.35, by=None).ran(0, 11, 0.05, 0.15).ran(0, 12, 0.12, 0.32).ran(0, 13, 0.18, None)
    assert told(series(story.history()), "busy") == [1, 2, 2, 1]


def test_executions_of_other_operations_do_not_count() -> None:
    story = Story().op(0.0, 0.05, by=None).op(0.0, 0.5, phase=Phase.PROBE).ran(77, 11, 0.01, None)
    assert told(series(story.history()), "busy") == [0]


@pytest.mark.parametrize("phase", [Phase.WARM_UP, Phase.PROBE, Phase.AFTER_CLOSE])
def test_only_the_measured_window_is_told(phase: Phase) -> None:
    found = series(Story().op(0.01, 0.02, phase=phase).op(0.01, 0.9, phase=phase).history())
    assert (len(found), told(found, "completed")) == (1, [0])


def test_operations_without_a_moment_are_left_out() -> None:
    history = Story().op(0.01, 0.02).op(0.02, 0.02).history()
    history.operations.due[0] = 0
    found = series(history)
    assert (told(found, "offered"), told(found, "completed"), told(found, "max_ms")) == ([1], [1], [20.0])


def test_the_course_of_one_kind_is_told_alone() -> None:
    story = Story().op(0.01, 0.02).op(0.01, 0.05, kind="batch").op(0.02, 0.05, kind="batch")
    found = series(story.history(), kind="batch")
    assert (told(found, "offered"), told(found, "busy"), told(found, "p50_ms")) == ([2], [0], [50.0])


def test_a_window_shows_the_last_sample_before_its_end() -> None:
    found = series(sampled((-0.5, 1, 10), (0.11, 4, 40), (0.19, 5, 50), (0.4, 6, 60)))
    assert told(found, "processes") == [1, 5, 5, 6]
    assert told(found, "memory_mb") == [10, 50, 50, 60]


def test_there_is_no_sample_before_the_first() -> None:
    assert told(series(sampled((0.15, 3, 30))), "processes") == [None, 3, 3, 3]


def test_without_samples_there_is_nothing_to_tell_of_processes_and_memory() -> None:
    found = series(sampled())
    assert (told(found, "processes"), told(found, "memory_mb")) == ([None] * 4, [None] * 4)


def test_a_row_a_window_has_every_column_by_its_name() -> None:
    rows = series(Story().op(0.01, 0.02).op(0.15, 0.02).history()).rows()
    assert [row["begin_s"] for row in rows] == [0.0, 0.1]
    assert [*rows[0]] == [field.name for field in dataclasses.fields(Series)]
    assert {name: rows[0][name] for name in ("offered", "completed", "failed", "p50_ms", "max_ms", "backlog")} == {
        "offered": 1,
        "completed": 1,
        "failed": 0,
        "p50_ms": 20.0,
        "max_ms": 20.0,
        "backlog": 0,
    }


@given(
    st.lists(st.tuples(st.integers(0, 999), st.one_of(st.none(), st.integers(1, 500)), st.booleans()), max_size=30),
    st.sampled_from([0.05, 0.1, 1.0]),
)
def test_the_windows_add_up_to_the_whole(operations: list[tuple[int, int | None, bool]], window: float) -> None:
    story = Story()
    for at, took, good in operations:
        outcome = Outcome.OK if good else Outcome.POOL_ERROR
        story.op(at / 1000, None if took is None else took / 1000, outcome=outcome)
    history = story.history()
    found, whole = series(history, window), load_figures(history)
    assert found.offered.sum() == whole.offered
    assert (found.completed.sum(), found.failed.sum()) == (whole.completed, whole.failed)
    assert found.backlog[-1] == whole.unresolved
    assert np.all(found.backlog >= 0)
