"""What chaos means on the layers beside the second: refused on the first, found just so on the third."""

from collections.abc import Callable

import pytest

from poolproof.config import load_config
from poolproof.experiment import Proof
from tests.integration.conftest import QUICK
from tests.integration.runs import Run

EXECUTOR = "process-pool-executor"
FAULTY = ("kill-one", "kill-idle", "kill-most", "stall-one", "parent-death")


@pytest.mark.layer(1)
@pytest.mark.parametrize("scenario", FAULTY)
def test_a_fault_is_refused_where_no_core_could_be_simulated(scenario: str, launch: Callable[..., Run]) -> None:
    run = launch("prove", EXECUTOR, "--layer", "1", "--scenario", scenario)

    assert run.ended() == 2
    assert run.stderr.startswith("poolproof: error: layer 1 simulates")
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "number", [pytest.param(2, marks=pytest.mark.layer(2)), pytest.param(3, marks=pytest.mark.layer(3))]
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_peak_at_which_most_workers_die_breaks_the_executor_for_innocents_and_for_good(
    number: int, seed: int, experiment: Callable[..., Proof]
) -> None:
    proof = experiment(EXECUTOR, scenarios=("kill-most",), seed=seed, config=load_config(number, options=QUICK))

    assert proof.layer == number
    broken = {name for name, promise in proof.promises.items() if promise.verdict == "broken"}
    assert broken == {"survives-worker-death", "contains-the-blast", "restores-capacity"}
    told = "\n".join(evidence.text for evidence in proof.promises["contains-the-blast"].evidence)
    assert "which did not hold it" in told
