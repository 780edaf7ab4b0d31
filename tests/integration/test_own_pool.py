"""The pool that comes along keeps what it promises, as the kit sees it, with real faults."""

from collections.abc import Callable

import pytest

from poolproof.config import Effective
from poolproof.experiment import COUNTED, Proof
from poolproof.plan import PROMISES

TARGET = "sessionpool"

pytestmark = pytest.mark.layer(2)


@pytest.mark.parametrize("scenario", ["sessions", "deadlines", "overload", "kill-most", "kill-storm", "stall-one"])
def test_a_scenario_finds_every_promise_kept(scenario: str, experiment: Callable[..., Proof], quick: Effective) -> None:
    proof = experiment(TARGET, scenarios=(scenario,), config=quick)

    doubted = {
        name: it for name, it in proof.promises.items() if it.made in COUNTED and it.verdict not in ("kept", None)
    }
    assert not doubted
    assert proof.verdict == "kept"


def test_nothing_outlives_its_parent(experiment: Callable[..., Proof], quick: Effective) -> None:
    proof = experiment(TARGET, scenarios=("parent-death",), config=quick)

    assert proof.promises["leaves-nothing-behind"].verdict == "kept"


def test_it_promises_everything(experiment: Callable[..., Proof], quick: Effective) -> None:
    proof = experiment(TARGET, scenarios=("kill-idle",), config=quick)

    assert {name for name in PROMISES if proof.promises[name].made in COUNTED} == set(PROMISES)
