"""The load scenarios of the performance suite in virtual time, at full length: ten minutes of load in seconds."""

import pytest

from poolproof.config import load_config
from poolproof.experiment import Experiment
from poolproof.performance.running import run_standard
from poolproof.performance.standard import SCENARIOS

pytestmark = [pytest.mark.functional, pytest.mark.layer(1)]

OFFERED = {"ramp": 60_000, "sustained": 150_000, "spike": 66_000, "mixed": 18_000, "failures": 30_000}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_load_scenario_meets_its_objectives(name: str) -> None:
    experiment = Experiment(effective=load_config(1), layer=1, seed=1)
    (judgement,) = run_standard(experiment, (name,), is_full=True)
    figures = {it.name: it.value for it in judgement.result.figures}
    assert {it.describe() for it in judgement.judged if it.verdict != "kept"} == set()
    assert figures["offered"] == pytest.approx(OFFERED[name], rel=0.02)
    assert figures["unresolved"] == 0
    assert len(judgement.judged) >= 3
