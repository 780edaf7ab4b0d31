"""Experiments: scenarios run against targets, their histories judged, their verdicts combined into a proof."""

from poolproof.experiment.proof import (
    COUNTED,
    Outcome,
    Promise,
    Proof,
    Watcher,
    carry_out,
    combine,
    environment,
    judge_folder,
    plan_proof,
    prove,
    repeat,
)
from poolproof.experiment.run import Experiment, Run
from poolproof.experiment.scenarios import SCENARIOS, find_scenarios

__all__ = [
    "COUNTED",
    "SCENARIOS",
    "Experiment",
    "Outcome",
    "Promise",
    "Proof",
    "Run",
    "Watcher",
    "carry_out",
    "combine",
    "environment",
    "find_scenarios",
    "judge_folder",
    "plan_proof",
    "prove",
    "repeat",
]
