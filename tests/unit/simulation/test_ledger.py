"""What the world sees by itself: each thing that no pool may do, once done and once not."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from poolproof.simulation.ledger import Ledger
from poolproof.simulation.process import Process, State
from poolproof.simulation.timeline import SECOND_NS, Timeline
from tests.unit.simulation.worlds import Ground

LOOK_S = 0.1
PATIENT_NS = SECOND_NS


@dataclass
class Terms:
    """What the documentation of a pool says."""

    max_queue: int | None = None
    workers: int = 1
    is_strict: bool = False
    max_runs: int = 1
    look_s: float = LOOK_S


@dataclass(frozen=True)
class Task:
    """An operation, as a core sends it."""

    payload: int
    sequence: int
    key: Any = None
    epoch: int = 0
    has_session: bool = False


@dataclass
class Desk:
    """A ledger, and what it tells."""

    terms: Terms = field(default_factory=Terms)
    told: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.timeline = Timeline()
        self.processes: dict[int, Process] = {}
        pool: Any = self.terms
        self.ledger = Ledger(self.timeline, pool, self, self.processes)

    def violated(self, promise: str, what: str) -> None:
        self.told.append((promise, what))

    def worker(self, number: int = 1) -> Process:
        process = Ground().process
        process.is_up = True
        process.idle_since = self.timeline.elapsed
        self.processes[number] = process
        return process

    def submit(self, *ops: int, session: object = None) -> None:
        for op in ops:
            self.ledger.submitted(op, session)

    def send(self, *ops: int, to: int = 1, **terms: Any) -> None:
        self.ledger.sent(to, [Task(op, op + 1, has_session="key" in terms, **terms) for op in ops])

    def wait(self, ns: int) -> None:
        self.timeline.pass_until(self.timeline.elapsed + ns)

    @property
    def promises(self) -> list[str]:
        return [promise for promise, _ in self.told]


# --- who holds what -----------------------------------------------------------------------------------------------


def test_an_operation_waits_is_held_and_is_over() -> None:
    it = Desk()
    it.worker()
    it.submit(0)
    seen = [it.ledger.waiting]
    it.send(0)
    seen += [it.ledger.waiting, len(it.ledger.in_hands(1))]
    it.ledger.ended(0)
    assert [*seen, it.ledger.waiting, len(it.ledger.in_hands(1))] == [1, 0, 1, 0, 0]


def test_what_is_given_back_waits_again() -> None:
    it = Desk()
    it.worker()
    it.submit(0, 1, 2)
    it.send(0, 1, 2)
    it.ledger.given_back(1, lambda sequence: sequence > 1)
    assert (it.ledger.waiting, it.ledger.in_hands(1), it.told) == (2, [0], [])


def test_what_is_cancelled_while_it_waits_waits_no_more() -> None:
    it = Desk()
    it.submit(0)
    it.ledger.ended(0)
    assert it.ledger.waiting == 0


# --- the queue ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("waiting", "told"), [(2, []), (3, ["sheds-overload"])])
def test_no_more_may_wait_than_the_pool_says(waiting: int, told: list[str]) -> None:
    it = Desk(Terms(max_queue=2))
    for op in range(waiting):
        it.submit(op)
        it.ledger.accepted(op)
    assert it.promises == told


@pytest.mark.parametrize(("waiting", "told"), [(2, []), (1, ["sheds-overload"])])
def test_nothing_is_refused_as_too_much_before_that(waiting: int, told: list[str]) -> None:
    it = Desk(Terms(max_queue=2))
    it.submit(*range(waiting), 9)
    it.ledger.refused(9, as_too_much=True)
    assert it.promises == told


@pytest.mark.parametrize(("session", "told"), [(None, ["sheds-overload"]), ("s", [])])
def test_nothing_is_refused_beside_an_idle_worker_but_for_a_session(session: object, told: list[str]) -> None:
    it = Desk(Terms(max_queue=0))
    it.worker()
    it.submit(0, session=session)
    it.ledger.refused(0, as_too_much=True)
    assert it.promises == told


def test_a_refusal_for_another_reason_says_nothing_of_the_queue() -> None:
    it = Desk(Terms(max_queue=2))
    it.submit(0)
    it.ledger.refused(0, as_too_much=False)
    assert (it.told, it.ledger.waiting) == ([], 0)


# --- sending ------------------------------------------------------------------------------------------------------


def test_nothing_is_sent_to_a_worker_that_is_gone() -> None:
    it = Desk()
    it.submit(0)
    it.send(0, to=7)
    assert it.told == [("survives-worker-death", "sent operation 0 to worker 7, which is gone")]


def test_nothing_is_sent_to_a_worker_behind_the_order_to_leave() -> None:
    it = Desk()
    it.worker().is_leaving = True
    it.submit(0)
    it.send(0)
    assert it.promises == ["survives-worker-death"]


def test_nothing_is_sent_twice() -> None:
    it = Desk()
    it.worker()
    it.submit(0)
    it.send(0)
    it.send(0)
    assert it.promises == ["runs-at-most-once"]


def test_nothing_is_sent_that_is_over() -> None:
    it = Desk()
    it.worker()
    it.submit(0)
    it.ledger.ended(0)
    it.send(0)
    assert it.promises == ["runs-at-most-once"]


@pytest.mark.parametrize(("sent", "told"), [((0,), []), ((0, 1), []), ((1,), ["serves-fairly"])])
def test_nobody_is_sent_before_who_came_first(sent: tuple[int, ...], told: list[str]) -> None:
    it = Desk()
    it.worker()
    it.submit(0, 1)
    it.send(*sent)
    assert it.promises == told


def test_whoever_waits_for_a_session_may_be_passed_over() -> None:
    it = Desk()
    it.worker()
    it.submit(0, session="s")
    it.submit(1)
    it.send(1)
    assert it.told == []


def test_what_was_given_back_comes_before_what_came_later() -> None:
    it = Desk()
    it.worker()
    it.submit(0, 1)
    it.send(0)
    it.ledger.given_back(1, lambda _: True)
    it.send(1)
    assert it.promises == ["serves-fairly"]


@pytest.mark.parametrize(
    ("strict", "tampered", "told"),
    [(True, False, ["keeps-sessions-sticky"]), (False, False, []), (True, True, [])],
)
def test_a_strict_session_never_goes_on_with_a_fresh_state(strict: bool, tampered: bool, told: list[str]) -> None:
    it = Desk(Terms(is_strict=strict))
    it.worker()
    it.ledger.is_tampered = tampered
    for op, epoch in ((0, 1), (1, 1), (2, 2)):
        it.submit(op, session="s")
        it.send(op, key="s", epoch=epoch)
    assert it.promises == told


# --- standing still -----------------------------------------------------------------------------------------------


def starved(it: Desk, *, session: object = None) -> Process:
    process = it.worker()
    it.submit(0, session=session)
    it.wait(PATIENT_NS)
    return process


def test_no_operation_waits_for_long_beside_an_idle_worker() -> None:
    it = Desk()
    starved(it)
    it.ledger.look(0)
    assert it.promises == ["serves-fairly"]


def test_an_operation_of_a_session_may_wait_beside_a_worker_that_is_not_its_own() -> None:
    it = Desk()
    starved(it, session="s")
    it.ledger.look(0)
    assert it.told == []


def test_that_it_waits_shortly_says_nothing() -> None:
    it = Desk()
    it.worker()
    it.submit(0)
    it.wait(SECOND_NS // 10)
    it.ledger.look(0)
    assert it.told == []


@pytest.mark.parametrize("name", ["is_leaving", "was_harmed", "is_dead"])
def test_a_worker_that_something_befell_is_not_idle(name: str) -> None:
    it = Desk()
    setattr(starved(it), name, True)
    it.ledger.look(1)
    assert it.told == []


def test_a_worker_that_holds_something_is_not_idle() -> None:
    it = Desk()
    it.worker()
    it.submit(0, 1)
    it.send(0)
    it.wait(PATIENT_NS)
    it.ledger.look(0)
    assert it.told == []


def test_a_worker_that_has_just_let_go_of_something_is_not_idle_for_long() -> None:
    it = Desk()
    it.worker()
    it.submit(0, 1)
    it.send(0)
    it.wait(PATIENT_NS)
    it.ledger.ended(0)
    it.ledger.look(0)
    assert it.told == []


@pytest.mark.parametrize(("wanted", "told"), [(0, ["restores-capacity"]), (1, [])])
def test_work_does_not_wait_for_long_while_there_are_fewer_workers_than_may_be(wanted: int, told: list[str]) -> None:
    it = Desk(Terms(workers=2))
    it.worker()
    it.submit(0, 1)
    it.send(0)
    it.ledger.look(wanted)
    it.wait(2 * SECOND_NS)
    it.ledger.look(wanted)
    assert it.promises == told


def test_that_a_worker_has_just_died_says_nothing() -> None:
    it = Desk(Terms(workers=2))
    it.worker()
    it.worker(2)
    it.submit(0, 1)
    it.send(0)
    it.ledger.look(0)
    it.wait(2 * SECOND_NS)
    it.processes[2].is_dead = True
    it.ledger.look(0)
    assert it.told == []


def test_a_failed_start_may_keep_a_pool_small_for_a_while() -> None:
    it = Desk(Terms(workers=2))
    it.worker()
    it.submit(0, 1)
    it.send(0)
    it.ledger.trouble_at = it.timeline.elapsed
    it.ledger.look(0)
    it.wait(2 * SECOND_NS)
    it.ledger.look(0)
    assert it.told == []


# --- what stays ---------------------------------------------------------------------------------------------------


def moved(it: Desk) -> Process:
    """A session that was served in one worker, and then in another."""
    left = it.worker(1)
    it.worker(2)
    for op, number in ((0, 1), (1, 2)):
        it.submit(op, session=5)
        it.send(op, to=number, key=5, epoch=number)
    left.states = {1: State(5, 77)}
    return left


def test_no_state_stays_where_its_session_has_left() -> None:
    it = Desk()
    moved(it)
    it.ledger.leaks()
    assert it.promises == ["leaves-nothing-behind"]


def test_a_state_that_was_forgotten_does_not_stay() -> None:
    it = Desk()
    moved(it).states.clear()
    it.ledger.leaks()
    assert it.told == []


@pytest.mark.parametrize("name", ["is_leaving", "was_harmed", "is_dead"])
def test_a_worker_that_something_befell_may_keep_what_it_holds(name: str) -> None:
    it = Desk()
    setattr(moved(it), name, True)
    it.ledger.leaks()
    assert it.told == []


def test_a_table_that_was_harmed_may_forget_to_tell() -> None:
    it = Desk()
    moved(it)
    it.ledger.is_tampered = True
    it.ledger.leaks()
    assert it.told == []


def test_each_kind_is_told_once() -> None:
    it = Desk()
    it.submit(0, 1)
    it.send(0, to=7)
    it.send(1, to=7)
    assert len(it.told) == 1
