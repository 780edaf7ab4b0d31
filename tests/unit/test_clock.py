import os
from collections.abc import Iterator

import pytest

from poolproof import clock
from poolproof.clock import SleepTimer, Timer, TimerFd, best_timer, now_ns

SHORT_NS = 2_000_000


@pytest.fixture(params=[SleepTimer, TimerFd])
def timer(request: pytest.FixtureRequest) -> Iterator[Timer]:
    made: Timer = request.param()
    yield made
    made.close()


def test_it_wakes_not_before_the_deadline(timer: Timer) -> None:
    deadline = now_ns() + SHORT_NS
    timer.sleep_until(deadline)
    assert now_ns() >= deadline


@pytest.mark.parametrize("past", [1, 0, -5])
def test_it_returns_at_once_for_a_moment_that_has_passed(timer: Timer, past: int) -> None:
    timer.sleep_until(past)


def test_it_serves_one_deadline_after_the_other(timer: Timer) -> None:
    for _ in range(3):
        deadline = now_ns() + SHORT_NS
        timer.sleep_until(deadline)
        assert now_ns() >= deadline


def test_it_serves_a_deadline_after_a_past_one(timer: Timer) -> None:
    timer.sleep_until(1)
    deadline = now_ns() + SHORT_NS
    timer.sleep_until(deadline)
    assert now_ns() >= deadline


def test_a_timer_tells_by_which_means_it_works(timer: Timer) -> None:
    assert timer.means


def test_closing_a_timerfd_gives_its_descriptor_back() -> None:
    before = os.listdir("/proc/self/fd")
    TimerFd().close()
    assert os.listdir("/proc/self/fd") == before


def test_the_best_timer_is_the_kernels_own() -> None:
    timer = best_timer()
    timer.close()
    assert "timerfd" in timer.means


@pytest.mark.parametrize("missing", [OSError("no timerfd"), AttributeError("timerfd_create")])
def test_the_best_timer_is_a_sleep_where_there_is_no_timerfd(
    missing: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> TimerFd:
        raise missing

    monkeypatch.setattr(clock, "TimerFd", refuse)
    assert best_timer().means == "time.sleep"
