"""The standard set on each layer: every benchmark measured, printed, kept among the baselines, and judged."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from poolproof.config import Effective
from poolproof.experiment import Experiment
from poolproof.extras import installed
from poolproof.performance.baselines import FOLDER, Baselines
from poolproof.performance.running import Judgement, run_standard
from poolproof.performance.standard import STANDARD

Say = Callable[[str], None]

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("undisturbed")]


@pytest.fixture
def is_full(pytestconfig: pytest.Config) -> bool:
    return bool(pytestconfig.getoption("--full"))


def told(judgement: Judgement) -> str:
    result = judgement.result
    figures = ", ".join(
        f"{it.name} {'n/a' if it.value is None else f'{it.value:.4g}'} {it.unit}".strip() for it in result.figures
    )
    judged = "".join(f"\n    {it.describe()}" for it in judgement.judged)
    return f"{result.benchmark} on layer {result.layer}: {judgement.verdict}; {figures}{judged}"


@pytest.mark.parametrize("name", STANDARD)
def test_a_benchmark_meets_its_objectives(
    name: str, layer: int, layer_config: Effective, is_full: bool, pytestconfig: pytest.Config, say: Say
) -> None:
    if layer == 3 and not installed("linear"):
        pytest.skip("layer 3 works on digits: pip install 'poolproof[work]'")
    experiment = Experiment(effective=layer_config, layer=layer, seed=1)
    kept = Baselines(folder=Path(os.path.relpath(pytestconfig.rootpath)) / FOLDER)

    (judgement,) = run_standard(experiment, (name,), is_full=is_full, baselines=kept)

    say(told(judgement))
    assert judgement.judged
    # On a machine that others use, too, the generator may be late, and then nothing can be told of the pool.
    uncertain = [it.describe() for it in judgement.judged if it.verdict == "unknown"]
    late = [it for it in judgement.judged if it.verdict == "broken" and it.objective.startswith("lag-p99")]
    broken = [it.describe() for it in judgement.judged if it.verdict == "broken" and it not in late]
    assert broken == []
    if uncertain or late:
        what = f"{name} could not be told: {'; '.join([*uncertain, *(it.describe() for it in late)])}"
        if is_full:
            pytest.fail(what)
        pytest.skip(what)
