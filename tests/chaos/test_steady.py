"""Undisturbed, both pools of the standard library keep whatever is examined, whatever the seed."""

from collections.abc import Callable

import pytest

from poolproof.config import load_config
from poolproof.experiment import Proof

SEEDS = range(1, 21)


@pytest.mark.layer(2)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target", ["process-pool-executor", "multiprocessing-pool"])
def test_there_is_no_false_alarm_and_no_doubt(target: str, seed: int, experiment: Callable[..., Proof]) -> None:
    proof = experiment(target, scenarios=("steady",), seed=seed, config=load_config(2, options={"load.seconds": 2.0}))

    doubted = {name: p for name, p in proof.promises.items() if p.verdict not in ("kept", None)}
    assert not doubted
    assert proof.verdict == "kept"
