"""How many workers there are, how long each serves, and how much may wait."""

from functools import partial

import pytest

from sessionpool import NotPicklable, PoolSaturated, Recycling, SessionPool, Snapshot, Timing
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Disturbance, Hold, Open
from tests.integration.sessionpool.witnesses import LONG_S, Ear, Meeting, failure, is_gone, kill

QUICK = Timing(grow_s=0.02, shrink_s=0.2)

# --- growing and shrinking --------------------------------------------------------------------------------------


def test_as_many_workers_as_there_may_be_are_started_unless_told_otherwise(open_pool: Open) -> None:
    pool = open_pool(max_workers=3)

    assert (pool.snapshot().ready, len(pool.workers())) == (3, 3)


def test_a_pool_begins_with_its_smallest_number_of_workers(open_pool: Open) -> None:
    pool = open_pool(min_workers=1, max_workers=3)

    assert (pool.snapshot().ready, len(pool.workers())) == (1, 1)


def test_a_pool_grows_while_operations_wait(open_pool: Open, hold: Hold) -> None:
    pool = open_pool(min_workers=1, max_workers=3, timing=QUICK)

    assert len({guest.pid for _, guest in hold(pool, 3)}) == 3


def test_a_pool_grows_for_sessions_that_wait_for_their_first_worker(open_pool: Open, meeting: Meeting) -> None:
    pool = open_pool(min_workers=1, max_workers=2, timing=QUICK)

    for key in range(2):
        pool.session(key).submit(deeds.session_meet, meeting.address)

    assert len({guest.pid for guest in meeting.guests(2)}) == 2


def test_a_pool_grows_to_its_largest_number_of_workers_and_no_further(
    open_pool: Open, hold: Hold, meeting: Meeting
) -> None:
    pool = open_pool(min_workers=1, max_workers=2, timing=QUICK)
    hold(pool, 2)

    pool.submit(deeds.meet, meeting.address)

    assert meeting.is_empty_for(0.3)
    assert len(pool.workers()) == 2


def test_a_pool_does_not_grow_for_what_waits_less_than_grow_s(open_pool: Open) -> None:
    pool = open_pool(min_workers=1, max_workers=2, timing=Timing(grow_s=LONG_S))

    for number in range(50):
        pool.submit(deeds.echo, number).result(LONG_S)

    assert len(pool.workers()) == 1


def test_a_pool_shrinks_to_its_smallest_number_when_it_idles(open_pool: Open, hold: Hold) -> None:
    pool = open_pool(min_workers=1, max_workers=3, timing=QUICK)
    for _, guest in hold(pool, 3):
        guest.release()

    pool.wait_for(partial(has_workers, 1), timeout=LONG_S)


def has_workers(count: int, seen: Snapshot) -> bool:
    return seen.ready == count and seen.starting == seen.busy == seen.stalled == seen.stopping == 0


def test_shrinking_is_no_restart_and_loses_no_operation(open_pool: Open, hold: Hold) -> None:
    pool = open_pool(min_workers=1, max_workers=2, timing=QUICK)
    held = hold(pool, 2)
    for _, guest in held:
        guest.release()

    pool.wait_for(partial(has_workers, 1), timeout=LONG_S)

    assert [future.result(LONG_S) for future, _ in held] == ["go", "go"]
    assert pool.snapshot().restarts == 0


def test_a_pool_grows_again_after_it_has_shrunk(open_pool: Open, hold: Hold) -> None:
    pool = open_pool(min_workers=1, max_workers=2, timing=QUICK)
    for _, guest in hold(pool, 2):
        guest.release()
    pool.wait_for(partial(has_workers, 1), timeout=LONG_S)

    assert len({guest.pid for _, guest in hold(pool, 2)}) == 2


def test_a_worker_with_sessions_is_not_let_go_though_it_idles(open_pool: Open, hold: Hold, ear: Ear) -> None:
    pool = open_pool(min_workers=1, max_workers=2, timing=Timing(grow_s=0.02, shrink_s=0.1))
    for _, guest in hold(pool, 2):
        guest.release()
    pool.wait_for(lambda seen: seen.ready == 2, timeout=LONG_S)
    homes = [pool.session(key).submit(deeds.count).result(LONG_S)[1] for key in range(4)]

    assert ear.is_silent_for(0.5)

    assert [pool.session(key).submit(deeds.count).result(LONG_S) for key in range(4)] == [(2, home) for home in homes]


def test_a_pool_has_at_least_its_smallest_number_again_after_a_death(open_pool: Open) -> None:
    pool = open_pool(min_workers=1, max_workers=2)

    kill(pool.workers()[0].pid)

    pool.wait_for(lambda seen: seen.restarts == 1 and seen.ready == 1, timeout=LONG_S)


# --- recycling --------------------------------------------------------------------------------------------------


