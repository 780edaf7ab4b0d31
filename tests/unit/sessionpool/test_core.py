"""Each rule of the core by itself, in a world whose clock stands still until it is moved."""

import random
from typing import Any

import pytest

import sessionpool.core
from sessionpool.core import (
    PREFETCH_S,
    Core,
    Drop,
    Forget,
    Kill,
    PoolBroken,
    Publish,
    Recall,
    Resolve,
    Send,
    Start,
    Stop,
    Task,
)
from sessionpool.errors import (
    DeadlineExceeded,
    PoolClosed,
    PoolSaturated,
    SessionExpired,
    SessionLost,
    SessionUnknown,
    WorkerDied,
)
from sessionpool.settings import Affinity, Recycling, Restarts, Sessions, Settings, Timing
from sessionpool.wire import Frame, Kind
from tests.unit.sessionpool.world import Record, Worker, World


def world(workers: int = 1, *, most: int | None = None, up: bool = True, **settings: Any) -> World:
    observed = settings.pop("observed", False)
    it = World(Settings(min_workers=workers, max_workers=most or workers, **settings), observed=observed)
    if up:
        come_up(it)
    return it


def come_up(it: World) -> None:
    for worker in list(it.workers.values()):
        it.fork(worker)
        it.ready(worker)


def submitted(it: World, **terms: Any) -> Record:
    record = it.submit(**terms)
    assert record is not None
    return record


def holder(it: World, record: Record) -> Worker:
    assert isinstance(record.place, int), f"it is {record.place}"
    return it.workers[record.place]


def began(it: World, record: Record) -> Worker:
    worker = holder(it, record)
    it.begin(worker)
    return worker


def effects(it: World, kind: type[Any]) -> list[Any]:
    return [effect for effect in it.effects if type(effect) is kind]


def taught(it: World, took_ns: int = 1000, cost: str = "quick") -> None:
    """Have the pool know how long a kind takes."""
    it.work(holder(it, submitted(it, cost=cost)), took_ns)


# --- beginning --------------------------------------------------------------------------------------------------------


def test_a_pool_begins_with_its_smallest_number_of_workers() -> None:
    it = world(2, most=4, up=False)
    assert effects(it, Start) == [Start(1), Start(2)]


def test_what_comes_before_a_worker_is_ready_waits_for_it() -> None:
    it = world(1, up=False)
    record = submitted(it)
    before = record.place
    come_up(it)
    assert (before, record.place) == ("waiting", 1)


def test_nothing_happens_with_what_a_forgotten_worker_says() -> None:
    it = world(1)
    frame = Frame(int(Kind.RESULT), 9, 1, 0, 0, b"")
    core = it.core
    told = [core.replied(0, 9, [frame]), core.ready(0, 9), core.forked(0, 9, 1), core.exited(0, 9, started=0, exit="")]
    assert [list(one) for one in told] == [[], [], [], []]


# --- who takes an operation -------------------------------------------------------------------------------------------


def test_an_operation_goes_to_the_worker_that_became_idle_last() -> None:
    it = world(3)
    first, second = submitted(it), submitted(it)
    one, other = holder(it, first), holder(it, second)
    it.work(other)
    it.work(one)
    assert submitted(it).place == one.number


def test_a_new_session_goes_to_the_worker_with_the_fewest() -> None:
    it = world(2)
    for key in ("ann", "bob", "eve", "joe"):
        it.work(holder(it, submitted(it, key=key)))
    assert [worker.sessions for worker in it.core.workers()] == [2, 2]


def test_a_session_stays_with_its_worker() -> None:
    it = world(3)
    places = []
    for _ in range(4):
        record = submitted(it, key="ann")
        places.append(record.place)
        it.work(holder(it, record))
        it.work(holder(it, submitted(it)))
    assert len(set(places)) == 1


@pytest.mark.parametrize("affinity", ["strict", "restart"])
def test_a_session_waits_for_its_worker_while_another_is_idle(affinity: Any) -> None:
    it = world(2)
    first = submitted(it, key="ann", affinity=affinity)
    assert submitted(it, key="ann", affinity=affinity).place == "waiting"
    assert first.place != "waiting"


def test_a_hinted_session_moves_to_an_idle_worker_when_its_own_is_busy_with_others() -> None:
    it = world(2)
    home = holder(it, submitted(it, key="ann", affinity="hint"))
    it.work(home)
    assert submitted(it).place == home.number
    moved = submitted(it, key="ann", affinity="hint")
    assert holder(it, moved) is not home
    assert moved.task.opens


def test_a_hinted_session_that_waits_moves_to_whoever_is_idle_first() -> None:
    it = world(2)
    home = holder(it, submitted(it, key="ann", affinity="hint"))
    it.work(home)
    busy = [submitted(it), submitted(it)]
    waits = submitted(it, key="ann", affinity="hint")
    other = next(holder(it, record) for record in busy if record.place != home.number)
    it.begin(other)
    it.finish(other)
    it.deliver(other)
    assert waits.place == other.number


def test_the_worker_that_a_session_moved_away_from_is_told() -> None:
    it = world(2)
    home = holder(it, submitted(it, key="ann", affinity="hint"))
    it.work(home)
    assert submitted(it).place == home.number
    submitted(it, key="ann", affinity="hint")
    assert effects(it, Forget) == [Forget(home.number, 1)]


def test_an_operation_of_a_session_does_not_overtake_an_earlier_one() -> None:
    it = world(2)
    records = [submitted(it, key="ann", affinity="hint") for _ in range(3)]
    assert [record.place for record in records] == [records[0].place, "waiting", "waiting"]


def test_the_older_of_two_heads_goes_first() -> None:
    it = world(1)
    first = submitted(it, key="ann")
    later = [submitted(it), submitted(it, key="ann"), submitted(it)]
    order = []
    for _ in range(3):
        it.work(it.workers[1])
        order += [later.index(record) for record in later if record.place == 1]
    assert (first.outcome is not None, order) == (True, [0, 1, 2])


# --- work in advance --------------------------------------------------------------------------------------------------


def held(it: World) -> int:
    return len(it.workers[1].held)


def test_no_work_is_sent_in_advance_of_what_nobody_knows() -> None:
    it = world(1)
    for _ in range(5):
        submitted(it, cost="new")
    assert held(it) == 1


def first_batch(it: World, count: int = 5, **terms: Any) -> int:
    taught(it)
    blocker = submitted(it, cost="quick")
    for _ in range(count):
        submitted(it, **({"cost": "quick"} | terms))
    worker = holder(it, blocker)
    it.begin(worker)
    it.finish(worker)
    it.deliver(worker)
    return len(worker.held)


def test_short_operations_are_sent_together() -> None:
    assert first_batch(world(1)) == 5


def test_long_ones_are_not() -> None:
    it = world(1)
    taught(it, took_ns=int(2e9 * PREFETCH_S), cost="long")
    assert first_batch(it, cost="long") == 1


def test_no_operation_with_a_deadline_is_sent_in_advance() -> None:
    assert first_batch(world(1), deadline_s=9.0) == 1


def test_no_large_operation_is_sent_in_advance() -> None:
    assert first_batch(world(1), size=1 << 20) == 1


def test_no_more_is_sent_in_advance_than_takes_a_millisecond() -> None:
    it = world(1)
    taught(it, took_ns=int(1e9 * PREFETCH_S / 4), cost="quarter")
    assert first_batch(it, cost="quarter") in (3, 4)


