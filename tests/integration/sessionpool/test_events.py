"""What a pool publishes: every transition, in order, to whoever subscribed."""

import threading
from collections import defaultdict
from collections.abc import Iterator

import pytest

from sessionpool import Event, Restarts, SessionPool, Sessions, Timing, WorkerDied
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Disturbance, Hold, Open
from tests.integration.sessionpool.witnesses import LONG_S, Meeting, failure, kill, outcome, stop


class Log:
    """What was published, and a way to wait for more of it."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def all(self) -> list[Event]:
        with self._changed:
            return list(self._events)

    def of(self, subject: str) -> list[str]:
        return [event.what for event in self.all() if event.subject == subject]

    def wait_for(self, subject: str, what: str, count: int = 1) -> list[Event]:
        """The events of this kind, once there are so many."""
        with self._changed:
            found: list[Event] = []

            def enough() -> bool:
                found[:] = [event for event in self._events if (event.subject, event.what) == (subject, what)]
                return len(found) >= count

            assert self._changed.wait_for(enough, LONG_S), f"no {subject} {what}: {self._events}"
            return found


@pytest.fixture
def log(pool: SessionPool) -> Iterator[Log]:
    it = Log()
    unsubscribe = pool.subscribe(it)
    yield it
    unsubscribe()


def test_an_operation_is_queued_sent_and_resolved(one_worker: SessionPool, hold: Hold) -> None:
    log = Log()
    one_worker.subscribe(log)
    [(_, guest)] = hold(one_worker)
    queued = one_worker.submit(deeds.echo, 1)
    guest.release()
    queued.result(LONG_S)
    log.wait_for("operation", "resolved", 2)

    of_second = [event.what for event in log.all() if event.subject == "operation" and event.operation == 2]

    assert of_second == ["queued", "sent", "resolved"]


def test_the_death_of_a_worker_and_its_successor_are_told_in_order(pool: SessionPool, log: Log) -> None:
    victim = pool.workers()[0].pid

    kill(victim)

    (gone,) = log.wait_for("worker", "gone")
    (ready,) = log.wait_for("worker", "ready")
    starting = log.wait_for("worker", "starting")[0]
    assert gone.pid == victim
    assert "SIGKILL" in gone.detail
    assert starting.worker == ready.worker != gone.worker
    assert gone.at_s <= starting.at_s <= ready.at_s


def test_the_events_of_each_subject_follow_each_other_as_they_must(open_pool: Open, disturb: Disturbance) -> None:
    pool, log = open_pool(sessions=Sessions(affinity="restart")), Log()
    pool.subscribe(log)
    futures = [pool.session(number % 5).submit(deeds.count) for number in range(50)]
    disturb(pool)
    futures += [pool.submit(deeds.echo, number) for number in range(50)]
    kinds = {kind for future in futures if isinstance(kind := outcome(future), type)}
    pool.shutdown()

    order = {"queued": 0, "sent": 1, "again": 1, "resolved": 2, "withdrawn": 2}
    of_operations: dict[int, list[str]] = defaultdict(list)
    for event in log.all():
        if event.subject == "operation":
            of_operations[event.operation].append(event.what)
    assert kinds <= {WorkerDied}
    assert len(of_operations) == 100
    for each in of_operations.values():
        assert each[-1] == "resolved"
        assert each.count("resolved") == 1
        assert [order[what] for what in each] == sorted(order[what] for what in each)


def test_times_do_not_go_back(pool: SessionPool, log: Log) -> None:
    for number in range(50):
        pool.submit(deeds.echo, number)
    pool.shutdown()

    times = [event.at_s for event in log.all()]

    assert times == sorted(times)


def test_a_session_is_opened_and_closed(pool: SessionPool, log: Log) -> None:
    session = pool.session("s")
    session.submit(deeds.count).result(LONG_S)
    session.close().result(LONG_S)
    log.wait_for("session", "closed")

    told = [(event.what, event.key) for event in log.all() if event.subject == "session"]

    assert told == [("opened", "s"), ("closed", "s")]


def test_a_strict_session_is_told_to_be_lost(pool: SessionPool, log: Log) -> None:
    failure(pool.session("s").submit(deeds.session_exit, 3), WorkerDied)

    (lost,) = log.wait_for("session", "lost")

    assert lost.key == "s"


def test_a_session_is_told_to_have_expired(open_pool: Open) -> None:
    pool, log = open_pool(sessions=Sessions(ttl_s=0.1)), Log()
    pool.subscribe(log)
    pool.session("s").submit(deeds.count).result(LONG_S)

    (expired,) = log.wait_for("session", "expired")

    assert expired.key == "s"


def test_a_stopped_worker_at_an_operation_is_told_to_be_stalled_before_it_is_gone(open_pool: Open, hold: Hold) -> None:
    pool, log = open_pool(timing=Timing(stall_s=0.5)), Log()
    pool.subscribe(log)
    [(_, guest)] = hold(pool)

    stop(guest.pid)

    log.wait_for("worker", "gone")
    told = [event.what for event in log.all() if event.pid == guest.pid and event.subject == "worker"]
    assert told[-2:] == ["stalled", "gone"]


def test_an_operation_that_runs_again_says_so(open_pool: Open, meeting: Meeting, quick_restarts: Restarts) -> None:
    pool, log = open_pool(restarts=quick_restarts), Log()
    pool.subscribe(log)
    future = pool.options(idempotent=True).submit(deeds.meet, meeting.address)
    kill(meeting.guest().pid)
    meeting.guest().release()
    future.result(LONG_S)

    assert len(log.wait_for("operation", "again")) == 1


def test_a_cancelled_operation_is_withdrawn(one_worker: SessionPool, hold: Hold) -> None:
    log = Log()
    one_worker.subscribe(log)
    hold(one_worker)
    queued = one_worker.submit(deeds.echo, 1)

    queued.cancel()

    assert log.wait_for("operation", "withdrawn")[0].operation == 2


def test_growing_and_shrinking_are_told(open_pool: Open, hold: Hold) -> None:
    pool, log = open_pool(min_workers=1, max_workers=2, timing=Timing(grow_s=0.02, shrink_s=0.2)), Log()
    pool.subscribe(log)
    for _, guest in hold(pool, 2):
        guest.release()

    log.wait_for("pool", "shrinking")

    assert log.of("pool")[:2] == ["growing", "shrinking"]


def test_a_shutdown_is_told_and_every_worker_goes(pool: SessionPool, log: Log) -> None:
    pool.shutdown()

    assert log.of("pool") == ["closing"]
    assert log.of("worker").count("gone") == 2


def test_who_has_unsubscribed_hears_no_more(pool: SessionPool) -> None:
    log, other = Log(), Log()
    unsubscribe = pool.subscribe(log)
    pool.subscribe(other)
    pool.submit(deeds.echo, 1).result(LONG_S)
    other.wait_for("operation", "resolved")
    unsubscribe()
    before = len(log.all())

    pool.submit(deeds.echo, 2).result(LONG_S)
    other.wait_for("operation", "resolved", 2)

    assert len(log.all()) == before


def test_unsubscribing_twice_is_no_error(pool: SessionPool) -> None:
    unsubscribe = pool.subscribe(Log())

    unsubscribe()
    unsubscribe()


def test_a_subscriber_may_use_the_pool(pool: SessionPool) -> None:
    done = threading.Event()

    def answer(event: Event) -> None:
        if event.subject == "worker" and event.what == "gone":
            pool.snapshot()
            pool.submit(deeds.echo, repr(pool)).add_done_callback(lambda _: done.set())

    pool.subscribe(answer)

    kill(pool.workers()[0].pid)

    assert done.wait(LONG_S)


def test_a_subscriber_that_raises_harms_neither_the_pool_nor_the_others(
    pool: SessionPool, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(event: Event) -> None:
        deeds.refuse("a bug of the subscriber")

    log = Log()
    pool.subscribe(refuse)
    pool.subscribe(log)

    assert pool.submit(deeds.echo, 1).result(LONG_S) == 1

    log.wait_for("operation", "resolved")
    assert "a bug of the subscriber" in caplog.text


def test_every_subscriber_hears_the_same_in_the_same_order(pool: SessionPool) -> None:
    logs = [Log() for _ in range(3)]
    for log in logs:
        pool.subscribe(log)
    threads = [
        threading.Thread(target=lambda: [pool.submit(deeds.echo, 1) for _ in range(30)], daemon=True) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    pool.shutdown()

    assert logs[0].all() == logs[1].all() == logs[2].all()
    assert logs[0].of("operation").count("resolved") == 120
