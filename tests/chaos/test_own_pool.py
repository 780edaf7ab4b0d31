"""The pool that comes along is proven from end to end, with one seed after the other."""

from collections.abc import Callable

import pytest

from poolproof.config import load_config
from poolproof.experiment import Proof
from poolproof.plan import PROMISES

SEEDS = range(1, 21)


@pytest.mark.layer(3)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_is_kept(seed: int, layer: int, experiment: Callable[..., Proof]) -> None:
    proof = experiment("sessionpool", seed=seed, config=load_config(layer))

    assert {name: it.verdict for name, it in proof.promises.items()} == dict.fromkeys(PROMISES, "kept")
    assert proof.verdict == "kept"
