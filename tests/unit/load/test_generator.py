from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.load import generator, release

FIRST = 100


class VirtualClock:
    """A timer and a clock that move only when slept upon, or when told to."""

    means = "virtual"

    def __init__(self, late_ns: int = 0) -> None:
        self.now = 0
        self.late_ns = late_ns
        self.waits: list[int] = []

    def sleep_until(self, moment_ns: int) -> None:
        self.waits.append(moment_ns)
        self.now = max(self.now, moment_ns + self.late_ns)

    def close(self) -> None:
        """Nothing is held."""


def run(
    due: list[int], clock: VirtualClock, sending: Callable[[VirtualClock], None] = lambda clock: None
) -> list[tuple[int, int]]:
    """Release on a virtual clock: each operation with the moment at which it was sent."""
    sent: list[tuple[int, int]] = []

    def send(op: int) -> None:
        sent.append((op, clock.now))
        sending(clock)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "now_ns", lambda: clock.now)
        release(send, FIRST, due, clock)
    return sent


@given(st.lists(st.integers(0, 1000), max_size=200).map(sorted), st.integers(0, 50))
def test_every_operation_is_sent_once_and_in_order(due: list[int], late: int) -> None:
    assert [op for op, _ in run(due, VirtualClock(late))] == list(range(FIRST, FIRST + len(due)))


@given(st.lists(st.integers(0, 1000), max_size=200).map(sorted), st.integers(0, 50))
def test_no_operation_is_sent_before_it_is_due(due: list[int], late: int) -> None:
    assert all(at >= moment for (_, at), moment in zip(run(due, VirtualClock(late)), due, strict=True))


def test_an_operation_is_sent_at_the_moment_at_which_it_is_due() -> None:
    assert run([10, 20, 35], VirtualClock()) == [(100, 10), (101, 20), (102, 35)]


def test_what_is_due_at_one_moment_is_sent_in_one_batch() -> None:
    clock = VirtualClock()
    run([10, 10, 10, 20], clock)
    assert clock.waits == [10, 20]


def test_what_became_due_meanwhile_is_sent_without_another_wait() -> None:
    clock = VirtualClock(late_ns=15)
    assert [at for _, at in run([10, 20, 40], clock)] == [25, 25, 55]


def test_a_batch_is_bounded_so_that_others_get_their_turn() -> None:
    clock = VirtualClock()
    run([10] * 200, clock)
    assert len(clock.waits) == 4


def test_a_backlog_is_worked_off_without_skipping_any() -> None:
    def slowly(clock: VirtualClock) -> None:
        clock.now += 100

    assert [op for op, _ in run([1, 2, 3, 4], VirtualClock(), slowly)] == [100, 101, 102, 103]


def test_a_slow_send_does_not_let_a_later_one_leave_early() -> None:
    def slowly(clock: VirtualClock) -> None:
        clock.now += 5

    assert [at for _, at in run([10, 12, 30], VirtualClock(), slowly)] == [10, 15, 30]


def test_nothing_to_send_needs_no_wait() -> None:
    clock = VirtualClock()
    assert (run([], clock), clock.waits) == ([], [])
