import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.simulation.timeline import BEGINNING, NEVER, Timeline, ns_not_before


def happen(timeline: Timeline) -> None:
    while timeline.next != NEVER:
        timeline.step()


def test_a_run_does_not_begin_at_zero_which_means_never_in_a_history() -> None:
    assert Timeline().now == BEGINNING > 0


def test_the_time_in_seconds_is_that_in_nanoseconds() -> None:
    assert Timeline().now_s == pytest.approx(BEGINNING / 1e9)


@given(st.lists(st.integers(0, 5), max_size=30))
def test_events_happen_in_their_order_and_equal_moments_in_that_of_planning(delays: list[int]) -> None:
    timeline, seen = Timeline(), list[tuple[int, int]]()
    for number, delay in enumerate(delays):
        plan = timeline.after if number % 2 else lambda by, *what: timeline.at(timeline.now + by, *what)
        plan(delay, seen.append, (delay, number))
    happen(timeline)
    assert seen == sorted(seen)


def test_what_is_planned_meanwhile_for_the_same_moment_comes_after_what_was_planned_before() -> None:
    timeline, seen = Timeline(), list[str]()

    def first() -> None:
        seen.append("first")
        timeline.after(0, seen.append, "third")

    timeline.after(1, first)
    timeline.after(1, seen.append, "second")
    happen(timeline)
    assert seen == ["first", "second", "third"]


def test_the_clock_goes_to_each_event() -> None:
    timeline, seen = Timeline(), list[int]()
    for delay in (7, 3):
        timeline.after(delay, lambda: seen.append(timeline.now - BEGINNING))
    happen(timeline)
    assert seen == [3, 7]


def test_an_event_of_a_moment_that_has_passed_comes_next_and_does_not_set_the_clock_back() -> None:
    timeline, seen = Timeline(), list[tuple[str, int]]()
    timeline.after(0, lambda: seen.append(("due", timeline.now)))
    timeline.at(timeline.now - 5, lambda: seen.append(("overdue", timeline.now)))
    happen(timeline)
    assert seen == [("overdue", BEGINNING), ("due", BEGINNING)]


def test_nothing_planned_is_due_never() -> None:
    assert Timeline().next == NEVER


def test_the_next_event_is_the_earliest() -> None:
    timeline = Timeline()
    timeline.after(9, print)
    timeline.after(4, print)
    assert timeline.next == BEGINNING + 4


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(0, 1 << 40))
def test_a_jump_keeps_how_long_each_thing_takes_and_their_order(delays: list[int], by: int) -> None:
    timeline, seen = Timeline(), list[tuple[int, int]]()
    for number, delay in enumerate(delays):
        timeline.after(delay, lambda it: seen.append((timeline.now - BEGINNING - by, it)), number)
    timeline.jump(by)
    happen(timeline)
    assert seen == sorted((delay, number) for number, delay in enumerate(delays))


def test_a_jump_sets_the_clock_forward_at_once() -> None:
    timeline = Timeline()
    timeline.jump(30)
    assert timeline.now == BEGINNING + 30


@given(st.floats(1.0, 1e6))
def test_a_moment_in_nanoseconds_is_the_first_that_is_not_before(seconds: float) -> None:
    moment = ns_not_before(seconds)
    assert (moment - 2) * 1e-9 < seconds <= moment * 1e-9
