"""Undisturbed, every bundled pool keeps whatever is examined, whatever the seed."""

from collections.abc import Callable

import pytest

from poolproof.config import load_config
from poolproof.experiment import COUNTED, Proof
from poolproof.pools import BUNDLED

SEEDS = range(1, 21)


@pytest.mark.layer(2, 3)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target", sorted(BUNDLED))
def test_there_is_no_false_alarm_and_no_doubt(
    target: str, seed: int, layer: int, experiment: Callable[..., Proof]
) -> None:
    config = load_config(layer, options={"load.seconds": 2.0})
    proof = experiment(target, scenarios=("steady",), seed=seed, config=config)

    doubted = {name: p for name, p in proof.promises.items() if p.made in COUNTED and p.verdict not in ("kept", None)}
    assert not doubted
    assert proof.verdict == "kept"
