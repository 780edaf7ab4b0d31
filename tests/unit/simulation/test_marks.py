from collections.abc import Callable
from typing import Any

import pytest

from poolproof.simulation import SOMETIMES, Marks
from poolproof.simulation.process import KILLED
from sessionpool.events import Event
from tests.unit.simulation.worlds import Room


def moved() -> Room:
    it = Room(2, affinity="hint")
    it.send("answer", 1, session=1)
    it.run(0.1)
    it.send("wait", 0.2, 1)
    it.run(0.01)
    it.send("answer", 1, session=1)
    return it


def lost() -> Room:
    it = Room(1, affinity="strict")
    it.send("wait", 0.5, 1, session=1)
    it.send("wait", 0.5, 1, session=1)
    it.run(0.01)
    it.processes[0].die(KILLED)
    return it


def killed(*, idempotent: bool = False, session: int = -1) -> Room:
    it = Room(1)
    it.send("wait", 0.2, 1, idempotent=idempotent, session=session)
    it.run(0.01)
    it.processes[0].die(KILLED)
    return it


def rehomed() -> Room:
    it = killed(session=1)
    it.run(0.1)
    it.send("answer", 1, session=1)
    return it


def expired() -> Room:
    it = Room(1, ttl_s=0.05)
    it.send("answer", 1, session=1)
    return it


def grown() -> Room:
    it = Room(2, min_workers=1, shrink_s=0.1)
    it.send("wait", 0.3, 1)
    it.send("wait", 0.3, 1)
    return it


def harmed(*, command: tuple[Any, ...] = ("answer", 1), first: bool = False, **spec: Any) -> Room:
    it = Room(1)
    if first:
        it.send(*command)
        it.run(0.01)
    it.inject(count=1, coincide="any", **spec)
    it.run(0.001)
    if not first:
        it.send(*command)
    return it


def starting(seconds: float, kind: str, **options: Any) -> Room:
    it = Room(1, up=False, **options)
    it.inject(kind=kind, target="pool", for_s=seconds)
    return it


def overdue() -> Room:
    it = Room(1)
    it.send("wait", 1.0, 1, deadline_s=0.1)
    return it


def unwilling() -> Room:
    it = Room(1, stop_s=0.05)
    it.processes[0].stop()
    it.world.tell(it.world.core.shutdown)
    return it


def forgetful() -> Room:
    it = Room(1)
    it.send("answer", 1, session=1)
    it.run(0.1)
    it.processes[0].states.clear()
    it.send("answer", 1, session=1)
    return it


def ahead() -> Room:
    it = Room(1)
    for _ in range(20):
        it.send("answer", 1)
        it.run(0.01)
    it.send("answer", 1)
    for number in range(4):
        it.send(*(("answer", 1) if number else ("wait", 0.5, 1)))
    return it


def full() -> Room:
    it = Room(1, max_queue=1)
    for _ in range(3):
        it.send("wait", 0.1, 1)
    return it


def recycled() -> Room:
    it = Room(1, operations=3)
    for _ in range(3):
        it.send("answer", 1)
    return it


REACHED: dict[str, Callable[[], Room]] = {
    "session moved": moved,
    "session lost": lost,
    "session expired": expired,
    "session re-homed": rehomed,
    "worker found stopped": lambda: harmed(kind="stall", for_s=0.6),
    "operation given to another worker": lambda: killed(idempotent=True),
    "pool grown": grown,
    "pool shrunk": grown,
    "pool broken": lambda: starting(60.0, "refuse-start"),
    "worker killed for a deadline": overdue,
    "start timed out": lambda: starting(60.0, "hang-start", start_s=0.1),
    "worker killed that would not leave": unwilling,
    "worker killed for a stall": lambda: harmed(kind="stall", for_s=3.0),
    "lost answer noticed": lambda: harmed(kind="partition", toward="pool", for_s=3.0),
    "lost operation noticed": lambda: harmed(kind="partition", toward="worker", for_s=3.0),
    "answer of nothing refused": lambda: harmed(kind="duplicate", toward="pool", amount=1.0, for_s=1.0),
    "wire lost": lambda: harmed(command=("wait", 0.5, 1), first=True, kind="disconnect"),
    "initializer failed": lambda: starting(0.1, "fail-start"),
    "frame rejected by a worker": lambda: harmed(kind="corrupt", toward="worker", amount=1.0, for_s=1.0),
    "deadline passed": overdue,
    "operation lost with its worker": killed,
    "operation of a lost session refused": lost,
    "epoch refused by a worker": forgetful,
    "recalled operation returned": ahead,
    "frame rejected": lambda: harmed(kind="corrupt", toward="pool", amount=1.0, for_s=1.0),
    "work sent in advance": ahead,
    "queue full": full,
    "crash loop backed off": lambda: starting(0.3, "refuse-start"),
    "worker recycled": recycled,
}
"""For each named state a little story that reaches it."""


