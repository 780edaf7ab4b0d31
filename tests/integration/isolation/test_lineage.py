"""Every process that a test leaves is ended and told of, however it hid; one that belongs to nobody's test is not."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker

import pytest

from poolproof import processes
from poolproof.errors import IsolationError
from poolproof.isolation import isolated, scene_of
from poolproof.rig import setup_isolated_pool
from poolproof.rig.keeper import guardian
from tests.integration.isolation import deeds

pytestmark = pytest.mark.layer(2)  # it is about real processes


@contextlib.contextmanager
def full(settle_s: float = 0.0) -> Iterator[None]:
    with isolated("full_isolation", scene=scene_of("t", seed=1), settle_s=settle_s):
        yield


OWNERS: list["subprocess.Popen[bytes]"] = []
"""Kept for as long as a test takes: one that is forgotten complains by itself."""


@pytest.fixture(autouse=True)
def owners() -> Iterator[None]:
    yield
    for owner in OWNERS:
        owner.wait()
    OWNERS.clear()


def start_sleeper() -> int:
    OWNERS.append(subprocess.Popen(deeds.SLEEPER))
    return OWNERS[-1].pid


def left(leave: Callable[[], int], *, settle_s: float = 0.0) -> tuple[int, str]:
    """What a test that leaves one process is told of it, and its pid."""
    with pytest.raises(IsolationError) as raised, full(settle_s):
        pid = leave()
    (told,) = raised.value.problems
    return pid, told


def is_dead(pid: int) -> bool:
    process = processes.look_up(pid)
    return process is None or process.state == "Z"


def test_a_child_is_killed_and_told_with_its_command_line() -> None:
    pid, told = left(start_sleeper)
    assert told.startswith(f"the process pid {pid} was left running and was killed: {sys.executable} -c import signal")
    assert processes.look_up(pid) is None


def test_the_owner_of_a_child_that_was_killed_gets_its_status() -> None:
    left(start_sleeper)
    assert OWNERS[0].wait() == -signal.SIGKILL


def test_the_owner_of_a_process_of_multiprocessing_gets_its_status() -> None:
    process = multiprocessing.get_context("fork").Process(target=signal.pause)

    def start() -> int:
        process.start()
        return process.pid or 0

    _, told = left(start)
    assert "was left running and was killed" in told
    assert process.exitcode == -signal.SIGKILL
    process.close()


def test_a_child_without_an_owner_is_reaped_and_that_is_told() -> None:
    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        return pid

    pid, told = left(fork)
    assert told.endswith("; its status (SIGKILL) was taken here, so whoever waits for it later gets none")
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_a_zombie_is_told_and_reaped() -> None:
    def leave() -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(3)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return pid

    pid, told = left(leave)
    assert told.startswith(f"the zombie pid {pid} (")
    assert "its status (exit status 3) was taken here" in told
    assert processes.look_up(pid) is None


def test_a_zombie_that_somebody_owns_is_told_and_its_owner_gets_its_status() -> None:
    def leave() -> int:
        OWNERS.append(subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]))
        os.waitid(os.P_PID, OWNERS[0].pid, os.WEXITED | os.WNOWAIT)
        return OWNERS[0].pid

    pid, told = left(leave)
    assert told.startswith(f"the zombie pid {pid} (")
    assert OWNERS[0].returncode == 3


def test_a_grandchild_is_told_with_its_parent() -> None:
    with pytest.raises(IsolationError) as raised, full():
        child = start_family()
    told = "\n".join(raised.value.problems)
    assert len(raised.value.problems) == 2
    assert f", a child of pid {child.pid}: " in told
    child.wait()


def start_family() -> "subprocess.Popen[bytes]":
    """A child that has a child; both sleep."""
    reading, writing = os.pipe()
    script = f"import os, signal; pid = os.fork(); pid or os.write({writing}, b'x'); signal.pause()"
    child = subprocess.Popen([sys.executable, "-c", script], pass_fds=(writing,))
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    return child


@pytest.mark.parametrize("executed", [True, False])
def test_an_orphan_in_a_session_of_its_own_is_found_and_ended(executed: bool) -> None:
    pid, told = left(lambda: deeds.orphan(executed=executed))
    assert f"the process pid {pid} was left running and was killed" in told
    assert is_dead(pid)


def test_a_child_that_was_there_before_is_left_alone() -> None:
    with subprocess.Popen(deeds.SLEEPER) as child:
        with full():
            pass
        assert child.poll() is None
        child.kill()


def test_a_child_that_was_waited_for_is_no_problem() -> None:
    with full():
        subprocess.run([sys.executable, "-c", ""], check=True)


def test_a_child_that_is_just_ending_and_waited_for_by_another_thread_is_no_problem() -> None:
    with full(settle_s=20):
        child = multiprocessing.get_context("fork").Process(target=os.getpid)
        child.start()
        waits = _thread(child.join)
        waits.start()
    waits.join()
    child.close()


def _thread(run: Callable[[], object]) -> "multiprocessing.dummy.DummyProcess":
    from multiprocessing.dummy import Process

    return Process(target=run)


def test_what_multiprocessing_keeps_for_the_whole_process_is_tolerated() -> None:
    with full():
        resource_tracker.ensure_running()
        tracker = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]
    assert processes.look_up(tracker) is not None


def test_a_pool_that_the_kit_sets_up_and_its_keeper_are_no_problem() -> None:
    with full(), setup_isolated_pool(layer=2, workers=1):
        guardian().start()
    keeper = guardian().pid
    assert keeper is not None
    assert processes.look_up(keeper) is not None


def test_what_the_test_itself_already_failed_with_goes_first() -> None:
    error = ValueError("own")

    def leave() -> None:
        start_sleeper()
        raise error

    with pytest.raises(ValueError, match="own"), full():
        leave()
    assert "was left running and was killed" in error.__notes__[0]


def test_one_within_another_ends_what_is_its_own() -> None:
    with full(), subprocess.Popen(deeds.SLEEPER) as outer:
        with pytest.raises(IsolationError) as raised, full():
            inner = subprocess.Popen(deeds.SLEEPER)
        assert outer.poll() is None
        assert f"pid {inner.pid} " in raised.value.problems[0]
        outer.kill()


def test_no_descriptor_stays_open() -> None:
    before = processes.open_files()
    with full():
        pass
    left(start_sleeper)
    assert processes.open_files().keys() == before.keys()


def test_an_orphan_that_came_after_it_is_not_its_own() -> None:
    with full():
        pass
    pid = deeds.orphan()
    try:
        with full():
            pass
        assert not is_dead(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_an_orphan_of_the_outer_one_of_two_is_not_the_inner_ones() -> None:
    def leave() -> int:
        pid = deeds.orphan()
        with full():
            pass
        assert not is_dead(pid)
        return pid

    pid, told = left(leave)
    assert f"pid {pid} " in told
    assert is_dead(pid)