def test_a_kind_is_as_long_as_its_latest_longest_was() -> None:
    it = world(1)
    taught(it, took_ns=1000)
    taught(it, took_ns=10**9)
    taught(it, took_ns=1000)
    blocker = submitted(it, cost="quick")
    assert 0.5 < blocker.task.estimate < 1.0


# --- the queue's bound ------------------------------------------------------------------------------------------------


def test_more_than_may_wait_is_refused() -> None:
    it = world(1, max_queue=1)
    submitted(it)
    submitted(it)
    with pytest.raises(PoolSaturated) as raised:
        it.core.submit(0.0, Task("more"))
    assert (raised.value.what, raised.value.limit) == ("queue", 1)


def test_what_is_sent_does_not_count_as_waiting() -> None:
    it = world(1, max_queue=0)
    assert submitted(it).place == 1
    assert it.submit() is None


def test_the_end_of_a_session_is_never_refused() -> None:
    it = world(1, max_queue=0)
    submitted(it, key="ann")
    assert submitted(it, key="ann", closes=True).place == "waiting"


def test_more_sessions_than_may_be_are_refused() -> None:
    it = world(1, sessions=Sessions(max_count=1))
    submitted(it, key="ann")
    with pytest.raises(PoolSaturated) as raised:
        it.core.submit(0.0, Task("more", has_session=True, key="bob"))
    assert (raised.value.what, raised.value.limit) == ("sessions", 1)


def test_a_session_that_was_closed_makes_room_for_another() -> None:
    it = world(1, sessions=Sessions(max_count=1))
    submitted(it, key="ann")
    submitted(it, key="ann", closes=True)
    assert submitted(it, key="bob").place == "waiting"


def test_a_session_none_of_whose_operations_ran_leaves_no_trace() -> None:
    it = world(1, sessions=Sessions(max_count=1))
    submitted(it)
    it.withdraw(submitted(it, key="ann"))
    assert it.core.snapshot().sessions == 0


def test_a_refused_operation_does_not_let_a_lost_session_be_forgotten() -> None:
    it = world(1, max_queue=0)
    it.die(began(it, submitted(it, key="ann")))
    assert it.submit(key="ann", affinity="restart") is None
    come_up(it)
    assert isinstance(submitted(it, key="ann").outcome, SessionLost)


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_what_was_cancelled_is_never_sent() -> None:
    it = world(1)
    submitted(it)
    gone = submitted(it)
    last = submitted(it)
    it.withdraw(gone)
    it.settle()
    assert (gone.executed, last.executed) == (0, 1)


def test_what_a_worker_holds_is_not_cancelled() -> None:
    it = world(1)
    record = submitted(it)
    assert list(it.core.withdraw(0.0, record.task)) == []
    it.settle()
    assert record.executed == 1


def test_a_cancelled_operation_does_not_make_the_pool_grow() -> None:
    it = world(1, most=2)
    submitted(it)
    it.withdraw(submitted(it, key="ann"))
    it.advance(1.0)
    assert len(it.workers) == 1


# --- the death of a worker --------------------------------------------------------------------------------------------


def test_what_it_had_not_begun_goes_elsewhere() -> None:
    it = world(1)
    record = submitted(it)
    it.die(holder(it, record))
    it.settle()
    assert (record.executed, record.task.attempts) == (1, 1)


def test_what_it_had_begun_fails() -> None:
    it = world(1)
    record = submitted(it)
    it.die(began(it, record))
    assert isinstance(record.outcome, WorkerDied)
    assert (record.outcome.pid, record.outcome.exit, record.outcome.attempts) == (1001, "signal SIGKILL", 1)


def test_what_it_had_answered_is_answered() -> None:
    it = world(1)
    record = submitted(it)
    it.finish(began(it, record))
    it.die(it.workers[1])
    assert isinstance(record.outcome, Frame)


def test_an_answer_that_was_lost_with_it_fails_what_may_have_had_effects() -> None:
    it = world(1)
    record = submitted(it)
    it.finish(began(it, record))
    it.die(it.workers[1], lost=1)
    assert isinstance(record.outcome, WorkerDied)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_an_idempotent_operation_is_tried_as_often_as_it_may_be(retries: int) -> None:
    it = world(1, restarts=Restarts(max_retries=retries))
    record = submitted(it, idempotent=True)
    for _ in range(retries + 1):
        assert record.outcome is None
        it.die(began(it, record))
        come_up(it)
    assert isinstance(record.outcome, WorkerDied)
    assert record.outcome.attempts == record.executed == retries + 1


def test_who_has_declared_an_operation_idempotent_is_not_advised_to() -> None:
    it = world(1, restarts=Restarts(max_retries=0))
    record = submitted(it, idempotent=True)
    it.die(began(it, record))
    assert "declare" not in str(record.outcome)


def test_what_comes_back_goes_before_what_waits() -> None:
    it = world(1)
    first, second = submitted(it), submitted(it)
    it.die(holder(it, first))
    come_up(it)
    assert (first.place, second.place) == (2, "waiting")


def test_what_comes_back_goes_to_an_idle_worker_at_once() -> None:
    it = world(2)
    record = submitted(it)
    it.die(holder(it, record))
    assert record.place in it.workers


def test_another_worker_is_started_in_its_place() -> None:
    it = world(2)
    it.die(it.workers[1])
    assert effects(it, Start) == [Start(3)]
    assert it.core.snapshot().restarts == 1


def test_an_answer_to_something_else_is_the_end_of_a_worker() -> None:
    it = world(1)
    record = submitted(it)
    told = it.core.replied(0.0, 1, [Frame(int(Kind.RESULT), 1, record.task.sequence + 1, 0, 0, b"")])
    assert told == [Kill(1)]


def test_an_answer_of_another_epoch_is_the_end_of_a_worker() -> None:
    it = world(1)
    record = submitted(it, key="ann")
    told = it.core.replied(0.0, 1, [Frame(int(Kind.RESULT), 1, record.task.sequence, 99, 0, b"")])
    assert told == [Kill(1)]


def test_a_doomed_worker_is_sent_nothing() -> None:
    it = world(1)
    it.doom(it.workers[1])
    assert submitted(it).place == "waiting"


def test_a_doomed_worker_that_answers_is_not_asked_to_stop() -> None:
    it = world(1, recycling=Recycling(operations=1))
    record = submitted(it)
    it.doom(it.workers[1])
    it.work(it.workers[1])
    assert (isinstance(record.outcome, Frame), effects(it, Stop)) == (True, [])


# --- starts that fail -------------------------------------------------------------------------------------------------


def failed_starts(it: World, count: int) -> list[float]:
    """How long the pool waits after each of some starts that fail."""
    waits = []
    for _ in range(count):
        worker = next(worker for worker in it.workers.values() if worker.phase == "wanted")
        it.fail_to_start(worker)
        before = it.now
        while not it.effects or not effects(it, Start):
            it.advance(it.core.due - it.now)
        waits.append(it.now - before)
    return waits


def test_the_wait_after_a_failed_start_doubles_with_jitter_of_the_chance_that_was_given() -> None:
    it = world(1, up=False, restarts=Restarts(max_failures=99, backoff_s=0.1, max_backoff_s=0.5))
    chance = random.Random(0)
    expected = [wait_s * chance.uniform(0.5, 1.5) for wait_s in (0.1, 0.2, 0.4, 0.5, 0.5)]
    assert failed_starts(it, 5) == pytest.approx(expected)


def test_starts_that_fail_together_count_once() -> None:
    it = world(4, up=False, restarts=Restarts(max_failures=2, backoff_s=0.1))
    record = submitted(it)
    for worker in list(it.workers.values()):
        it.fail_to_start(worker)
    assert record.place == "waiting"
    assert it.core.due - it.now <= 0.15


