"""The layers that are real: the first is refused for pools without a core to simulate, the third runs."""

from collections.abc import Callable

import pytest

from poolproof.config import load_config
from poolproof.experiment import Proof
from tests.integration.conftest import QUICK
from tests.integration.runs import Run


@pytest.mark.functional
@pytest.mark.layer(1)
def test_layer_1_is_refused_for_a_pool_without_a_core_that_could_be_simulated(launch: Callable[..., Run]) -> None:
    run = launch("prove", "process-pool-executor", "--layer", "1")

    assert run.ended() == 2
    assert run.stderr.startswith("poolproof: error: layer 1 simulates")
    assert run.stderr.count("\n") == 1


@pytest.mark.layer(3)
def test_layer_3_runs(experiment: Callable[..., Proof]) -> None:
    proof = experiment(
        "tests.pools.clean:make", scenarios=("kill-one", "shutdown"), config=load_config(3, options=QUICK)
    )

    assert proof.layer == 3
    assert proof.verdict == "kept"
