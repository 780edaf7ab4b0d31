"""Where the suite had been blind: each of these fails where one line of the pool is taken away."""

import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from typing import Any

import pytest

from sessionpool import DeadlineExceeded, PoolClosed, SessionPool, Timing, WorkerDied, progress, runtime
from sessionpool.core import Recall
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Hold, Open, RunScript
from tests.integration.sessionpool.test_forks import FORKS
from tests.integration.sessionpool.witnesses import (
    LONG_S,
    Mark,
    Meeting,
    bounded,
    children,
    failure,
    is_gone,
    kill,
    stop,
    until,
)

# --- delivery -------------------------------------------------------------------------------------------------------


def test_an_answer_that_nobody_had_read_when_its_worker_died_is_an_answer(
    one_worker: SessionPool, meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_TRUST_S", LONG_S)
    one_worker.submit(deeds.keep_the_gil, 0.1).result(LONG_S)  # from now on this thread is expected to read
    future = one_worker.submit(deeds.die_later, 0.05, meeting.address)

    one_worker.wait_for(lambda seen: seen.restarts == 1, timeout=LONG_S)

    assert type(future.result(LONG_S)) is int


# --- user code ------------------------------------------------------------------------------------------------------


def test_what_an_operation_left_running_ends_with_its_worker(one_worker: SessionPool, meeting: Meeting) -> None:
    one_worker.submit(deeds.fork_and_stay, meeting.address)
    child, worker = meeting.guests(2)

    kill(worker.pid)

    assert is_gone(child.pid, 5.0)


def test_who_waits_learns_of_a_death_though_a_child_that_python_is_not_told_of_holds_the_wire(
    one_worker: SessionPool, meeting: Meeting
) -> None:
    future = one_worker.submit(deeds.fork_unnoticed, meeting.address)
    _, worker = meeting.guests(2)
    threading.Timer(0.2, kill, (worker.pid,)).start()

    assert failure(future, WorkerDied).pid == worker.pid


# --- shutdown -------------------------------------------------------------------------------------------------------

LEAVES = """
    import sys, threading
    from sessionpool import SessionPool
    from tests.integration.sessionpool import deeds

    if __name__ == "__main__":
        pool = SessionPool(1, preload=())
        pool.submit(deeds.fork_and_stay, sys.argv[1])
        threading.Event().wait()
"""


def test_what_operations_left_running_is_gone_two_seconds_after_the_process_of_their_pool_was_killed(
    start_script: Callable[..., Any], meeting: Meeting, mark: Mark
) -> None:
    script = start_script(LEAVES, meeting.address)
    meeting.guests(2)

    script.kill()
    script.wait(LONG_S)

    assert mark.left_after(2.0) == []


# --- forks ----------------------------------------------------------------------------------------------------------


def test_nothing_of_a_pool_outlives_its_process_though_a_child_that_python_is_not_told_of_does(
    run_script: RunScript, mark: Mark
) -> None:
    text = FORKS.format(child="threading.Event().wait(2.5); os._exit(0)", status=0)
    text = text.replace("import os", "import ctypes, os").replace("os.fork()", "ctypes.PyDLL(None).fork()")
    text = text.replace("assert os.waitpid(child, 0)[1] == 0", "os.kill(os.getpid(), 9)")

    completed = run_script(text)

    left = mark.left_after(2.0)
    assert completed.returncode == -9
    assert len(left) <= 1, "the child alone may live"
    assert mark.left_after(5.0) == []


# --- deadlines ------------------------------------------------------------------------------------------------------


def test_a_deadline_is_not_kept_by_chance(open_pool: Open, hold: Hold) -> None:
    pool = open_pool(max_workers=1, timing=Timing(stall_s=100.0))
    it = pool._runtime
    hold(pool)
    it._sample_s = 2 * LONG_S  # so that no look at the workers finds by chance what is late
    it._ring()
    assert until(lambda: it._sleeps_until > time.monotonic() + LONG_S)
    looked_at = it._sampled_at

    failure(pool.options(deadline=0.05).submit(deeds.echo, 1), DeadlineExceeded)

    assert it._sampled_at == looked_at


# --- user code ------------------------------------------------------------------------------------------------------


def a_slow_one_among_quick_ones(pool: SessionPool, meeting: Meeting) -> float:
    """How long those behind it take, of which the same worker holds some."""
    for _ in range(300):
        pool.submit(deeds.meet_or_return, "").result(LONG_S)
    futures = [pool.submit(deeds.meet_or_return, "" if number != 30 else meeting.address) for number in range(200)]
    slow = futures.pop(30)
    began = time.monotonic()
    assert [future.result(LONG_S) for future in futures] == ["quick"] * 199
    took_s = time.monotonic() - began
    meeting.guest().release()
    slow.result(LONG_S)
    return took_s


def test_what_a_client_reads_wakes_the_pools_own_thread_where_that_is_needed_earlier(
    open_pool: Open, hold: Hold, meeting: Meeting
) -> None:
    pool = open_pool()
    it = pool._runtime
    it._sample_s = LONG_S  # so that nothing else wakes it
    for _ in range(300):
        pool.submit(deeds.meet_or_return, "").result(LONG_S)
    first = pool.submit(deeds.keep_the_gil, 0.1)
    hold(pool)
    for address in (meeting.address, "", "", ""):
        pool.submit(deeds.meet_or_return, address)

    first.result(LONG_S)  # its worker is sent several, which will have to be recalled

    assert until(lambda: it._sleeps_until <= it._core.due, 1.0)


def test_what_is_recalled_runs_elsewhere_only_once_its_worker_surely_sees_that(
    open_pool: Open, meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SETTLE_S", 0.7)
    pool = open_pool()

    assert max(a_slow_one_among_quick_ones(pool, meeting) for _ in range(3)) > 0.7


def test_what_was_recalled_stays_so_until_the_worker_has_passed_it(one_worker: SessionPool) -> None:
    it = one_worker._runtime
    (port,) = it._ports.values()
    with it._lock:
        port.recalled = 4
        port.words[progress.RECALLED] = before = progress.span(2, 4)
        it._recall(Recall(port.number, 6, 7))

    assert port.words[progress.RECALLED] == before


# --- hardships ------------------------------------------------------------------------------------------------------


def test_an_answer_that_was_received_and_not_taken_by_who_was_interrupted_is_taken(open_pool: Open, hold: Hold) -> None:
    pool = open_pool(max_workers=1, timing=Timing(stall_s=100.0))  # or the worker would be ended, for its silence
    it = pool._runtime
    ((future, guest),) = hold(pool)
    (port,) = it._ports.values()
    client = threading.get_ident()
    with it._lock:
        port.read_by = client
        it._arm(port)
    guest.release()
    port.inbox.append(port.sock.recv(1 << 16))

    it._interrupted.append((port, client))
    it._ring()

    assert wait([future], LONG_S / 3).done


def test_a_worker_that_is_taken_for_dead_does_nothing_any_more(one_worker: SessionPool, hold: Hold) -> None:
    it = one_worker._runtime
    ((future, guest),) = hold(one_worker)
    (port,) = it._ports.values()
    with it._lock:
        port.exit, port.is_dead = "as is believed", True

    it._ring()

    assert failure(future, WorkerDied).pid == guest.pid
    assert is_gone(guest.pid)


# --- standstills ----------------------------------------------------------------------------------------------------


def test_a_pool_has_all_its_workers_again_though_its_forkserver_is_stopped(open_pool: Open) -> None:
    pool = open_pool(timing=Timing(stall_s=0.5))
    stop(children()[0].pid)

    kill(pool.workers()[0].pid)

    pool.wait_for(lambda seen: seen.restarts > 0 and seen.ready == 2, timeout=LONG_S)


def test_a_stopped_forkserver_does_not_keep_a_shutdown_waiting_though_nobody_looks_at_it(open_pool: Open) -> None:
    pool = open_pool(timing=Timing(stall_s=100.0))
    stop(children()[0].pid)

    bounded(pool.shutdown)


# --- shutdown -------------------------------------------------------------------------------------------------------


def test_who_looks_for_the_last_time_before_the_pool_is_over_is_told_that_it_is(
    open_pool: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = open_pool()._runtime
    all_are_gone, go_on = threading.Event(), threading.Event()
    close, is_set = it._close, it._over.is_set

    def close_later() -> None:
        all_are_gone.set()
        go_on.wait(LONG_S)
        close()

    def end_after_the_look() -> bool:
        was_over = is_set()
        go_on.set()
        assert it._over.wait(LONG_S)
        return was_over

    monkeypatch.setattr(it, "_close", close_later)
    it.shutdown(wait=False, cancel=False, immediate=False)
    assert all_are_gone.wait(LONG_S)  # no transition is left but the end itself
    monkeypatch.setattr(it._over, "is_set", end_after_the_look)

    with pytest.raises(PoolClosed):
        bounded(lambda: it.wait_for(lambda _: False, None))


def test_a_pool_that_is_forgotten_ends(open_pool: Open) -> None:
    pool = SessionPool(1, preload=())
    pid = pool.submit(deeds.pid).result(LONG_S)

    del pool
    gc.collect()

    assert is_gone(pid)
