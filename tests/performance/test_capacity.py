"""The search for a capacity on real processes, where arithmetic tells it."""

import pytest

from poolproof.config import load_config
from poolproof.experiment import Experiment
from poolproof.performance.capacity import find_capacity
from poolproof.workloads.scripted import WAIT_S

WORKERS = 2


@pytest.mark.layer(2)
def test_the_capacity_of_a_pool_whose_operations_wait_is_that_of_arithmetic() -> None:
    experiment = Experiment(effective=load_config(2), layer=2, seed=1)
    found = find_capacity(
        experiment,
        objectives=[],
        workload="waits",
        workers=WORKERS,
        arrivals="constant",
        first_rate=60.0,
        growth=1.6,
        precision=0.15,
        # So few operations at the rates in question that no percentile of the generator's lag is given, and a machine
        # that is busy with other tests leaves the answer what it is.
        over="0.9s",
    )
    assert found.rate == pytest.approx(WORKERS / WAIT_S, rel=0.15), found.describe()