def test_every_named_state_has_a_story_here() -> None:
    assert REACHED.keys() == set(SOMETIMES)


def test_no_name_stands_for_two_states() -> None:
    assert len(set(SOMETIMES)) == len(SOMETIMES)


@pytest.mark.parametrize("state", SOMETIMES)
def test_every_named_state_can_be_reached(state: str) -> None:
    it = REACHED[state]()
    it.run(10)
    assert it.marks.reached[state] >= 1


@pytest.mark.parametrize("state", sorted(set(SOMETIMES) - {"worker found stopped"}))
def test_no_named_state_is_reached_by_a_run_in_which_nothing_happens(state: str) -> None:
    it = Room(2)
    for number in range(20):
        it.send("wait", 0.1, 1, session=number % 4)
    it.run(3)
    it.world.tell(it.world.core.shutdown)
    it.run(10)
    assert (it.world.is_over, it.marks.reached[state]) == (True, 0)


def event(subject: Any, what: str, **terms: Any) -> Event:
    return Event(at_s=0.0, subject=subject, what=what, **terms)


def told(*events: Event) -> Marks:
    marks = Marks()
    for one in events:
        marks.event(one)
    return marks


def test_transitions_are_counted_from_what_was_before_of_the_same_thing() -> None:
    names = ("starting", "ready", "busy", "ready", "busy")
    marks = told(*(event("worker", name, worker=1) for name in names), event("worker", "starting", worker=2))
    assert marks.transitions == {
        "worker: - > starting": 2,
        "worker: starting > ready": 1,
        "worker: ready > busy": 2,
        "worker: busy > ready": 1,
    }


def test_transitions_of_sessions_and_operations_go_by_their_own_names() -> None:
    marks = told(
        event("session", "opened", key=1, worker=1),
        event("session", "lost", key=1),
        event("operation", "queued", operation=1, key=1),
        event("operation", "resolved", operation=1, key=1),
    )
    assert marks.transitions == {
        "session: - > opened": 1,
        "session: opened > lost": 1,
        "operation: - > queued": 1,
        "operation: queued > resolved": 1,
    }


def test_one_start_that_failed_is_no_crash_loop() -> None:
    marks = told(
        event("worker", "starting", worker=1),
        event("worker", "gone", worker=1),
        event("worker", "starting", worker=2),
        event("worker", "ready", worker=2),
    )
    assert "crash loop backed off" not in marks.reached


def test_a_crash_loop_that_is_over_is_counted_once() -> None:
    failed = [event("worker", what, worker=number) for number in (1, 2) for what in ("starting", "gone")]
    came = [event("worker", what, worker=number) for number in (3, 4) for what in ("starting", "ready")]
    assert told(*failed, *came).reached["crash loop backed off"] == 1


def test_a_session_that_is_opened_for_the_first_time_is_not_re_homed() -> None:
    marks = told(event("session", "opened", key=1), event("session", "opened", key=2))
    assert "session re-homed" not in marks.reached


@pytest.mark.parametrize("why", ["shrinking", "closing"])
def test_a_worker_that_leaves_as_one_too_many_or_with_all_is_not_recycled(why: str) -> None:
    assert "worker recycled" not in told(event("pool", why), event("worker", "stopping", worker=1)).reached


def test_a_worker_that_is_recycled_after_another_was_one_too_many_is() -> None:
    marks = told(
        event("pool", "shrinking"), event("worker", "stopping", worker=1), event("worker", "stopping", worker=2)
    )
    assert marks.reached["worker recycled"] == 1


def test_a_worker_of_a_pool_that_grew_while_it_was_closing_is_not_recycled() -> None:
    marks = told(event("pool", "closing"), event("pool", "growing"), event("worker", "stopping", worker=1))
    assert "worker recycled" not in marks.reached


def test_a_refusal_for_too_many_sessions_is_no_full_queue() -> None:
    marks = Marks()
    marks.refused("sessions")
    assert marks.reached == {}
