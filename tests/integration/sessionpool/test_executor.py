"""The pool as an executor of the standard library: `map`, `wait`, `as_completed`, and its views."""

from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Executor, Future, as_completed, wait
from typing import Any

import pytest

from sessionpool import DeadlineExceeded, SessionPool, WorkerDied
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Disturbance, Hold
from tests.integration.sessionpool.witnesses import LONG_S, Diary, Meeting, failure, kill


def test_it_is_an_executor_and_gives_futures(pool: SessionPool) -> None:
    assert isinstance(pool, Executor)
    assert isinstance(pool.submit(deeds.echo, 1), Future)


@pytest.mark.parametrize("chunksize", [1, 7, 1000])
def test_map_gives_the_results_in_the_order_of_the_arguments(
    chunksize: int, pool: SessionPool, disturb: Disturbance
) -> None:
    results = pool.options(idempotent=True).map(deeds.echo, range(200), chunksize=chunksize)
    disturb(pool)

    assert list(results) == list(range(200))


def test_map_takes_as_many_arguments_as_the_shortest_of_its_iterables_has(pool: SessionPool) -> None:
    assert list(pool.map(deeds.add, [1, 2, 3], [10, 20])) == [11, 22]


@pytest.mark.parametrize("chunksize", [1, 10])
def test_map_of_nothing_is_nothing(chunksize: int, pool: SessionPool) -> None:
    assert list(pool.map(deeds.echo, [], chunksize=chunksize)) == []


@pytest.mark.parametrize("chunksize", [1, 3])
def test_map_begins_before_it_is_iterated(chunksize: int, pool: SessionPool, diary: Diary) -> None:
    results = pool.map(deeds.note, [diary.path] * 6, map(str, range(6)), chunksize=chunksize)
    pool.shutdown()

    assert sorted(diary.lines()) == [str(number) for number in range(6)]
    assert len(list(results)) == 6


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_raises_what_an_item_raised_when_it_comes_to_it(chunksize: int, pool: SessionPool) -> None:
    results = pool.map(deeds.add, [1, 2, "x", 4], [1, 1, 1, 1], chunksize=chunksize)

    got = [next(results) for _ in range(2)]

    assert got == [2, 3]
    with pytest.raises(TypeError):
        next(results)


def test_map_with_chunks_sends_fewer_operations(one_worker: SessionPool) -> None:
    list(one_worker.map(deeds.echo, range(100), chunksize=25))

    assert one_worker.workers()[0].operations == 4


@pytest.mark.parametrize("chunksize", [0, -1])
def test_map_refuses_chunks_of_nothing(chunksize: int, pool: SessionPool) -> None:
    with pytest.raises(ValueError, match="chunksize"):
        pool.map(deeds.echo, [1], chunksize=chunksize)


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_ends_in_a_timeout_where_results_do_not_come(
    chunksize: int, one_worker: SessionPool, meeting: Meeting
) -> None:
    results = one_worker.map(deeds.meet, [meeting.address] * 2, timeout=0.2, chunksize=chunksize)

    with pytest.raises(TimeoutError):
        next(results)


def test_map_that_is_given_up_cancels_what_waits(one_worker: SessionPool, meeting: Meeting) -> None:
    results = one_worker.map(deeds.meet, [meeting.address] * 5, timeout=0.2)
    guest = meeting.guest()
    with pytest.raises(TimeoutError):
        next(results)

    guest.release()

    one_worker.wait_for(lambda seen: seen.ready == 1 and seen.queued == 0, timeout=LONG_S)
    assert meeting.is_empty_for(0)


@pytest.mark.parametrize("chunksize", [1, 3])
def test_a_death_during_map_is_raised_at_its_item(chunksize: int, one_worker: SessionPool) -> None:
    results = one_worker.map(deeds.exit_at_once, [1] * 3, chunksize=chunksize)

    with pytest.raises(WorkerDied):
        next(results)


def test_map_keeps_to_the_deadline_of_its_view(one_worker: SessionPool, hold: Hold) -> None:
    hold(one_worker)

    with pytest.raises(DeadlineExceeded):
        list(one_worker.options(deadline=0.1).map(deeds.echo, range(3)))


@pytest.mark.parametrize("chunksize", [1, 3])
def test_map_raises_what_does_not_pickle(chunksize: int, pool: SessionPool) -> None:
    with pytest.raises(Exception, match="lambda"):
        list(pool.map(lambda value: value, [1, 2, 3, 4], chunksize=chunksize))


def test_wait_returns_all_when_all_are_done(pool: SessionPool, disturb: Disturbance) -> None:
    futures = {pool.options(idempotent=True).submit(deeds.echo, number) for number in range(50)}
    disturb(pool)

    done, pending = wait(futures, LONG_S)

    assert (done, pending) == (futures, set())


def test_wait_returns_at_the_first_that_is_done(pool: SessionPool, hold: Hold) -> None:
    [(held, _)] = hold(pool)
    quick = pool.submit(deeds.echo, 1)

    done, pending = wait([held, quick], LONG_S, return_when=FIRST_COMPLETED)

    assert (done, pending) == ({quick}, {held})


def test_wait_returns_at_the_first_that_failed(pool: SessionPool, hold: Hold) -> None:
    (doomed, victim), (held, _) = hold(pool, 2)

    kill(victim.pid)

    done, pending = wait([held, doomed], LONG_S, return_when=FIRST_EXCEPTION)
    assert (done, pending) == ({doomed}, {held})


def test_wait_times_out_with_what_is_pending(pool: SessionPool, hold: Hold) -> None:
    [(held, _)] = hold(pool)

    assert wait([held], 0.1).not_done == {held}


def test_as_completed_gives_each_once_it_is_done(pool: SessionPool, hold: Hold, disturb: Disturbance) -> None:
    [(held, guest)] = hold(pool)
    guest.release()
    held.result(LONG_S)
    futures = [pool.options(idempotent=True).submit(deeds.echo, number) for number in range(50)]
    disturb(pool)

    assert sorted(future.result() for future in as_completed(futures, LONG_S)) == list(range(50))


def test_as_completed_gives_the_quick_ones_first(pool: SessionPool, hold: Hold) -> None:
    [(held, guest)] = hold(pool)
    quick = pool.submit(deeds.echo, "quick")
    completed = as_completed([held, quick], LONG_S)

    first = next(completed)
    guest.release("slow")

    assert [first.result(), next(completed).result()] == ["quick", "slow"]


def test_the_result_of_a_future_times_out_and_comes_later(pool: SessionPool, hold: Hold) -> None:
    [(held, guest)] = hold(pool)
    with pytest.raises(TimeoutError):
        held.result(0.05)

    guest.release("late")

    assert held.result(LONG_S) == "late"


def test_views_are_views_of_views(one_worker: SessionPool, meeting: Meeting) -> None:
    view: Any = one_worker.options(idempotent=True).options(deadline=LONG_S)
    future = view.submit(deeds.meet, meeting.address)

    kill(meeting.guest().pid)

    meeting.guest().release("again")
    assert future.result(LONG_S) == "again"


def test_the_options_of_a_session_are_its_own(pool: SessionPool, meeting: Meeting) -> None:
    session = pool.session("s")
    late = session.options(deadline=0.1).submit(deeds.session_meet, meeting.address)

    failure(late, DeadlineExceeded)


def test_a_view_leaves_the_pool_as_it_was(one_worker: SessionPool, hold: Hold) -> None:
    one_worker.options(idempotent=True)
    [(future, guest)] = hold(one_worker)

    kill(guest.pid)

    failure(future, WorkerDied)