def test_a_round_of_starts_that_fails_after_another_counts_again() -> None:
    it = world(4, up=False, restarts=Restarts(max_failures=2, backoff_s=0.1))
    record = submitted(it)
    for worker in list(it.workers.values()):
        it.fail_to_start(worker)
    it.advance(it.core.due - it.now)
    it.fail_to_start(next(iter(it.workers.values())))
    assert isinstance(record.outcome, PoolBroken)


def test_a_start_that_takes_the_place_of_one_that_hung_is_of_the_next_round() -> None:
    it = world(1, up=False, timing=Timing(start_s=1.0), restarts=Restarts(max_failures=2, backoff_s=0.1))
    record = submitted(it)
    it.fork(it.workers[1])
    it.advance(1.0)
    it.die(it.workers[1])
    it.advance(it.core.due - it.now)
    it.fail_to_start(next(iter(it.workers.values())))
    assert isinstance(record.outcome, PoolBroken)


@pytest.mark.parametrize("is_gone", [False, True])
def test_after_starts_that_hung_others_are_started_only_after_the_wait(is_gone: bool) -> None:
    it = world(2, up=False, timing=Timing(start_s=1.0), restarts=Restarts(max_failures=9, backoff_s=0.1))
    for worker in (1, 2):
        it.fork(it.workers[worker])
    it.advance(1.0)
    for worker in (1, 2) if is_gone else ():
        it.die(it.workers[worker])
    assert it.core.snapshot().starting == 0  # none in their place
    assert 0.05 <= it.core.due - it.now <= 0.15
    it.advance(it.core.due - it.now)
    assert {worker for worker in it.workers if worker > 2} == {3, 4}


def test_starts_that_hang_are_tried_as_often_as_may_be_and_not_once_more() -> None:
    it = world(2, up=False, timing=Timing(start_s=1.0), restarts=Restarts(max_failures=3, backoff_s=0.1))
    record = submitted(it)
    started = set(it.workers)
    for _ in range(20):
        it.advance(min(1.0, it.core.due - it.now))
        started |= set(it.workers)
    assert isinstance(record.outcome, PoolBroken)
    assert started == set(range(1, 7))


def test_the_wait_begins_anew_once_a_worker_was_ready() -> None:
    it = world(1, up=False, restarts=Restarts(max_failures=99, backoff_s=0.1))
    failed_starts(it, 4)
    come_up(it)
    it.die(next(iter(it.workers.values())))
    assert failed_starts(it, 1)[0] <= 0.15


def test_a_worker_that_dies_later_is_replaced_without_a_wait() -> None:
    it = world(1)
    it.die(it.workers[1])
    assert effects(it, Start) == [Start(2)]


def broken(it: World, count: int) -> None:
    for number in range(count):
        worker = next(worker for worker in it.workers.values() if worker.phase == "wanted")
        it.fail_to_start(worker, f"words {number}")
        if not it.core.snapshot().broken:
            it.advance(it.core.due - it.now)


def test_a_pool_whose_workers_never_come_up_is_broken() -> None:
    it = world(1, up=False, restarts=Restarts(max_failures=3))
    record = submitted(it)
    broken(it, 3)
    assert isinstance(record.outcome, PoolBroken)
    assert record.outcome.last_words == ("words 0", "words 1", "words 2")


def test_a_broken_pool_refuses_what_comes() -> None:
    it = world(1, up=False, restarts=Restarts(max_failures=1))
    broken(it, 1)
    with pytest.raises(PoolBroken, match="words 0"):
        it.core.submit(0.0, Task("more"))


def test_a_broken_pool_keeps_the_last_five_words() -> None:
    it = world(1, up=False, restarts=Restarts(max_failures=7))
    broken(it, 7)
    with pytest.raises(PoolBroken) as caught:
        it.core.refuse_if_closed()
    assert caught.value.last_words == tuple(f"words {number}" for number in range(2, 7))


def test_a_pool_with_a_worker_left_is_not_broken() -> None:
    it = world(2, up=False, restarts=Restarts(max_failures=1))
    it.fork(it.workers[1])
    it.ready(it.workers[1])
    broken(it, 1)
    assert not it.core.snapshot().broken
    assert it.core.snapshot().ready == 1


def test_a_pool_without_operations_that_is_closing_does_not_break() -> None:
    it = world(1, up=False, restarts=Restarts(max_failures=1))
    it.shutdown()
    it.fail_to_start(it.workers[1])
    assert (it.core.snapshot().broken, it.core.is_over) == (False, True)


def test_a_worker_that_is_not_ready_in_time_is_killed() -> None:
    it = world(1, up=False, timing=Timing(start_s=3.0))
    it.advance(2.9)
    assert not it.workers[1].is_killed
    it.advance(0.1)
    assert it.workers[1].is_killed


# --- growing and shrinking --------------------------------------------------------------------------------------------


def test_a_pool_grows_by_as_many_as_wait() -> None:
    it = world(1, most=4)
    for _ in range(3):
        submitted(it)
    it.advance(0.049)
    assert len(it.workers) == 1
    it.advance(0.002)
    assert len(it.workers) == 3


def test_a_pool_grows_to_its_largest_number_and_no_further() -> None:
    it = world(1, most=2)
    for _ in range(9):
        submitted(it)
    it.advance(5.0)
    assert len(it.workers) == 2


def test_a_pool_does_not_grow_for_what_waits_for_its_sessions_worker() -> None:
    it = world(1, most=4)
    for _ in range(9):
        submitted(it, key="ann")
    it.advance(5.0)
    assert len(it.workers) == 1


def grown() -> World:
    it = world(1, most=2, timing=Timing(shrink_s=2.0))
    records = [submitted(it), submitted(it)]
    it.advance(0.1)
    come_up(it)
    for record in records:
        it.work(holder(it, record))
    return it


def test_a_worker_too_many_leaves_when_it_has_idled_long() -> None:
    it = grown()
    it.advance(1.9)
    assert it.core.snapshot().ready == 2
    it.advance(0.2)
    assert (it.core.snapshot().ready, it.core.snapshot().stopping) == (1, 1)


def test_no_worker_leaves_with_a_session() -> None:
    it = grown()
    for key in ("ann", "bob"):
        it.work(holder(it, submitted(it, key=key)))
    it.advance(60.0)
    assert it.core.snapshot().ready == 2


def test_the_smallest_number_stays() -> None:
    it = world(2, most=3, timing=Timing(shrink_s=1.0))
    it.advance(60.0)
    assert it.core.snapshot().ready == 2


def test_a_worker_that_was_asked_to_leave_and_does_not_is_killed() -> None:
    it = grown()
    it.advance(2.1)
    leaving = next(worker for worker in it.workers.values() if worker.is_asked_to_stop)
    it.advance(5.0)
    assert leaving.is_killed


# --- recycling --------------------------------------------------------------------------------------------------------


def test_a_worker_is_replaced_after_its_operations() -> None:
    it = world(1, recycling=Recycling(operations=2))
    taken = [submitted(it), submitted(it)]
    it.work(it.workers[1])
    it.work(it.workers[1])
    assert all(isinstance(record.outcome, Frame) for record in taken)
    assert (effects(it, Stop), sorted(it.workers)) == ([Stop(1)], [1, 2])


def test_a_worker_is_replaced_after_its_time() -> None:
    it = world(1, recycling=Recycling(age_s=10.0))
    it.advance(9.9)
    assert not it.workers[1].is_asked_to_stop
    it.advance(0.2)
    assert it.workers[1].is_asked_to_stop


