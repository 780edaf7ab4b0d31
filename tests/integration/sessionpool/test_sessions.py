"""Sessions: their state lives in one worker, in their order, apart from each other, and its end is told."""

import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from sessionpool import (
    PoolSaturated,
    Restarts,
    SessionExpired,
    SessionLost,
    SessionPool,
    Sessions,
    SessionUnknown,
    WorkerDied,
)
from sessionpool.settings import Affinity
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Disturbance, Hold, Open
from tests.integration.sessionpool.witnesses import (
    LONG_S,
    Diary,
    Ear,
    Guest,
    Meeting,
    failure,
    is_gone,
    kill,
    outcome,
    submitted_at_once,
)

TTL_S = 0.2

# --- state ------------------------------------------------------------------------------------------------------


def test_a_session_keeps_its_state_in_one_worker(pool: SessionPool) -> None:
    session = pool.session("s")

    answers = [session.submit(deeds.count).result(LONG_S) for _ in range(20)]

    assert [count for count, _ in answers] == list(range(1, 21))
    assert len({pid for _, pid in answers}) == 1


def test_the_state_of_a_new_session_is_an_empty_dict(pool: SessionPool) -> None:
    assert pool.session("s").submit(deeds.names).result(LONG_S) == []


def test_what_a_session_keeps_need_not_pickle(pool: SessionPool) -> None:
    session = pool.session("s")

    assert not session.submit(deeds.keep_what_does_not_pickle).result(LONG_S)
    assert session.submit(deeds.keep_what_does_not_pickle).result(LONG_S)


def test_two_views_of_the_same_key_are_the_same_session(pool: SessionPool) -> None:
    pool.session(("a", 1)).submit(deeds.count).result(LONG_S)

    assert pool.session(("a", 1)).submit(deeds.count).result(LONG_S)[0] == 2


def test_the_key_of_a_session_need_not_pickle(pool: SessionPool) -> None:
    key = object()

    pool.session(key).submit(deeds.count).result(LONG_S)

    assert pool.session(key).submit(deeds.count).result(LONG_S)[0] == 2


def test_a_session_takes_positional_and_named_arguments(pool: SessionPool) -> None:
    seen = pool.session("s").submit(deeds.append, "owner", value=3).result(LONG_S)

    assert seen == [("owner", 3)]


def test_an_operation_that_raises_leaves_the_session_open_with_what_it_did(pool: SessionPool) -> None:
    session = pool.session("s")

    failure(session.submit(deeds.session_fail, KeyError("a")), KeyError)

    assert session.submit(deeds.names).result(LONG_S) == ["failed"]


def test_no_session_sees_the_state_of_another(open_pool: Open, disturb: Disturbance) -> None:
    pool = open_pool(sessions=Sessions(affinity="restart"))
    futures: dict[int, list[Future[Any]]] = defaultdict(list)
    for number in range(20):
        for key in range(10):
            futures[key].append(pool.session(key).submit(deeds.append, key, number))
        if number == 10:
            disturb(pool)

    owners = {
        (key, owner)
        for key, each in futures.items()
        for future in each
        if (seen := outcome(future)) is not WorkerDied
        for owner, _ in seen
    }
    assert owners == {(key, key) for key in range(10)}


# --- order ------------------------------------------------------------------------------------------------------


def test_a_session_runs_its_operations_in_the_order_of_their_submission(pool: SessionPool) -> None:
    session = pool.session("s")
    futures = [session.submit(deeds.append, "s", number) for number in range(200)]

    assert futures[-1].result(LONG_S) == [("s", number) for number in range(200)]


@pytest.mark.parametrize("affinity", ["restart", "hint"])
@pytest.mark.parametrize("idempotent", [False, True])
def test_many_threads_find_their_operations_in_each_session_in_the_order_of_their_submission(
    idempotent: bool, affinity: Affinity, open_pool: Open, diary: Diary, disturb: Disturbance
) -> None:
    pool = open_pool(sessions=Sessions(affinity=affinity))
    view = pool.options(idempotent=idempotent)
    locks = [threading.Lock() for _ in range(4)]
    numbers = [0] * 4

    def submit(thread: int) -> list[Future[Any]]:
        futures = []
        for turn in range(40):
            key = (thread + turn) % 4
            with locks[key]:  # so that the numbers are the order of submission
                numbers[key] += 1
                futures.append(view.session(key).submit(deeds.session_note, diary.path, f"{key} {numbers[key]}"))
            if thread == 0 and turn == 20:
                disturb(pool)
        return futures

    outcomes = [outcome(future) for future in submitted_at_once(6, submit)]

    seen: dict[str, list[int]] = defaultdict(list)
    for key, number in (line.split() for line in diary.lines()):
        seen[key].append(int(number))
    assert all(each == sorted(each) for each in seen.values()), seen
    assert len(outcomes) == 240
    assert sum(each is WorkerDied for each in outcomes) <= (0 if idempotent else 1)