def test_a_worker_is_replaced_after_its_number_of_operations(open_pool: Open) -> None:
    pool = open_pool(max_workers=1, recycling=Recycling(operations=3))

    pids = [pool.submit(deeds.pid).result(LONG_S) for _ in range(12)]

    assert len(set(pids)) == 4
    assert all(pids.count(pid) == 3 for pid in pids)


def test_every_operation_is_answered_while_workers_are_recycled(open_pool: Open, disturb: Disturbance) -> None:
    pool = open_pool(recycling=Recycling(operations=7))
    view = pool.options(idempotent=True)
    futures = [view.submit(deeds.echo, number) for number in range(100)]
    disturb(pool)
    futures += [view.submit(deeds.echo, number) for number in range(100)]

    assert [future.result(LONG_S) for future in futures] == [*range(100), *range(100)]


def test_a_worker_is_replaced_when_it_is_old(open_pool: Open) -> None:
    pool = open_pool(max_workers=1, recycling=Recycling(age_s=0.3))
    first = pool.submit(deeds.pid).result(LONG_S)

    assert is_gone(first)

    assert pool.submit(deeds.pid).result(LONG_S) != first


def test_a_worker_that_grows_old_at_an_operation_ends_it_first(open_pool: Open, meeting: Meeting) -> None:
    pool = open_pool(max_workers=1, recycling=Recycling(age_s=0.2))
    future = pool.submit(deeds.meet, meeting.address)
    guest = meeting.guest()

    assert not is_gone(guest.pid, 0.6)

    guest.release("done")
    assert future.result(LONG_S) == "done"
    assert is_gone(guest.pid)


def test_a_worker_is_replaced_when_it_has_grown_large(open_pool: Open) -> None:
    pool = open_pool(max_workers=1, recycling=Recycling(memory_bytes=200 << 20), timing=Timing(stall_s=0.2))
    first = pool.submit(deeds.pid).result(LONG_S)

    assert pool.submit(deeds.hoard, 300 << 20).result(LONG_S) == first

    assert is_gone(first)
    assert pool.submit(deeds.pid).result(LONG_S) != first


def test_a_worker_that_stays_small_is_not_replaced_for_its_size(open_pool: Open, ear: Ear) -> None:
    pool = open_pool(max_workers=1, recycling=Recycling(memory_bytes=500 << 20), timing=Timing(stall_s=0.1))
    first = pool.submit(deeds.pid).result(LONG_S)

    assert ear.is_silent_for(0.5)

    assert pool.submit(deeds.pid).result(LONG_S) == first


@pytest.mark.parametrize("recycling", [Recycling(operations=2), Recycling(age_s=0.1)], ids=["operations", "age"])
def test_a_worker_with_strict_sessions_is_not_recycled_by_count_or_age(
    recycling: Recycling, open_pool: Open, ear: Ear
) -> None:
    session = open_pool(max_workers=1, recycling=recycling).session("s")
    first = session.submit(deeds.count).result(LONG_S)[1]

    assert ear.is_silent_for(0.3)

    assert [session.submit(deeds.count).result(LONG_S) for _ in range(6)] == [(count, first) for count in range(2, 8)]


@pytest.mark.parametrize("recycling", [Recycling(operations=2), Recycling(age_s=0.1)], ids=["operations", "age"])
def test_a_worker_is_recycled_once_its_last_strict_session_is_closed(recycling: Recycling, open_pool: Open) -> None:
    session = open_pool(max_workers=1, recycling=recycling, timing=Timing(stall_s=0.2)).session("s")
    pids = {session.submit(deeds.count).result(LONG_S)[1] for _ in range(4)}

    session.close().result(LONG_S)

    assert len(pids) == 1
    assert is_gone(pids.pop())


def test_new_sessions_are_taken_while_the_old_worker_waits_for_its_own_to_be_closed(open_pool: Open) -> None:
    pool = open_pool(max_workers=1, recycling=Recycling(operations=2))
    old = pool.session("old")
    for _ in range(3):
        old.submit(deeds.count).result(LONG_S)

    new = pool.session("new").submit(deeds.count)

    assert new.result(LONG_S)[0] == 1


def test_recycling_is_no_failure_of_the_worker(open_pool: Open) -> None:
    pool = open_pool(max_workers=1, recycling=Recycling(operations=1))

    for number in range(10):
        assert pool.submit(deeds.echo, number).result(LONG_S) == number

    assert not pool.snapshot().broken


# --- a bounded queue --------------------------------------------------------------------------------------------


@pytest.fixture
def bounded_pool(open_pool: Open) -> SessionPool:
    return open_pool(max_workers=1, max_queue=2)