def test_the_time_to_start_counts_as_age() -> None:
    it = world(1, up=False, recycling=Recycling(age_s=10.0))
    it.advance(5.0)
    it.tick()
    come_up(it)
    it.advance(5.1)
    assert it.workers[1].is_asked_to_stop


def test_an_old_worker_that_is_at_work_is_let_finish() -> None:
    it = world(1, recycling=Recycling(age_s=10.0))
    record = submitted(it)
    it.advance(11.0)
    assert not it.workers[1].is_leaving
    it.work(it.workers[1])
    assert isinstance(record.outcome, Frame)
    assert it.workers[1].is_asked_to_stop


def test_an_old_worker_stays_for_a_strict_session() -> None:
    it = world(1, recycling=Recycling(operations=1))
    it.work(holder(it, submitted(it, key="ann")))
    assert not it.workers[1].is_leaving
    submitted(it, key="ann", closes=True)
    it.work(it.workers[1])
    it.work(it.workers[1])
    assert it.workers[1].is_asked_to_stop


def test_an_old_worker_takes_no_new_sessions_while_there_is_another() -> None:
    it = world(2, recycling=Recycling(operations=1))
    home = holder(it, submitted(it, key="ann"))
    it.work(home)
    for key in ("bob", "eve", "joe"):
        record = submitted(it, key=key)
        assert record.place != home.number


def test_where_there_are_only_old_workers_they_take_new_sessions() -> None:
    it = world(1, recycling=Recycling(operations=1))
    it.work(holder(it, submitted(it, key="ann")))
    assert submitted(it, key="bob").place == 1


def test_an_old_worker_does_not_stay_for_a_session_that_may_restart() -> None:
    it = world(1, recycling=Recycling(operations=1))
    it.work(holder(it, submitted(it, key="ann", affinity="restart")))
    assert it.workers[1].is_asked_to_stop
    come_up(it)
    assert submitted(it, key="ann", affinity="restart").place == 2


def test_a_worker_that_grew_too_large_goes_at_its_next_pause_and_its_sessions_with_it() -> None:
    it = world(1, recycling=Recycling(memory_bytes=1 << 24))
    submitted(it, key="ann")
    it.workers[1].memory = 1 << 25
    it.look(it.workers[1])
    assert not it.workers[1].is_leaving
    it.work(it.workers[1])
    assert it.workers[1].is_asked_to_stop
    lost = submitted(it, key="ann").outcome
    assert isinstance(lost, SessionLost)
    assert "it had grown to 32 MiB" in lost.reason


# --- standing still ---------------------------------------------------------------------------------------------------


def test_a_stopped_worker_is_killed_after_a_while() -> None:
    it = world(1)
    it.stop(it.workers[1])
    it.advance(0.6, looks=True)
    assert it.core.snapshot().stalled == 1
    it.advance(1.0, looks=True)
    assert it.workers[1].is_killed


def test_a_stopped_worker_is_given_nothing() -> None:
    it = world(1)
    it.stop(it.workers[1])
    it.advance(0.6, looks=True)
    assert submitted(it).place == "waiting"


def test_a_worker_that_goes_on_is_given_what_waits() -> None:
    it = world(1)
    it.stop(it.workers[1])
    it.advance(0.6, looks=True)
    record = submitted(it)
    it.go_on(it.workers[1])
    it.look(it.workers[1])
    assert record.place == 1


def test_a_worker_that_answers_goes_on() -> None:
    it = world(1)
    record = submitted(it)
    it.finish(began(it, record))
    it.stop(it.workers[1])
    it.advance(0.6, looks=True)
    it.deliver(it.workers[1])
    assert it.core.snapshot().ready == 1


def test_a_worker_that_does_not_take_up_what_it_was_sent_is_killed_and_that_goes_elsewhere() -> None:
    it = world(1)
    record = submitted(it)
    it.advance(1.3, looks=True)
    assert it.workers[1].is_killed
    it.settle()
    assert record.executed == 1


def test_a_worker_at_an_operation_may_take_as_long_as_that_does() -> None:
    it = world(1)
    began(it, submitted(it))
    it.advance(100.0, looks=True)
    assert not it.workers[1].is_killed


def test_an_idle_worker_may_idle() -> None:
    it = world(1)
    it.advance(100.0, looks=True)
    assert it.core.snapshot().ready == 1


def test_a_worker_whose_answer_does_not_arrive_is_killed() -> None:
    it = world(1)
    record = submitted(it)
    it.core.observed(0.1, 1, is_stopped=False, memory=0, progress=(1, 1), is_silent=True)
    told = [
        it.core.observed(at, 1, is_stopped=False, memory=0, progress=(1, 1), is_silent=True) for at in (0.5, 0.9, 1.2)
    ]
    assert (told[-1], record.task.sequence) == ([Kill(1)], 1)


def test_a_worker_with_answers_still_to_be_read_is_not_killed() -> None:
    it = world(1)
    it.finish(began(it, submitted(it)))
    it.advance(10.0, looks=True)
    assert not it.workers[1].is_killed


def test_a_pause_of_the_observer_condemns_no_worker_that_had_no_chance() -> None:
    it = world(1)
    it.look(it.workers[1])
    it.pause(0.1)
    submitted(it)
    it.pause(30.0)
    it.look(it.workers[1])
    assert not it.workers[1].is_killed


def test_a_pause_of_the_observer_condemns_no_stopped_worker() -> None:
    it = world(1)
    it.stop(it.workers[1])
    it.look(it.workers[1])
    it.pause(30.0)
    it.look(it.workers[1])
    assert not it.workers[1].is_killed


# --- deadlines --------------------------------------------------------------------------------------------------------


def test_what_waits_beyond_its_deadline_fails_and_never_runs() -> None:
    it = world(1)
    submitted(it)
    late = submitted(it, deadline_s=1.0)
    it.advance(0.9)
    assert late.place == "waiting"
    it.advance(0.1)
    assert isinstance(late.outcome, DeadlineExceeded)
    assert (late.outcome.started, late.outcome.pid, late.outcome.deadline_s) == (False, None, 1.0)


def test_what_runs_beyond_its_deadline_is_ended_with_its_worker() -> None:
    it = world(1)
    late = submitted(it, deadline_s=1.0)
    worker = began(it, late)
    it.advance(1.0)
    assert worker.is_killed
    it.die(worker)
    assert isinstance(late.outcome, DeadlineExceeded)
    assert (late.outcome.started, late.outcome.pid) == (True, 1001)


def test_an_answer_that_comes_before_the_worker_is_dead_counts() -> None:
    it = world(1)
    late = submitted(it, deadline_s=1.0)
    worker = began(it, late)
    it.finish(worker)
    it.advance(1.0)
    it.die(worker)
    assert isinstance(late.outcome, Frame)


def test_a_deadline_outlives_the_worker_that_was_doomed_for_something_else() -> None:
    it = world(2)
    late = submitted(it, deadline_s=1.0, idempotent=True)
    worker = began(it, late)
    it.doom(worker)
    it.advance(1.5)
    it.die(worker)
    assert isinstance(late.outcome, DeadlineExceeded)


def test_nothing_is_begun_after_its_deadline_where_the_tick_is_late() -> None:
    it = world(1)
    submitted(it)
    late = submitted(it, deadline_s=1.0)
    it.pause(1.5)
    it.work(it.workers[1])
    assert isinstance(late.outcome, DeadlineExceeded)
    assert not it.workers[1].is_killed