def test_a_cancelled_operation_leaves_the_order_of_the_others(pool: SessionPool, meeting: Meeting) -> None:
    session = pool.session("s")
    session.submit(deeds.session_meet, meeting.address)
    guest = meeting.guest()
    futures = [session.submit(deeds.append, "s", number) for number in range(4)]

    assert futures[0].cancel()
    assert futures[2].cancel()

    guest.release()
    assert futures[3].result(LONG_S) == [("s", 1), ("s", 3)]


def test_cancelling_the_first_operation_of_a_session_lets_the_next_one_open_it(
    one_worker: SessionPool, hold: Hold
) -> None:
    [(_, guest)] = hold(one_worker)
    session = one_worker.session("s")
    first, second = session.submit(deeds.count), session.submit(deeds.count)

    assert first.cancel()

    guest.release()
    assert second.result(LONG_S)[0] == 1


# --- beside each other ------------------------------------------------------------------------------------------


def test_two_new_sessions_run_at_once(pool: SessionPool, meeting: Meeting) -> None:
    pool.session("a").submit(deeds.session_meet, meeting.address, "a")
    pool.session("b").submit(deeds.session_meet, meeting.address, "b")

    first, second = meeting.guests(2)

    assert first.pid != second.pid


def test_idle_sessions_are_spread_over_the_workers(pool: SessionPool) -> None:
    pids = [pool.session(key).submit(deeds.count).result(LONG_S)[1] for key in range(10)]

    assert sorted(pids.count(pid) for pid in set(pids)) == [5, 5]


def test_a_session_that_waits_for_its_busy_worker_holds_nobody_else_up(pool: SessionPool, meeting: Meeting) -> None:
    session = pool.session("s")
    session.submit(deeds.session_meet, meeting.address)
    guest = meeting.guest()
    waiting = session.submit(deeds.count)

    others = [pool.submit(deeds.pid).result(LONG_S) for _ in range(5)]
    new = pool.session("new").submit(deeds.count).result(LONG_S)

    assert guest.pid not in others
    assert new[0] == 1
    assert not waiting.done()


def test_a_session_waits_for_its_worker_though_another_is_idle(pool: SessionPool, meeting: Meeting) -> None:
    session = pool.session("s")
    home = session.submit(deeds.count).result(LONG_S)[1]
    guest = occupy(pool, meeting, home)
    waiting = session.submit(deeds.count)
    pool.submit(deeds.pid).result(LONG_S)

    assert not waiting.done()

    guest.release()
    assert waiting.result(LONG_S) == (2, home)


def occupy(pool: SessionPool, meeting: Meeting, pid: int) -> Guest:
    """Keep this one of two workers busy, with an operation of no session; the guest to be released."""
    for _ in range(2):
        pool.submit(deeds.meet, meeting.address)
    guests = {guest.pid: guest for guest in meeting.guests(2)}
    it = guests.pop(pid)
    for other in guests.values():
        other.release()
    pool.wait_for(lambda seen: seen.ready == 1, timeout=LONG_S)
    return it


# --- a worker's death -------------------------------------------------------------------------------------------


def test_a_strict_session_is_lost_with_its_worker(pool: SessionPool) -> None:
    session = pool.session("s")
    home = session.submit(deeds.count).result(LONG_S)[1]

    kill(home)
    pool.wait_for(lambda seen: seen.restarts >= 1, timeout=LONG_S)

    error = failure(session.submit(deeds.count), SessionLost)
    assert (error.key, error.pid) == ("s", home)
    assert "SIGKILL" in error.reason


def test_a_strict_session_stays_lost_until_it_is_closed(pool: SessionPool) -> None:
    session = pool.session("s")
    failure(session.submit(deeds.session_exit, 3), WorkerDied)

    for _ in range(3):
        failure(session.submit(deeds.count), SessionLost)


def test_a_strict_session_that_was_lost_and_closed_begins_anew(pool: SessionPool) -> None:
    session = pool.session("s")
    session.submit(deeds.count).result(LONG_S)
    failure(session.submit(deeds.session_exit, 3), WorkerDied)
    failure(session.submit(deeds.count), SessionLost)

    assert session.close().result(LONG_S) is None

    assert session.submit(deeds.count).result(LONG_S)[0] == 1


