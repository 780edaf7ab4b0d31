"""Deadlines end an operation wherever it is, and nothing else."""

import time

import pytest

from sessionpool import DeadlineExceeded, Restarts, SessionLost, SessionPool
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Hold, Open
from tests.integration.sessionpool.witnesses import LONG_S, Diary, Ear, Meeting, failure, is_gone

SHORT_S = 0.15


def test_an_operation_that_waits_past_its_deadline_fails_without_a_worker(one_worker: SessionPool, hold: Hold) -> None:
    hold(one_worker)

    error = failure(one_worker.options(deadline=SHORT_S).submit(deeds.echo, 1), DeadlineExceeded)

    assert (error.deadline_s, error.started, error.pid) == (SHORT_S, False, None)


def test_an_operation_that_waited_past_its_deadline_never_runs(
    one_worker: SessionPool, hold: Hold, diary: Diary
) -> None:
    [(_, guest)] = hold(one_worker)
    late = one_worker.options(deadline=SHORT_S).submit(deeds.note, diary.path, "late")
    behind = one_worker.submit(deeds.note, diary.path, "behind")
    failure(late, DeadlineExceeded)

    guest.release()

    behind.result(LONG_S)
    assert diary.lines() == ["behind"]


def test_the_worker_of_what_kept_an_operation_waiting_past_its_deadline_is_left_alone(
    one_worker: SessionPool, hold: Hold
) -> None:
    [(future, guest)] = hold(one_worker)

    failure(one_worker.options(deadline=SHORT_S).submit(deeds.echo, 1), DeadlineExceeded)

    guest.release("fine")
    assert future.result(LONG_S) == "fine"


def test_an_operation_that_runs_past_its_deadline_fails_and_tells_its_worker(
    pool: SessionPool, meeting: Meeting
) -> None:
    future = pool.options(deadline=SHORT_S).submit(deeds.meet, meeting.address)
    guest = meeting.guest()

    error = failure(future, DeadlineExceeded)

    assert (error.deadline_s, error.started, error.pid) == (SHORT_S, True, guest.pid)


def test_the_worker_of_an_operation_that_runs_past_its_deadline_is_gone(pool: SessionPool, meeting: Meeting) -> None:
    future = pool.options(deadline=SHORT_S).submit(deeds.meet, meeting.address)
    guest = meeting.guest()

    failure(future, DeadlineExceeded)

    assert is_gone(guest.pid)


def test_a_deadline_ends_an_operation_that_keeps_the_gil(one_worker: SessionPool) -> None:
    began = time.monotonic()

    failure(one_worker.options(deadline=SHORT_S).submit(deeds.keep_the_gil, 30.0), DeadlineExceeded)

    assert time.monotonic() - began < 5.0


def test_a_deadline_is_kept_to_within_a_fraction_of_a_second(pool: SessionPool, meeting: Meeting) -> None:
    began = time.monotonic()

    failure(pool.options(deadline=SHORT_S).submit(deeds.meet, meeting.address), DeadlineExceeded)

    assert SHORT_S <= time.monotonic() - began < SHORT_S + 0.5


def test_others_go_on_where_an_operation_passes_its_deadline(pool: SessionPool, meeting: Meeting) -> None:
    other = pool.submit(deeds.meet, meeting.address)
    guest = meeting.guest()
    late = pool.options(deadline=SHORT_S).submit(deeds.meet, meeting.address)
    behind = [pool.submit(deeds.echo, number) for number in range(10)]

    failure(late, DeadlineExceeded)

    assert [future.result(LONG_S) for future in behind] == list(range(10))
    guest.release("fine")
    assert other.result(LONG_S) == "fine"


def test_an_exceeded_deadline_is_a_timeout(one_worker: SessionPool, hold: Hold) -> None:
    hold(one_worker)

    with pytest.raises(TimeoutError, match=r"0\.15 s"):
        one_worker.options(deadline=SHORT_S).submit(deeds.echo, 1).result(LONG_S)


def test_a_pool_may_have_a_deadline_for_every_operation(open_pool: Open, hold: Hold, meeting: Meeting) -> None:
    pool = open_pool(max_workers=1, deadline=SHORT_S)

    assert failure(pool.submit(deeds.meet, meeting.address), DeadlineExceeded).deadline_s == SHORT_S


def test_a_view_may_lift_the_deadline_of_its_pool(open_pool: Open, meeting: Meeting) -> None:
    pool = open_pool(max_workers=1, deadline=SHORT_S)
    future = pool.options(deadline=None).submit(deeds.meet, meeting.address)
    guest = meeting.guest()

    assert meeting.is_empty_for(3 * SHORT_S)

    guest.release("fine")
    assert future.result(LONG_S) == "fine"


def test_an_operation_that_ends_before_its_deadline_is_not_affected_by_it(pool: SessionPool, ear: Ear) -> None:
    pids = [pool.options(deadline=SHORT_S).submit(deeds.pid).result(LONG_S) for _ in range(10)]

    assert ear.is_silent_for(2 * SHORT_S)

    assert all(not is_gone(pid, 0) for pid in pids)


def test_an_idempotent_operation_is_not_run_again_after_its_deadline(
    open_pool: Open, diary: Diary, meeting: Meeting, quick_restarts: Restarts
) -> None:
    pool = open_pool(max_workers=1, restarts=quick_restarts)
    view = pool.options(deadline=SHORT_S, idempotent=True)

    failure(view.submit(deeds.note_and_meet, diary.path, "once", meeting.address), DeadlineExceeded)

    pool.submit(deeds.note, diary.path, "after").result(LONG_S)
    assert diary.lines() == ["once", "after"]


def test_a_strict_session_is_lost_with_the_worker_of_an_operation_past_its_deadline(
    pool: SessionPool, meeting: Meeting
) -> None:
    late = pool.options(deadline=SHORT_S).session("s").submit(deeds.session_meet, meeting.address)
    guest = meeting.guest()

    failure(late, DeadlineExceeded)

    assert failure(pool.session("s").submit(deeds.count), SessionLost).pid == guest.pid


def test_an_operation_of_a_session_that_waits_past_its_deadline_leaves_the_session_as_it_is(
    pool: SessionPool, meeting: Meeting
) -> None:
    session = pool.session("s")
    session.submit(deeds.session_meet, meeting.address)
    guest = meeting.guest()

    failure(pool.options(deadline=SHORT_S).session("s").submit(deeds.count), DeadlineExceeded)

    guest.release()
    assert session.submit(deeds.count).result(LONG_S)[0] == 1


def test_many_deadlines_pass_at_once(one_worker: SessionPool, hold: Hold) -> None:
    [(future, guest)] = hold(one_worker)
    view = one_worker.options(deadline=SHORT_S)
    late = [view.submit(deeds.echo, number) for number in range(300)]

    for each in late:
        failure(each, DeadlineExceeded)

    guest.release("fine")
    assert future.result(LONG_S) == "fine"
    assert one_worker.snapshot().queued == 0


def test_a_cancelled_operation_does_not_meet_its_deadline(one_worker: SessionPool, hold: Hold, ear: Ear) -> None:
    hold(one_worker)
    queued = one_worker.options(deadline=SHORT_S).submit(deeds.echo, 1)

    assert queued.cancel()

    assert ear.is_silent_for(2 * SHORT_S)
    assert queued.cancelled()