def test_what_was_tried_once_and_waits_again_is_said_to_have_started() -> None:
    it = world(1)
    late = submitted(it, deadline_s=1.0, idempotent=True)
    it.die(began(it, late))
    it.advance(1.0)
    assert isinstance(late.outcome, DeadlineExceeded)
    assert late.outcome.started


# --- sessions that end ------------------------------------------------------------------------------------------------


def test_a_strict_session_is_lost_with_its_worker() -> None:
    it = world(2)
    it.die(began(it, submitted(it, key="ann")))
    lost = submitted(it, key="ann").outcome
    assert type(lost) is SessionLost
    assert (lost.key, lost.pid, lost.epoch) == ("ann", 1001 if "1001" in lost.reason else 1002, 1)


def test_what_waits_for_a_lost_session_fails() -> None:
    it = world(1)
    first, second = submitted(it, key="ann"), submitted(it, key="ann")
    it.die(began(it, first))
    assert isinstance(first.outcome, WorkerDied)
    assert isinstance(second.outcome, SessionLost)


def test_what_a_lost_session_had_not_begun_fails_as_lost() -> None:
    it = world(1)
    record = submitted(it, key="ann", idempotent=True)
    it.die(holder(it, record))
    assert isinstance(record.outcome, SessionLost)


def test_a_lost_session_that_is_closed_may_begin_anew() -> None:
    it = world(1)
    it.die(began(it, submitted(it, key="ann")))
    assert submitted(it, key="ann", closes=True).place == "done"
    come_up(it)
    assert submitted(it, key="ann").task.opens


def test_a_lost_session_may_go_on_where_that_is_asked_for() -> None:
    it = world(1)
    it.die(began(it, submitted(it, key="ann")))
    come_up(it)
    assert submitted(it, key="ann", affinity="restart").place == 2


def test_a_restarted_session_goes_on_in_another_worker_with_another_epoch() -> None:
    it = world(2)
    first, second = (submitted(it, key="ann", affinity="restart") for _ in range(2))
    it.die(began(it, first))
    assert isinstance(first.outcome, WorkerDied)
    assert second.place in it.workers
    assert (second.task.opens, second.task.epoch) == (True, 2)


def test_a_session_expires_when_it_was_unused_for_long() -> None:
    it = world(1, sessions=Sessions(ttl_s=5.0))
    it.work(holder(it, submitted(it, key="ann")))
    it.advance(4.9)
    assert it.core.snapshot().sessions == 1
    it.advance(0.1)
    assert effects(it, Forget) == [Forget(1, 1)]
    assert type(submitted(it, key="ann").outcome) is SessionExpired


def test_a_session_in_use_does_not_expire() -> None:
    it = world(1, sessions=Sessions(ttl_s=5.0))
    worker = began(it, submitted(it, key="ann"))
    it.advance(60.0)
    it.finish(worker)
    it.deliver(worker)
    assert submitted(it, key="ann").place == 1


def test_every_use_of_a_session_lengthens_its_life() -> None:
    it = world(1, sessions=Sessions(ttl_s=5.0))
    for _ in range(4):
        it.work(holder(it, submitted(it, key="ann")))
        it.advance(4.0)
    assert it.core.snapshot().sessions == 1


def test_a_session_that_never_was_is_unknown_to_who_would_not_open_it() -> None:
    it = world(1)
    assert type(submitted(it, key="ann", existing=True).outcome) is SessionUnknown
    assert it.core.snapshot().sessions == 0


@pytest.mark.parametrize("affinity", ["strict", "restart", "hint"])
def test_who_would_not_open_a_lost_session_is_told_that_it_was_lost(affinity: Any) -> None:
    it = world(1)
    it.die(began(it, submitted(it, key="ann")))
    assert type(submitted(it, key="ann", existing=True, affinity=affinity).outcome) is SessionLost


def test_a_session_closes_behind_its_operations() -> None:
    it = world(1)
    first = submitted(it, key="ann")
    second = submitted(it, key="ann")
    close = submitted(it, key="ann", closes=True)
    it.settle()
    assert [record.answers[0].kind for record in (first, second, close)] == [Kind.RESULT, Kind.RESULT, Kind.FORGOTTEN]
    assert first.answers[0].sequence < second.answers[0].sequence < close.answers[0].sequence


def test_a_key_may_begin_anew_while_its_last_session_closes() -> None:
    it = world(2)
    began(it, submitted(it, key="ann"))
    submitted(it, key="ann", closes=True)
    anew = submitted(it, key="ann")
    assert (anew.place, anew.task.opens) == (2 if it.records[0].place == 1 else 1, True)


def test_closing_a_session_that_is_none_is_done_at_once() -> None:
    it = world(1)
    assert submitted(it, key="ann", closes=True).place == "done"


def test_a_session_whose_worker_dies_while_it_closes_is_closed() -> None:
    it = world(1)
    began(it, submitted(it, key="ann"))
    close = submitted(it, key="ann", closes=True)
    it.die(it.workers[1])
    assert (close.place, close.outcome) == ("done", None)


def test_closing_does_not_change_what_a_session_is_owed() -> None:
    it = world(1)
    began(it, submitted(it, key="ann", affinity="restart"))
    waits = submitted(it, key="ann", affinity="restart")
    submitted(it, key="ann", closes=True)
    it.die(it.workers[1])
    it.settle()
    assert waits.executed == 1


# --- epochs that a worker does not hold -------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [False, True])
def test_refused_operations_run_again_in_their_order(together: bool) -> None:
    it = world(1)
    taught(it)
    it.work(holder(it, submitted(it, key="ann", affinity="restart", cost="quick")))
    worker = began(it, submitted(it, cost="quick"))
    records = [submitted(it, key="ann", affinity="restart", cost="quick") for _ in range(4)]
    it.finish(worker)
    it.deliver(worker)
    assert len(worker.held) == 4
    it.forget_all(worker)
    while it.begin(worker):
        if not together:
            it.deliver(worker)
    it.deliver(worker)
    it.settle()
    assert [record.executed for record in records] == [1, 1, 1, 1]
    assert [record.answers[-1].sequence for record in records] == sorted(
        record.answers[-1].sequence for record in records
    )


def test_a_strict_session_that_its_worker_does_not_hold_is_lost() -> None:
    it = world(1)
    it.work(holder(it, submitted(it, key="ann")))
    it.forget_all(it.workers[1])
    it.work(holder(it, submitted(it, key="ann")))
    assert isinstance(it.records[1].outcome, SessionLost)
    assert isinstance(submitted(it, key="ann").outcome, SessionLost)


# --- recalling --------------------------------------------------------------------------------------------------------


def dawdling(**terms: Any) -> tuple[World, list[Record]]:
    """A worker that was sent four operations at once, and has been at the first of them for too long."""
    it = world(1, most=2, timing=Timing(grow_s=9.0))
    taught(it)
    worker = began(it, submitted(it, cost="quick"))
    records = [submitted(it, cost="quick"), *(submitted(it, cost="quick", **terms) for _ in range(3))]
    it.finish(worker)
    it.deliver(worker)
    assert worker.held == records
    it.begin(worker)
    it.pause(0.021)
    it.tick()
    assert effects(it, Recall) == [Recall(1, records[1].task.sequence, records[3].task.sequence)]
    return it, records


TERMS = pytest.mark.parametrize(
    "terms", [{}, *({"key": "ann", "affinity": it} for it in ("strict", "restart", "hint"))]
)