def test_what_waits_in_a_strict_session_is_lost_with_its_worker_and_what_ran_has_died(
    pool: SessionPool, meeting: Meeting
) -> None:
    session = pool.session("s")
    running = session.submit(deeds.session_meet, meeting.address)
    guest = meeting.guest()
    waiting = [session.submit(deeds.count) for _ in range(3)]

    kill(guest.pid)

    failure(running, WorkerDied)
    for each in waiting:
        assert failure(each, SessionLost).pid == guest.pid


def test_an_idempotent_operation_of_a_strict_session_is_not_run_where_its_state_is_not(
    pool: SessionPool, diary: Diary
) -> None:
    session = pool.options(idempotent=True).session("s")
    session.submit(deeds.session_note, diary.path, "before").result(LONG_S)

    error = session.submit(deeds.session_exit, 3).exception(LONG_S)

    assert isinstance(error, SessionLost | WorkerDied)


def test_the_sessions_of_other_workers_survive(pool: SessionPool) -> None:
    homes = {key: pool.session(key).submit(deeds.count).result(LONG_S)[1] for key in range(6)}
    victim = homes[0]

    kill(victim)

    survivors = [key for key, home in homes.items() if home != victim]
    assert survivors
    for key in survivors:
        assert pool.session(key).submit(deeds.count).result(LONG_S) == (2, homes[key])


def test_a_restarting_session_goes_on_with_a_fresh_state(open_pool: Open) -> None:
    pool = open_pool(sessions=Sessions(affinity="restart"))
    session = pool.session("s")
    home = session.submit(deeds.count).result(LONG_S)[1]

    kill(home)

    count, pid = session.submit(deeds.count).result(LONG_S)
    assert count == 1
    assert pid != home


def test_what_waits_in_a_restarting_session_runs_in_order_in_its_new_worker(open_pool: Open, meeting: Meeting) -> None:
    session = open_pool(sessions=Sessions(affinity="restart")).session("s")
    running = session.submit(deeds.session_meet, meeting.address)
    guest = meeting.guest()
    waiting = [session.submit(deeds.append, "s", number) for number in range(10)]

    kill(guest.pid)

    failure(running, WorkerDied)
    assert waiting[-1].result(LONG_S) == [("s", number) for number in range(10)]


def test_an_affinity_may_be_chosen_by_the_view(pool: SessionPool) -> None:
    session = pool.options(affinity="restart").session("s")
    failure(session.submit(deeds.session_exit, 3), WorkerDied)

    assert session.submit(deeds.count).result(LONG_S)[0] == 1


def test_a_hinted_session_stays_with_its_worker_where_that_is_idle(open_pool: Open) -> None:
    session = open_pool(sessions=Sessions(affinity="hint")).session("s")

    answers = [session.submit(deeds.count).result(LONG_S) for _ in range(20)]

    assert [count for count, _ in answers] == list(range(1, 21))


def test_a_hinted_session_moves_with_a_fresh_state_rather_than_wait(open_pool: Open, meeting: Meeting) -> None:
    pool = open_pool(sessions=Sessions(affinity="hint"))
    session = pool.session("s")
    home = session.submit(deeds.count).result(LONG_S)[1]
    occupy(pool, meeting, home)

    count, pid = session.submit(deeds.count).result(LONG_S)

    assert count == 1
    assert pid != home


def test_a_hinted_session_that_moves_leaves_no_state_behind(open_pool: Open, meeting: Meeting, ear: Ear) -> None:
    pool = open_pool(sessions=Sessions(affinity="hint"))
    session = pool.session("s")
    home = session.submit(deeds.keep_witness, ear.address, "gone").result(LONG_S)
    guest = occupy(pool, meeting, home)
    session.submit(deeds.count).result(LONG_S)

    guest.release()

    assert ear.hear() == "gone"


def test_a_hinted_session_survives_its_worker_with_a_fresh_state(open_pool: Open) -> None:
    session = open_pool(sessions=Sessions(affinity="hint")).session("s")
    kill(session.submit(deeds.count).result(LONG_S)[1])

    assert session.submit(deeds.count).result(LONG_S)[0] == 1


def test_an_idempotent_operation_of_a_restarting_session_is_run_again(
    open_pool: Open, diary: Diary, quick_restarts: Restarts, meeting: Meeting
) -> None:
    pool = open_pool(sessions=Sessions(affinity="restart"), restarts=quick_restarts)
    session = pool.options(idempotent=True).session("s")
    future = session.submit(deeds.session_meet, meeting.address)
    behind = session.submit(deeds.count)
    kill(meeting.guest().pid)

    meeting.guest().release("again")

    assert future.result(LONG_S) == "again"
    assert behind.result(LONG_S)[0] == 1