def test_an_operation_beyond_the_bound_is_refused_at_once(bounded_pool: SessionPool, hold: Hold) -> None:
    hold(bounded_pool)
    for _ in range(2):
        bounded_pool.submit(deeds.echo, 1)

    with pytest.raises(PoolSaturated) as caught:
        bounded_pool.submit(deeds.echo, 2)

    assert (caught.value.what, caught.value.limit) == ("queue", 2)


def test_what_waits_within_the_bound_is_answered(bounded_pool: SessionPool, hold: Hold) -> None:
    [(_, guest)] = hold(bounded_pool)
    waiting = [bounded_pool.submit(deeds.echo, number) for number in range(2)]
    with pytest.raises(PoolSaturated):
        bounded_pool.submit(deeds.echo, 2)

    guest.release()

    assert [future.result(LONG_S) for future in waiting] == [0, 1]
    assert bounded_pool.submit(deeds.echo, 3).result(LONG_S) == 3


def test_a_cancelled_operation_makes_room_in_the_queue(bounded_pool: SessionPool, hold: Hold) -> None:
    [(_, guest)] = hold(bounded_pool)
    first = bounded_pool.submit(deeds.echo, 1)
    bounded_pool.submit(deeds.echo, 2)

    assert first.cancel()

    third = bounded_pool.submit(deeds.echo, 3)
    guest.release()
    assert third.result(LONG_S) == 3


def test_a_queue_of_none_takes_what_an_idle_worker_takes_at_once(open_pool: Open, hold: Hold) -> None:
    pool = open_pool(max_workers=1, max_queue=0)
    [(future, guest)] = hold(pool)

    with pytest.raises(PoolSaturated):
        pool.submit(deeds.echo, 1)

    guest.release()
    assert future.result(LONG_S) == "go"


def test_operations_of_sessions_count_towards_the_bound(bounded_pool: SessionPool, hold: Hold) -> None:
    hold(bounded_pool)
    for key in range(2):
        bounded_pool.session(key).submit(deeds.count)

    with pytest.raises(PoolSaturated) as caught:
        bounded_pool.session(2).submit(deeds.count)

    assert caught.value.what == "queue"
    assert bounded_pool.snapshot().sessions == 2


def test_operations_that_come_back_from_a_dead_worker_are_not_refused(open_pool: Open, meeting: Meeting) -> None:
    pool = open_pool(max_workers=1, max_queue=1)
    held = pool.options(idempotent=True).submit(deeds.meet, meeting.address)
    victim = meeting.guest().pid
    waiting = pool.submit(deeds.echo, 1)

    kill(victim)

    meeting.guest().release("again")
    assert held.result(LONG_S) == "again"
    assert waiting.result(LONG_S) == 1


def test_an_operation_that_does_not_pickle_takes_no_room(bounded_pool: SessionPool, hold: Hold) -> None:
    hold(bounded_pool)
    for _ in range(5):
        failure(bounded_pool.submit(lambda: 1), NotPicklable)

    assert bounded_pool.snapshot().queued == 0


# --- what can be seen -------------------------------------------------------------------------------------------


def test_a_snapshot_counts_who_is_at_work_and_what_waits(pool: SessionPool, hold: Hold) -> None:
    hold(pool, 2)
    pool.submit(deeds.echo, 1)

    seen = pool.snapshot()

    assert (seen.ready, seen.busy, seen.running, seen.queued) == (0, 2, 2, 1)
    assert not seen.broken
    assert not seen.closed


def test_a_worker_tells_its_state_sessions_and_operations(one_worker: SessionPool, hold: Hold) -> None:
    one_worker.session("s").submit(deeds.count).result(LONG_S)
    hold(one_worker)

    (worker,) = one_worker.workers()

    assert (worker.state, worker.sessions, worker.operations) == ("busy", 1, 1)


def test_the_representation_is_a_dashboard(pool: SessionPool, hold: Hold) -> None:
    pool.session("s").submit(deeds.count).result(LONG_S)
    hold(pool, 2)
    pool.submit(deeds.echo, 1)

    assert repr(pool) == "<SessionPool 2 busy, 1 queued, 1 sessions>"


def test_waiting_for_a_condition_returns_the_snapshot_that_meets_it(pool: SessionPool, hold: Hold) -> None:
    [(_, guest)] = hold(pool, 1)
    guest.release()

    assert pool.wait_for(lambda seen: seen.ready == 2, timeout=LONG_S).ready == 2


def test_waiting_for_what_does_not_come_ends_in_a_timeout(pool: SessionPool) -> None:
    with pytest.raises(TimeoutError):
        pool.wait_for(lambda seen: seen.ready == 7, timeout=0.1)


def test_a_condition_that_raises_is_the_waiters_own_error(pool: SessionPool) -> None:
    with pytest.raises(ZeroDivisionError):
        pool.wait_for(lambda seen: bool(1 // 0), timeout=LONG_S)

    assert pool.submit(deeds.echo, 1).result(LONG_S) == 1
