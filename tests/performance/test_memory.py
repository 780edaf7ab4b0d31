"""What a run holds in memory: of each operation next to nothing, for it is all in files; printed, and judged."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import numpy as np
import pytest

from poolproof.config import Effective
from poolproof.experiment import Experiment, Run
from poolproof.history import Usage
from poolproof.load import hold

Say = Callable[[str], None]

pytestmark = [pytest.mark.layer(2), pytest.mark.timeout(900), pytest.mark.usefixtures("undisturbed")]

RATE: Final = 2000
AN_OPERATION: Final = 100
"""Bytes an operation that memory may grow by."""
MOST_MB: Final = 400.0
"""What all processes of a run may use together; what judging it may use is a budget of its own, for a million."""

PEAK: Final = """
import resource, sys
from poolproof.experiment import judge_folder
from pathlib import Path
proof = judge_folder(Path(sys.argv[1]))
print(proof.scenarios[0].load.offered, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def growth(rows: list[Usage]) -> float:
    """Bytes a second by which memory grows, after the first quarter, in which everything is set up; a straight line."""
    rows = rows[len(rows) // 4 :]
    at = np.array([row.at for row in rows]) / 1e9
    return float(np.polyfit(at - at[0], [row.pss_bytes for row in rows], 1)[0])


def most_together(run: Run) -> float:
    """The most that all processes of the run used at one look, MB."""
    looks: dict[int, float] = {}
    for row in run.history.usages:
        looks[row.at // 500_000_000] = looks.get(row.at // 500_000_000, 0.0) + row.pss_bytes / 1e6
    return max(looks.values())


def test_memory_grows_by_less_than_a_hundred_bytes_an_operation(
    layer_config: Effective, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, say: Say
) -> None:
    seconds = 600 if pytestconfig.getoption("--full") else 20
    report = tmp_path_factory.mktemp("run")
    experiment = Experiment(effective=layer_config, layer=2, seed=1, report=report)

    run = experiment.run(hold(RATE, seconds), workload="answers", workers=2, options={"max_queue": 10_000})

    lab = [row for row in run.history.usages if row.role == "lab"]
    each = growth(lab) / RATE
    told = subprocess.run(
        [sys.executable, "-c", PEAK, str(report)], stdout=subprocess.PIPE, check=True, text=True, env=os.environ
    )
    offered, judging_mb = (float(word) for word in told.stdout.split())
    most = most_together(run)
    say(
        f"{offered:,.0f} operations in {seconds} s: the lab grew by {each:.1f} bytes an operation, all processes of "
        f"the run used {most:.0f} MB at most, and judging it {judging_mb:.0f} MB"
    )
    assert run.load.completed == run.load.offered == offered
    assert len(lab) >= 10
    assert each < AN_OPERATION
    assert most < MOST_MB
    assert judging_mb < layer_config.config.budgets.judge_million_gb * 1000 * max(1.0, offered / 1e6)