@TERMS
def test_what_was_recalled_in_time_waits_again_in_its_order(terms: dict[str, Any]) -> None:
    it, records = dawdling(**terms)
    it.see_recall(it.workers[1])
    assert [record.place for record in records] == [1, "waiting", "waiting", "waiting"]
    it.settle()
    assert [record.executed for record in records] == [1, 1, 1, 1]
    assert not [record for record in records if isinstance(record.outcome, SessionLost)]


@TERMS
@pytest.mark.parametrize("together", [False, True])
def test_what_a_worker_returns_runs_in_its_order(terms: dict[str, Any], together: bool) -> None:
    it, records = dawdling(**terms)
    worker = it.workers[1]
    it.finish(worker)
    for _ in range(3):
        if not together:
            it.deliver(worker)
        it.begin(worker)
    it.deliver(worker)
    it.see_recall(worker)
    it.settle()
    assert [record.executed for record in records] == [1, 1, 1, 1]
    sequences = [record.task.sequence for record in records]
    assert sequences == sorted(sequences)


@pytest.mark.parametrize("affinity", ["strict", "restart", "hint"])
@pytest.mark.parametrize("sees", [False, True])
def test_what_comes_behind_what_was_recalled_runs_behind_it(affinity: Any, sees: bool) -> None:
    it, records = dawdling(key="ann", affinity=affinity)
    worker = it.workers[1]
    records.append(submitted(it, key="ann", affinity=affinity, cost="quick"))
    it.finish(worker)
    if sees:
        it.begin(worker)  # and returns it, though its progress looks as if it had begun
        it.see_recall(worker)
    it.deliver(worker, 1)
    assert records[-1].place == "waiting"
    it.settle()
    assert [record.executed for record in records] == [1, 1, 1, 1, 1]
    answers = [record.answers[-1].sequence for record in records]
    assert answers == sorted(answers)


def test_what_was_recalled_goes_to_who_is_idle() -> None:
    it, records = dawdling()
    it.advance(10.0)
    come_up(it)
    assert records[1].place == 2


def test_what_a_worker_is_at_is_not_recalled() -> None:
    it = world(1)
    began(it, submitted(it))
    it.advance(10.0)
    assert not [told for told in it.told if "Recall" in str(told)]


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_closed_pool_takes_nothing_and_finishes_what_it_took() -> None:
    it = world(1)
    records = [submitted(it) for _ in range(3)]
    it.shutdown()
    with pytest.raises(PoolClosed):
        it.core.submit(0.0, Task("more"))
    it.settle()
    assert [record.executed for record in records] == [1, 1, 1]
    assert it.core.is_over


def test_closing_with_cancelling_drops_what_waits() -> None:
    it = world(1)
    running, waiting = submitted(it), submitted(it)
    it.shutdown(cancel=True)
    assert [effect.task for effect in effects(it, Drop)] == [waiting.task]
    it.settle()
    assert running.executed == 1


def test_closing_at_once_fails_what_runs_and_kills() -> None:
    it = world(1)
    running, waiting = submitted(it), submitted(it)
    it.shutdown(immediate=True)
    assert isinstance(running.outcome, PoolClosed)
    assert (waiting.outcome, effects(it, Kill)) == ("dropped", [Kill(1)])


def test_a_closing_pool_replaces_a_worker_for_what_is_left() -> None:
    it = world(1)
    record = submitted(it)
    it.shutdown()
    it.die(holder(it, record))
    it.settle()
    assert record.executed == 1


def test_a_closed_pool_is_over_when_its_workers_are_gone() -> None:
    it = world(2)
    it.shutdown()
    assert not it.core.is_over
    it.settle()
    assert it.core.is_over


def test_a_driver_that_gives_up_leaves_nobody_waiting() -> None:
    it = world(1)
    records = [submitted(it), submitted(it), submitted(it, key="ann")]
    it.give_up()
    assert all(isinstance(record.outcome, PoolBroken) for record in records)
    it.settle()
    assert it.core.is_over


def test_no_session_is_lost_by_a_pool_that_is_closed_in_peace() -> None:
    it = world(2, observed=True)
    for key in ("ann", "bob"):
        it.work(holder(it, submitted(it, key=key)))
    it.shutdown()
    it.settle()
    assert not [told for told in it.told if "lost" in str(told)]


def test_a_session_whose_worker_dies_while_the_pool_closes_is_lost() -> None:
    it = world(2, observed=True)
    worker = began(it, submitted(it, key="ann"))
    began(it, submitted(it))
    it.shutdown()
    it.die(worker)
    assert [effect.event.what for effect in effects(it, Publish) if effect.event.subject == "session"] == ["lost"]


# --- what can be seen -------------------------------------------------------------------------------------------------


def test_a_worker_that_was_killed_is_seen_as_stopping() -> None:
    it = world(1)
    submitted(it)
    it.doom(it.workers[1])
    assert [worker.state for worker in it.core.workers()] == ["stopping"]


def test_events_are_made_only_where_they_are_wanted() -> None:
    it = world(1)
    submitted(it)
    it.settle()
    assert not [told for told in it.told if "Publish" in str(told)]


def test_the_life_of_an_operation_is_published_in_order() -> None:
    it = world(1, observed=True)
    submitted(it)
    seen: list[str] = []
    second = it.submit()
    assert second is not None
    seen += [effect.event.what for effect in effects(it, Publish)]
    it.begin(it.workers[1])
    it.finish(it.workers[1])
    it.deliver(it.workers[1])
    seen += [
        effect.event.what
        for effect in effects(it, Publish)
        if effect.event.subject == "operation" and effect.event.operation == second.task.number
    ]
    assert seen == ["queued", "sent"]


def test_whoever_answers_resolves_before_more_is_sent() -> None:
    it = world(1)
    submitted(it)
    submitted(it)
    it.begin(it.workers[1])
    it.finish(it.workers[1])
    it.deliver(it.workers[1])
    assert [type(effect) for effect in it.effects] == [Resolve, Send]


def test_no_time_is_due_where_nothing_can_happen() -> None:
    it = world(1)
    it.advance(120.0)
    assert it.core.due == float("inf")


def test_ticks_at_the_time_that_is_due_come_to_an_end() -> None:
    settings = Settings(min_workers=1, max_workers=1, timing=Timing(start_s=0.1))
    core = Core(settings, random.Random(0))
    core.open(0.7)
    due = core.due
    assert Kill(1) in core.tick(due)
    assert core.due > due


def crowded(it: World, cost: str, count: int, **terms: Any) -> tuple[Worker, list[Record]]:
    """A worker that was sent several operations at once, and has begun none of them."""
    worker = began(it, submitted(it, cost=cost))
    records = [submitted(it, cost=cost, **terms) for _ in range(count)]
    it.finish(worker)
    it.deliver(worker)
    return worker, records


# --- work in advance --------------------------------------------------------------------------------------------------


def test_a_worker_that_answers_in_time_is_not_recalled_from() -> None:
    it = world(1)
    taught(it)
    worker, records = crowded(it, "quick", 3)
    it.begin(worker)
    it.pause(0.015)
    it.finish(worker)
    it.deliver(worker)
    it.begin(worker)
    it.pause(0.01)
    it.tick()
    assert ([record.place for record in records], effects(it, Recall)) == (["done", 1, 1], [])


def test_a_worker_is_sent_more_before_it_has_answered_all() -> None:
    it = world(1)
    taught(it, took_ns=240_000, cost="quarter")
    worker, _ = crowded(it, "quarter", 9)
    before = len(worker.held)
    for _ in range(2):
        it.begin(worker)
        it.finish(worker, 240_000)
        it.deliver(worker)
    assert (before, len(worker.held)) == (4, 4)


