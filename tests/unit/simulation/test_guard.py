import concurrent.futures
import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from poolproof.simulation import RealTimeError, SimulatedPool, no_real_world
from poolproof.simulation.guard import _FORBIDDEN

REAL: tuple[tuple[str, Callable[[], Any]], ...] = (
    ("time.time", lambda: time.time()),
    ("time.monotonic", lambda: time.monotonic()),
    ("time.perf_counter_ns", lambda: time.perf_counter_ns()),
    ("time.sleep", lambda: time.sleep(0)),  # noqa: TID251 - that it refuses is what is tested
    ("random.random", lambda: random.random()),
    ("random.choice", lambda: random.choice([1])),
    ("random.shuffle", lambda: random.shuffle([1])),
    ("os.urandom", lambda: os.urandom(1)),
    ("socket.socketpair", lambda: socket.socketpair()),
    ("Thread.start", lambda: threading.Thread(target=print).start()),
)
NAMES = [name for name, _ in REAL]
CALLS = [call for _, call in REAL]


@pytest.fixture(autouse=True)
def _whole_world() -> Iterator[None]:
    """Whatever a test leaves forbidden is allowed again."""
    before = [(home, name, getattr(home, name)) for home, names in _FORBIDDEN for name in names]
    yield
    for home, name, true in before:
        setattr(home, name, true)


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
def test_what_reaches_for_the_real_world_is_an_error(call: Callable[[], Any]) -> None:
    with no_real_world(), pytest.raises(RealTimeError, match="was called while a world is simulated"):
        call()


@pytest.mark.parametrize(("home", "name"), [(home, name) for home, names in _FORBIDDEN for name in names])
def test_everything_is_restored_afterwards(home: Any, name: str) -> None:
    before = getattr(home, name)
    with no_real_world():
        during = getattr(home, name)
    assert (during is before, getattr(home, name) is before) == (False, True)


def test_everything_is_restored_after_an_error() -> None:
    with contextlib.suppress(ValueError), no_real_world():
        raise ValueError
    assert time.time() > 0


def test_a_guard_within_a_guard_ends_with_the_outer_one() -> None:
    with no_real_world():
        with no_real_world():
            pass
        with pytest.raises(RealTimeError):
            time.time()
    assert time.time() > 0


def test_other_threads_are_let_alone() -> None:
    asked, seen, guarded = threading.Event(), list[float](), threading.Event()

    def look() -> None:
        guarded.wait(10)
        seen.append(time.time())
        asked.set()

    thread = threading.Thread(target=look)
    thread.start()
    with no_real_world():
        guarded.set()
        asked.wait(10)
    thread.join(10)
    assert len(seen) == 1


def test_a_stream_of_chance_of_its_own_is_no_error() -> None:
    with no_real_world():
        assert random.Random(1).random() == random.Random(1).random()


@pytest.mark.parametrize(
    "call",
    [
        lambda: random.gauss(0, 1),
        lambda: random.expovariate(1),
        lambda: random.lognormvariate(0, 1),
        lambda: random.randbytes(1),
        lambda: random.SystemRandom().random(),
        lambda: time.process_time(),
        lambda: time.clock_gettime(time.CLOCK_MONOTONIC),
    ],
    ids=["gauss", "expovariate", "lognormvariate", "randbytes", "SystemRandom", "process_time", "clock_gettime"],
)
def test_less_common_ways_to_the_real_world_are_errors_too(call: Callable[[], Any]) -> None:
    with no_real_world(), pytest.raises(RealTimeError):
        call()


def test_guards_that_do_not_end_in_the_order_of_their_beginning_restore_everything() -> None:
    one, other = no_real_world(), no_real_world()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    other.__exit__(None, None, None)
    assert time.time() > 0


def test_a_simulated_future_can_not_be_waited_for_in_real_time() -> None:
    from tests.unit.simulation.test_pool import operation

    future = SimulatedPool(workers=1).submit(operation(1, "wait", 0.1, 7))
    with pytest.raises(RealTimeError, match=r"use `pool.wait` or `result\(\)`"):
        concurrent.futures.wait([future])
