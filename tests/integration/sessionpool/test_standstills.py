"""Workers that are stopped and the forkserver's end: what stands still is replaced, what still lives goes on."""

import signal

import pytest

from sessionpool import SessionPool, Timing, WorkerDied
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Disturbance, Hold, Open
from tests.integration.sessionpool.witnesses import (
    LONG_S,
    Ear,
    Meeting,
    bounded,
    children,
    failure,
    is_gone,
    kill,
    outcome,
    send,
    stop,
)

STALL_S = 0.3


@pytest.fixture
def pool(open_pool: Open) -> SessionPool:
    return open_pool(timing=Timing(stall_s=STALL_S))


# --- workers ----------------------------------------------------------------------------------------------------


def test_a_stopped_worker_that_idles_is_replaced(pool: SessionPool) -> None:
    victim = pool.workers()[0].pid

    stop(victim)

    assert is_gone(victim)
    pool.wait_for(lambda seen: seen.ready == 2, timeout=LONG_S)


def test_operations_are_answered_although_every_idle_worker_is_stopped(pool: SessionPool) -> None:
    for worker in pool.workers():
        stop(worker.pid)

    futures = [pool.submit(deeds.echo, number) for number in range(20)]

    assert [future.result(LONG_S) for future in futures] == list(range(20))


def test_the_operation_of_a_stopped_worker_fails_with_the_reason(pool: SessionPool, hold: Hold) -> None:
    [(future, guest)] = hold(pool)

    stop(guest.pid)

    error = failure(future, WorkerDied)
    assert error.pid == guest.pid
    assert "stopped" in error.reason


def test_a_stopped_worker_at_an_operation_is_replaced(pool: SessionPool, hold: Hold) -> None:
    [(_, guest)] = hold(pool)

    stop(guest.pid)

    assert is_gone(guest.pid)
    pool.wait_for(lambda seen: seen.ready == 2, timeout=LONG_S)


def test_others_go_on_where_a_worker_is_stopped(pool: SessionPool, hold: Hold) -> None:
    (doomed, victim), (other, guest) = hold(pool, 2)
    behind = pool.submit(deeds.echo, "behind")

    stop(victim.pid)

    failure(doomed, WorkerDied)
    assert behind.result(LONG_S) == "behind"
    guest.release("fine")
    assert other.result(LONG_S) == "fine"


def test_an_idempotent_operation_of_a_stopped_worker_runs_again(pool: SessionPool, meeting: Meeting) -> None:
    future = pool.options(idempotent=True).submit(deeds.meet, meeting.address)
    first = meeting.guest()

    stop(first.pid)

    second = meeting.guest()
    second.release("again")
    assert future.result(LONG_S) == "again"
    assert second.pid != first.pid


def test_a_worker_that_is_stopped_for_a_moment_goes_on(open_pool: Open, hold: Hold) -> None:
    pool = open_pool(max_workers=1, timing=Timing(stall_s=LONG_S))
    [(future, guest)] = hold(pool)
    stop(guest.pid)

    send(guest.pid, signal.SIGCONT)

    guest.release("fine")
    assert future.result(LONG_S) == "fine"
    assert pool.submit(deeds.pid).result(LONG_S) == guest.pid


def test_a_worker_that_is_stopped_while_it_is_told_to_leave_is_gone_within_stop_s(open_pool: Open) -> None:
    pool = open_pool(timing=Timing(stall_s=LONG_S, stop_s=0.3))
    victim = pool.workers()[0].pid
    stop(victim)

    bounded(pool.shutdown)

    assert is_gone(victim, 0)


def test_a_session_of_a_stopped_worker_that_restarts_goes_on_elsewhere(pool: SessionPool) -> None:
    session = pool.options(affinity="restart").session("s")
    home = session.submit(deeds.count).result(LONG_S)[1]

    stop(home)

    assert session.submit(deeds.count).result(LONG_S)[0] == 1


# --- the forkserver ---------------------------------------------------------------------------------------------


def kill_forkserver() -> int:
    (forkserver,) = children()
    kill(forkserver.pid)
    return forkserver.pid


def test_a_pool_works_on_after_the_death_of_its_forkserver(pool: SessionPool) -> None:
    kill_forkserver()

    futures = [pool.options(idempotent=True).submit(deeds.echo, number) for number in range(50)]

    assert [future.result(LONG_S) for future in futures] == list(range(50))


def test_a_pool_has_all_its_workers_again_after_the_death_of_its_forkserver(pool: SessionPool, hold: Hold) -> None:
    before = {worker.pid for worker in pool.workers()}
    kill_forkserver()
    pool.wait_for(lambda seen: seen.restarts >= 2 and seen.ready == 2, timeout=LONG_S)

    after = {guest.pid for _, guest in hold(pool, 2)}

    assert len(after) == 2
    assert not after & before


def test_every_operation_is_resolved_when_the_forkserver_dies(pool: SessionPool, hold: Hold, meeting: Meeting) -> None:
    held = hold(pool, 2)
    queued = [pool.submit(deeds.echo, number) for number in range(10)]

    kill_forkserver()

    meeting.release_all_who_come()
    for _, guest in held:
        guest.release()
    assert all(outcome(future) in ("go", WorkerDied) for future, _ in held)
    assert [future.result(LONG_S) for future in queued] == list(range(10))


def test_a_pool_survives_the_death_of_one_forkserver_after_the_other(pool: SessionPool) -> None:
    killed: set[int] = set()
    for number in range(3):
        killed.add(kill_forkserver())
        assert pool.options(idempotent=True).submit(deeds.echo, number).result(LONG_S) == number
        pool.wait_for(lambda seen: seen.ready == 2, timeout=LONG_S)

    assert len(killed) == 3


def test_a_pool_is_shut_down_after_the_death_of_its_forkserver(pool: SessionPool) -> None:
    kill_forkserver()

    bounded(pool.shutdown)

    assert children() == []


def test_the_workers_of_a_dead_forkserver_do_not_stay(pool: SessionPool, hold: Hold) -> None:
    held = hold(pool, 2)

    kill_forkserver()

    assert all(is_gone(guest.pid, 2.0) for _, guest in held)


def test_a_stopped_forkserver_does_not_keep_a_shutdown_waiting(pool: SessionPool) -> None:
    (forkserver,) = children()
    stop(forkserver.pid)

    bounded(pool.shutdown)

    assert children() == []


def test_a_stopped_forkserver_holds_no_operation_up_where_the_workers_live(
    pool: SessionPool, disturb: Disturbance
) -> None:
    (forkserver,) = children()
    stop(forkserver.pid)
    try:
        disturb(pool)
        futures = [pool.options(idempotent=True).submit(deeds.echo, number) for number in range(20)]

        assert [future.result(LONG_S) for future in futures] == list(range(20))
    finally:
        hold_of_or_none(forkserver.pid)


def hold_of_or_none(pid: int) -> None:
    """Let a stopped process go on, where it still is."""
    if not is_gone(pid, 0):
        send(pid, signal.SIGCONT)


def test_an_idle_pool_leaves_its_workers_alone(pool: SessionPool, ear: Ear) -> None:
    before = [worker.pid for worker in pool.workers()]

    assert ear.is_silent_for(4 * STALL_S)

    assert [worker.pid for worker in pool.workers()] == before