# --- recalling --------------------------------------------------------------------------------------------------------


def test_what_was_recalled_goes_at_once_to_who_idles_by_then() -> None:
    it = world(2)
    taught(it)
    other = began(it, submitted(it, cost="long"))
    worker, records = crowded(it, "quick", 2)
    it.work(other)
    it.begin(worker)
    it.pause(0.021)
    it.tick()
    it.see_recall(worker)
    assert [record.place for record in records] == [worker.number, other.number]


def test_what_was_recalled_was_not_tried() -> None:
    it, records = dawdling()
    worker = it.workers[1]
    it.see_recall(worker)
    it.finish(worker)
    it.deliver(worker)
    while worker.at is None:  # it passes what was recalled
        assert it.begin(worker)
    it.die(worker)
    assert isinstance(records[1].outcome, WorkerDied)
    assert records[1].outcome.attempts == 1


def test_a_worker_that_has_returned_what_it_held_is_sent_more() -> None:
    it = world(1)
    taught(it, took_ns=240_000, cost="quarter")
    worker, records = crowded(it, "quarter", 4)
    it.begin(worker)
    it.pause(0.021)
    it.tick()
    it.finish(worker, 240_000)
    while it.begin(worker):
        pass
    it.deliver(worker)
    assert [record.place for record in records] == ["done", 1, 1, 1]


@TERMS
def test_a_worker_from_which_all_was_recalled_takes_what_waits(terms: dict[str, Any]) -> None:
    it, records = dawdling(**terms)
    worker = it.workers[1]
    it.finish(worker)
    it.deliver(worker)
    it.see_recall(worker)
    assert [record.place for record in records] == ["done", 1, 1, 1]
    it.settle()
    assert [record.executed for record in records] == [1, 1, 1, 1]


def test_what_a_worker_returns_goes_to_who_is_idle() -> None:
    it = world(2)
    taught(it)
    other = began(it, submitted(it, cost="long"))
    worker, records = crowded(it, "quick", 4)
    assert worker.held == records[:3]
    it.begin(worker)
    it.pause(0.021)
    it.tick()
    while it.work(other):
        pass
    it.finish(worker)
    while it.begin(worker):
        pass
    it.deliver(worker)
    assert [record.place for record in records] == ["done", worker.number, other.number, "done"]


# --- growing ----------------------------------------------------------------------------------------------------------


def test_a_pool_does_not_grow_for_those_that_were_cancelled_behind_another() -> None:
    it = world(1, most=4)
    submitted(it)
    waiting = [submitted(it) for _ in range(3)]
    for record in waiting[1:]:
        it.withdraw(record)
    it.advance(0.06)
    assert len(it.workers) == 2


def test_a_pool_that_was_as_large_as_may_be_grows_again_where_it_lost_a_worker() -> None:
    it = world(2, most=3)
    grown = [submitted(it) for _ in range(3)]
    it.advance(0.1)
    come_up(it)
    late = submitted(it)
    it.advance(0.1)  # there is no room
    it.die(began(it, grown[0]))
    assert late.place == "waiting"
    it.advance(0.1)
    assert len(it.workers) == 3


def test_a_pool_does_not_grow_again_while_those_that_it_started_come_up() -> None:
    it = world(1, most=4)
    submitted(it)
    submitted(it)
    it.advance(1.0)
    assert len(it.workers) == 2


# --- recycling --------------------------------------------------------------------------------------------------------


def test_an_old_worker_leaves_when_its_last_strict_session_expires() -> None:
    it = world(1, recycling=Recycling(operations=1), sessions=Sessions(ttl_s=5.0))
    it.work(holder(it, submitted(it, key="ann")))
    it.advance(4.9)
    assert not it.workers[1].is_leaving
    it.advance(2.0)
    assert it.workers[1].is_asked_to_stop


def test_an_old_worker_takes_new_sessions_while_the_only_fresh_one_is_about_to_leave() -> None:
    it = world(1, most=2, recycling=Recycling(operations=2, memory_bytes=1 << 24))
    records = [submitted(it, key="ann"), submitted(it)]
    it.advance(0.1)
    come_up(it)
    old, fresh = holder(it, records[0]), holder(it, records[1])
    it.work(old)
    it.work(holder(it, submitted(it, key="ann")))
    it.begin(fresh)
    fresh.memory = 1 << 25
    it.look(fresh)
    assert submitted(it, key="bob").place == old.number


def test_a_worker_that_is_large_before_it_is_ready_is_let_come_up() -> None:
    it = world(1, up=False, recycling=Recycling(memory_bytes=1 << 24))
    it.fork(it.workers[1])
    it.workers[1].memory = 1 << 25
    it.look(it.workers[1])
    assert not it.workers[1].is_leaving


# --- starts that fail -------------------------------------------------------------------------------------------------


def test_starts_may_fail_as_often_as_they_like_while_a_worker_is_left() -> None:
    it = world(2, up=False, restarts=Restarts(max_backoff_s=0.1))
    it.fork(it.workers[1])
    it.ready(it.workers[1])
    for _ in range(1100):
        it.fail_to_start(next(worker for worker in it.workers.values() if worker.phase == "wanted"))
        it.advance(0.2)
    assert submitted(it).place == 1


# --- standing still ---------------------------------------------------------------------------------------------------


def test_a_worker_that_has_answered_and_is_stopped_again_is_given_its_time_again() -> None:
    it = world(1)
    worker = began(it, submitted(it))
    it.stop(worker)
    it.advance(0.8, looks=True)
    it.go_on(worker)
    it.finish(worker)
    it.deliver(worker)
    it.stop(worker)
    it.advance(0.5, looks=True)
    assert not worker.is_killed


@pytest.mark.parametrize("arrives", [True, False])
def test_a_worker_that_answers_between_two_looks_and_is_stopped_again_is_given_its_time_again(arrives: bool) -> None:
    it = world(1)
    worker = began(it, submitted(it))
    it.stop(worker)
    it.look(worker)
    it.pause(0.2)
    it.go_on(worker)
    it.finish(worker)
    if arrives:
        it.deliver(worker)
    it.stop(worker)
    for _ in range(2):
        it.pause(0.45)
        it.look(worker)
    assert not worker.is_killed


def test_a_worker_has_its_time_from_when_it_was_sent_something_and_not_from_the_last_look() -> None:
    it = world(1)
    it.look(it.workers[1])
    it.pause(0.9)
    submitted(it)
    it.pause(0.1)
    it.look(it.workers[1])
    assert not it.workers[1].is_killed


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_whose_operation_waits_for_its_worker_does_not_expire() -> None:
    it = world(1, sessions=Sessions(ttl_s=5.0))
    it.work(holder(it, submitted(it, key="ann")))
    began(it, submitted(it))
    waits = submitted(it, key="ann")
    it.advance(60.0)
    assert waits.place == "waiting"


def test_the_sessions_that_were_lost_first_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessionpool.core, "_GRAVES", 2)
    it = world(1)
    for key in ("ann", "bob", "eve"):
        it.die(began(it, submitted(it, key=key)))
        come_up(it)
    assert [type(submitted(it, key=key).outcome) for key in ("bob", "eve")] == [SessionLost, SessionLost]


def test_a_hinted_session_does_not_move_while_its_worker_holds_an_operation_of_it() -> None:
    it = world(2)
    began(it, submitted(it, key="ann", affinity="hint"))
    other = began(it, submitted(it))
    waits = submitted(it, key="ann", affinity="hint")
    it.finish(other)
    it.deliver(other)
    assert waits.place == "waiting"