# --- closing ----------------------------------------------------------------------------------------------------


def test_closing_a_session_destroys_its_state_in_the_worker(pool: SessionPool, ear: Ear) -> None:
    session = pool.session("s")
    session.submit(deeds.keep_witness, ear.address, "gone").result(LONG_S)

    assert session.close().result(LONG_S) is None

    assert ear.hear() == "gone"


def test_a_state_is_destroyed_by_the_time_that_the_close_is_told(pool: SessionPool, ear: Ear) -> None:
    session = pool.session("s")
    session.submit(deeds.keep_witness, ear.address, "gone").result(LONG_S)

    session.close().result(LONG_S)

    assert not ear.is_silent_for(0)


def test_a_state_lives_on_until_the_session_is_closed(pool: SessionPool, ear: Ear) -> None:
    pool.session("s").submit(deeds.keep_witness, ear.address, "gone").result(LONG_S)
    for key in range(5):
        pool.session(key).submit(deeds.count).result(LONG_S)
        pool.session(key).close().result(LONG_S)

    assert ear.is_silent_for(0.1)


def test_closing_a_session_waits_for_its_earlier_operations(pool: SessionPool, meeting: Meeting) -> None:
    session = pool.session("s")
    running = session.submit(deeds.session_meet, meeting.address)
    guest = meeting.guest()
    waiting = session.submit(deeds.count)
    closed = session.close()

    assert not closed.done()

    guest.release()
    assert running.result(LONG_S) == "go"
    assert waiting.result(LONG_S)[0] == 1
    assert closed.result(LONG_S) is None


def test_a_session_that_was_closed_is_opened_again_with_a_fresh_state(pool: SessionPool) -> None:
    session = pool.session("s")
    session.submit(deeds.count).result(LONG_S)
    session.close()

    assert session.submit(deeds.count).result(LONG_S)[0] == 1


def test_closing_takes_the_session_off_the_count(pool: SessionPool) -> None:
    for key in range(3):
        pool.session(key).submit(deeds.count).result(LONG_S)
    assert pool.snapshot().sessions == 3

    pool.session(0).close().result(LONG_S)

    assert pool.snapshot().sessions == 2


def test_a_witness_whose_destruction_raises_does_not_harm_the_worker(one_worker: SessionPool, ear: Ear) -> None:
    session = one_worker.session("s")
    home = session.submit(deeds.keep_witness, ear.address, "gone").result(LONG_S)
    ear.close()  # the witness has nobody to tell

    session.close().result(LONG_S)

    assert one_worker.submit(deeds.pid).result(LONG_S) == home


# --- expiry, and what is told apart -----------------------------------------------------------------------------


@pytest.fixture
def short_lived(open_pool: Open) -> SessionPool:
    return open_pool(sessions=Sessions(ttl_s=TTL_S))


def test_the_state_of_an_unused_session_is_destroyed_when_it_expires(short_lived: SessionPool, ear: Ear) -> None:
    short_lived.session("s").submit(deeds.keep_witness, ear.address, "gone").result(LONG_S)

    assert ear.hear() == "gone"
    short_lived.wait_for(lambda seen: seen.sessions == 0, timeout=LONG_S)


def test_an_expired_session_is_told_from_a_lost_one(short_lived: SessionPool) -> None:
    session = short_lived.session("s")
    home = session.submit(deeds.count).result(LONG_S)[1]
    short_lived.wait_for(lambda seen: seen.sessions == 0, timeout=LONG_S)

    error = failure(session.submit(deeds.count), SessionExpired)

    assert (error.key, error.pid) == ("s", home)
    assert not is_gone(home, 0)


def test_an_expired_session_that_was_closed_begins_anew(short_lived: SessionPool) -> None:
    session = short_lived.session("s")
    session.submit(deeds.count).result(LONG_S)
    short_lived.wait_for(lambda seen: seen.sessions == 0, timeout=LONG_S)

    session.close().exception(LONG_S)

    assert session.submit(deeds.count).result(LONG_S)[0] == 1


def test_a_session_does_not_expire_while_it_is_used(short_lived: SessionPool, meeting: Meeting) -> None:
    session = short_lived.session("s")
    session.submit(deeds.count).result(LONG_S)
    running = session.submit(deeds.session_meet, meeting.address)
    guest = meeting.guest()

    assert meeting.is_empty_for(4 * TTL_S)

    guest.release()
    running.result(LONG_S)
    assert session.submit(deeds.count).result(LONG_S)[0] == 2


