"""The client of a simulated pool: how an operation ends, and what it may not end in."""

import gc
import weakref
from typing import Any

import pytest

from poolproof.history import Outcome, Phase
from poolproof.simulation.client import Client
from poolproof.simulation.timeline import Timeline
from sessionpool.errors import WorkerDied
from sessionpool.wire import Frame, Kind
from tests.unit.simulation.worlds import Ground, Room

MOST = 2


def client_of(*, idempotent: bool = False) -> Client:
    """A client with one operation, which was sent."""
    client = Client(Timeline(), MOST)
    client.prepare(0, Phase.MEASURED, ("answer", 7), idempotent=int(idempotent))
    client.unresolved = 1
    return client


def violations(client: Client) -> list[str]:
    return [event.stage for event in client.record.lifecycle if event.event == "violation"]


def answer(kind: Kind, body: Any = (0, 7)) -> Frame:
    return Frame(int(kind), 1, 1, 0, 0, body)


@pytest.mark.parametrize(
    ("kind", "body", "outcome"),
    [
        (Kind.RESULT, (0, 7), Outcome.OK),
        (Kind.RESULT, (0, 8), Outcome.WRONG),
        (Kind.RESULT, (1, 7), Outcome.WRONG),
        (Kind.ERROR, (0, 7), Outcome.USER_ERROR),
        (Kind.REFUSED, b"", Outcome.WRONG),
        (Kind.RETURNED, b"", Outcome.WRONG),
    ],
)
def test_an_answer_is_right_or_wrong(kind: Kind, body: Any, outcome: Outcome) -> None:
    client = client_of()
    client.resolved(0, answer(kind, body))
    assert (client.record.outcome[0], client.unresolved) == (outcome, 0)


def test_what_is_no_answer_is_not_laid_to_the_verification() -> None:
    client = client_of()
    client.resolved(0, answer(Kind.REFUSED, b""))
    assert client.record.error[0] == -1


@pytest.mark.parametrize(("runs", "told"), [(MOST, []), (MOST + 1, ["runs-at-most-once"])])
def test_an_idempotent_operation_runs_so_often_at_most(runs: int, told: list[str]) -> None:
    client = client_of(idempotent=True)
    for _ in range(runs):
        client.began(Ground().process, 0, None)
    assert violations(client) == told


@pytest.mark.parametrize(
    ("idempotent", "attempts", "told"), [(True, 1, ["survives-worker-death"]), (True, MOST, []), (False, 1, [])]
)
def test_an_operation_that_may_run_again_is_not_given_up_before(
    idempotent: bool, attempts: int, told: list[str]
) -> None:
    client = client_of(idempotent=idempotent)
    client.resolved(0, WorkerDied("it died", pid=1, exit="signal SIGKILL", attempts=attempts))
    assert violations(client) == told


@pytest.mark.parametrize("again", ["resolved", "dropped"])
def test_an_operation_does_not_end_twice(again: str) -> None:
    client = client_of()
    client.resolved(0, answer(Kind.RESULT))
    client.resolved(0, answer(Kind.RESULT)) if again == "resolved" else client.dropped(0)
    assert violations(client) == ["returns-the-right-result"]


def test_what_is_written_down_keeps_no_world_alive_that_is_over() -> None:
    it = Room(1)
    it.world.tell(it.world.core.shutdown)
    it.run(20)
    record, world = it.record, weakref.ref(it.world)
    del it
    gc.collect()
    assert (len(record.lifecycle), world()) == (0, None)