def test_who_would_wait_for_its_sessions_worker_is_refused_though_another_is_idle() -> None:
    it = world(2, max_queue=0)
    submitted(it, key="ann")
    assert it.submit(key="ann") is None


def test_who_would_wait_for_its_sessions_worker_is_refused_though_its_session_would_have_moved_before() -> None:
    it = world(2, max_queue=0)
    worker = holder(it, submitted(it, key="ann", affinity="hint"))
    it.work(worker)
    assert began(it, submitted(it)) is worker
    assert it.submit(key="ann", affinity="strict") is None


# --- epochs that a worker does not hold -------------------------------------------------------------------------------


def refusing(count: int) -> tuple[World, Worker, list[Record]]:
    """A worker that refuses several operations of a session, while another one idles; none of its answers is read."""
    it = world(2)
    taught(it)
    worker = holder(it, submitted(it, key="ann", affinity="restart", cost="quick"))
    it.work(worker)
    other = next(one for one in it.workers.values() if one is not worker)
    for terms in ({"key": "bob"}, {}):
        began(it, submitted(it, cost="quick", **terms))
    records = [submitted(it, key="ann", affinity="restart", cost="quick") for _ in range(count)]
    it.finish(worker)
    it.deliver(worker)
    assert worker.held == records
    it.forget_all(worker)
    while it.begin(worker):
        pass
    it.finish(other)
    it.deliver(other)
    return it, worker, records


def test_what_comes_while_a_session_is_being_refused_waits_behind_what_is_still_out() -> None:
    it, worker, records = refusing(2)
    it.deliver(worker, 1)
    late = submitted(it, key="ann", affinity="restart", cost="quick")
    assert [record.place for record in (*records, late)] == ["waiting", worker.number, "waiting"]


@pytest.mark.parametrize("how", ["at-once", "gives-up"])
def test_what_was_refused_is_resolved_by_the_end_of_the_pool_while_more_is_still_out(how: str) -> None:
    it, worker, records = refusing(2)
    it.deliver(worker, 1)
    if how == "at-once":
        it.shutdown(immediate=True)
    else:
        it.give_up()
    assert [record.place for record in records] == ["done", "done"]


def test_what_is_refused_by_the_worker_that_its_deadline_has_ended_is_not_run_again() -> None:
    it = world(2)
    worker = holder(it, submitted(it, key="ann", affinity="restart"))
    it.work(worker)
    it.forget_all(worker)
    record = submitted(it, key="ann", affinity="restart", deadline_s=0.3)
    it.begin(worker)
    it.advance(0.3)
    it.deliver(worker)
    assert isinstance(record.outcome, DeadlineExceeded)


def test_what_was_refused_is_not_sent_in_advance_to_another_worker_while_its_own_is_about_to_idle() -> None:
    it, worker, records = refusing(2)
    it.deliver(worker)
    assert [record.place for record in records] == [worker.number, "waiting"]


# --- tables that are corrupted ----------------------------------------------------------------------------------------


def ghost_of(it: World, key: str) -> None:
    """Have a session's entry name a worker that there is not."""
    session = it.core._sessions[key]
    session.worker = type(it.core._workers[1])(99, it.now)


@pytest.mark.parametrize("affinity", ["restart", "hint"])
def test_a_session_whose_entry_names_no_worker_goes_on_with_a_fresh_state(affinity: Affinity) -> None:
    it = world(1, sessions=Sessions(affinity=affinity))
    it.work(holder(it, submitted(it, key="s")))
    ghost_of(it, "s")
    record = it.submit(key="s")
    assert record is not None
    assert (record.task.opens, record.task.epoch) == (True, 2)


def test_a_strict_session_whose_entry_names_no_worker_is_lost() -> None:
    it = world(1, sessions=Sessions(affinity="strict"))
    it.work(holder(it, submitted(it, key="s")))
    ghost_of(it, "s")
    record = submitted(it, key="s")
    assert isinstance(record.outcome, SessionLost)
    assert "not there any more" in str(record.outcome)


def test_the_end_of_a_session_whose_entry_names_no_worker_is_its_end() -> None:
    it = world(1, sessions=Sessions(affinity="strict"))
    it.work(holder(it, submitted(it, key="s")))
    ghost_of(it, "s")
    record = submitted(it, key="s", closes=True)
    assert (record.place, record.outcome) == ("done", None)
    assert it.core.snapshot().sessions == 0


def test_what_waits_at_a_worker_without_standing_in_its_table_waits_for_another_after_its_death() -> None:
    it = world(2, sessions=Sessions(affinity="restart"))
    for key in ("a", "b"):
        it.work(holder(it, submitted(it, key=key)))
    one, other = it.core._sessions["a"], it.core._sessions["b"]
    one.worker, other.worker = other.worker, one.worker
    for _ in range(2):
        began(it, submitted(it))
    guest = submitted(it, key="a")
    assert one.worker is not None
    it.die(it.workers[one.worker.number])
    assert guest.task in it.core._queue


def test_a_death_takes_no_session_along_that_lives_elsewhere_by_now() -> None:
    it = world(2, sessions=Sessions(affinity="strict"))
    for key in ("a", "b"):
        it.work(holder(it, submitted(it, key=key)))
    one, other = it.core._sessions["a"], it.core._sessions["b"]
    home = one.worker
    assert home is not None
    one.worker, other.worker = other.worker, home
    it.die(it.workers[home.number])
    assert "a" in it.core._sessions


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize(("affinity", "executed"), [("strict", [0, 1, 0]), ("restart", [1, 1, 1]), ("hint", [1, 1, 1])])
def test_what_comes_back_of_a_session_that_was_refused_meanwhile_is_resolved(
    affinity: Any, executed: list[int], seen: bool
) -> None:
    it = world(1)
    taught(it)
    it.work(holder(it, submitted(it, key="ann", affinity=affinity, cost="quick")))
    worker = began(it, submitted(it, cost="quick"))
    records = [submitted(it, key=key, affinity=affinity if key else None, cost="quick") for key in ("ann", None, "ann")]
    it.finish(worker)
    it.deliver(worker)
    assert worker.held == records
    it.forget_all(worker)
    it.begin(worker)
    it.deliver(worker)
    it.begin(worker)
    it.pause(0.021)
    it.tick()
    if seen:
        it.see_recall(worker)
    it.settle()
    assert [record.executed for record in records] == executed


def test_what_waits_behind_an_operation_that_was_refused_too_late_goes_elsewhere() -> None:
    it = world(2)
    worker = holder(it, submitted(it, key="ann", affinity="restart"))
    it.work(worker)
    it.forget_all(worker)
    submitted(it, key="ann", affinity="restart", deadline_s=0.3)
    it.begin(worker)
    behind = submitted(it, key="ann", affinity="restart")
    it.advance(0.3)
    it.deliver(worker)
    it.settle()
    assert behind.executed == 1


def test_a_session_is_closed_behind_what_was_refused_and_runs_again() -> None:
    it = world(1)
    taught(it)
    it.work(holder(it, submitted(it)))
    it.work(holder(it, submitted(it, key="ann", affinity="restart", cost="quick")))
    worker = began(it, submitted(it, cost="quick"))
    records = [submitted(it, key="ann", affinity="restart", cost="quick"), submitted(it, key="ann", closes=True)]
    it.finish(worker)
    it.deliver(worker)
    assert worker.held == records
    it.forget_all(worker)
    while it.begin(worker):
        pass
    it.deliver(worker)
    it.settle()
    assert [record.executed for record in records] == [1, 0]
    assert worker.epochs == set()