def test_a_session_does_not_expire_between_uses_that_follow_each_other(short_lived: SessionPool, ear: Ear) -> None:
    session = short_lived.session("s")

    for number in range(1, 10):
        assert session.submit(deeds.count).result(LONG_S)[0] == number
        assert ear.is_silent_for(TTL_S / 4)


def test_a_restarting_session_that_expired_begins_anew(open_pool: Open) -> None:
    pool = open_pool(sessions=Sessions(ttl_s=TTL_S, affinity="restart"))
    session = pool.session("s")
    session.submit(deeds.count).result(LONG_S)
    pool.wait_for(lambda seen: seen.sessions == 0, timeout=LONG_S)

    assert session.submit(deeds.count).result(LONG_S)[0] == 1


def test_a_session_that_never_was_is_told_from_a_lost_one(pool: SessionPool) -> None:
    error = failure(pool.session("never", existing=True).submit(deeds.count), SessionUnknown)

    assert (error.key, error.pid) == ("never", None)


def test_a_session_that_was_closed_is_unknown_to_who_must_not_open_one(pool: SessionPool) -> None:
    session = pool.session("s")
    session.submit(deeds.count).result(LONG_S)
    session.close().result(LONG_S)

    failure(pool.session("s", existing=True).submit(deeds.count), SessionUnknown)


def test_an_existing_session_is_used_by_who_must_not_open_one(pool: SessionPool) -> None:
    pool.session("s").submit(deeds.count).result(LONG_S)

    assert pool.session("s", existing=True).submit(deeds.count).result(LONG_S)[0] == 2


def test_who_must_not_open_a_session_is_told_that_it_was_lost(pool: SessionPool) -> None:
    failure(pool.session("s").submit(deeds.session_exit, 3), WorkerDied)

    failure(pool.session("s", existing=True).submit(deeds.count), SessionLost)


# --- how many ---------------------------------------------------------------------------------------------------


@pytest.fixture
def two_sessions(open_pool: Open) -> SessionPool:
    pool = open_pool(sessions=Sessions(max_count=2))
    for key in range(2):
        pool.session(key).submit(deeds.count).result(LONG_S)
    return pool


def test_a_session_beyond_the_most_is_refused_at_once(two_sessions: SessionPool) -> None:
    with pytest.raises(PoolSaturated) as caught:
        two_sessions.session("one more").submit(deeds.count)

    assert (caught.value.what, caught.value.limit) == ("sessions", 2)


def test_open_sessions_go_on_where_there_are_as_many_as_may_be(two_sessions: SessionPool) -> None:
    assert two_sessions.session(0).submit(deeds.count).result(LONG_S)[0] == 2


def test_closing_a_session_makes_room_for_another(two_sessions: SessionPool) -> None:
    two_sessions.session(0).close().result(LONG_S)

    assert two_sessions.session("another").submit(deeds.count).result(LONG_S)[0] == 1


def test_a_lost_session_makes_room_for_another(two_sessions: SessionPool) -> None:
    failure(two_sessions.session(0).submit(deeds.session_exit, 3), WorkerDied)

    assert two_sessions.session("another").submit(deeds.count).result(LONG_S)[0] == 1


def test_many_sessions_are_opened_and_closed_by_many_threads_at_once(pool: SessionPool) -> None:
    def live(thread: int) -> list[tuple[int, object]]:
        lives: list[tuple[int, object]] = []
        for turn in range(10):
            session = pool.session((thread, turn))
            counts = [session.submit(deeds.count) for _ in range(3)]
            closed = session.close()
            lives.append((counts[-1].result(LONG_S)[0], closed.result(LONG_S)))
        return lives

    assert submitted_at_once(6, live) == [(3, None)] * 60
    assert pool.snapshot().sessions == 0


@pytest.mark.parametrize("affinity", ["strict", "restart", "hint"])
def test_a_session_of_any_affinity_is_answered_or_told_why_not(
    affinity: Affinity, open_pool: Open, disturb: Disturbance
) -> None:
    pool = open_pool()
    view: Callable[[int], Any] = pool.options(affinity=affinity).session
    futures = []
    for number in range(30):
        futures += [view(key).submit(deeds.count) for key in range(6)]
        if number == 15:
            disturb(pool)

    kinds = {kind for future in futures if isinstance(kind := outcome(future), type)}

    assert kinds <= {WorkerDied, SessionLost}
