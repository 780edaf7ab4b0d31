"""The long load shapes in virtual time, each with worker failures: how fast they are simulated, and what they show."""

import resource
import time
from collections.abc import Callable
from typing import Final

import pytest

from poolproof.checks import judge
from poolproof.config import Effective
from poolproof.exploration import explore
from poolproof.history import Phase
from poolproof.plan import PROMISES, Bounds, FaultSpec, Limits, Load, Plan, Scenario, Step
from poolproof.pools import find_core
from poolproof.simulation import simulate

Say = Callable[[str], None]

pytestmark = pytest.mark.layer(1)

SHAPES: Final[dict[str, tuple[tuple[Step, ...], int, float]]] = {
    "ramp to 1,000 a second over 2 minutes": ((Step(rate=0.0, to=1000.0, seconds=120.0),), 20, 0.6),
    "500 a second for 5 minutes": ((Step(rate=500.0, seconds=300.0),), 16, 0.3),
    "a jump from 100 to 2,000 a second": ((Step(rate=100.0, seconds=15.0), Step(rate=2000.0, seconds=20.0)), 40, 0.6),
    "predict and batch at 300 a second": ((Step(rate=300.0, seconds=60.0),), 7, 0.6),
}
"""Each with the number of workers, and the share of them that is killed at once towards the end.

All operations have sessions, which stay where they go when their workers die: fewer survivors would get more than they
can do, for as long as the load lasts.
"""

UNEXAMINED: Final = ("degrades-gracefully", "sheds-overload", "serves-fairly", "honours-deadlines")
"""What takes a load of its own: these have neither an overload nor deadlines, and every operation a session."""

SERVICE_MS: Final = {"predict": 10.0, "batch": 50.0}


def plan_of(name: str) -> Plan:
    steps, workers, share = SHAPES[name]
    seconds = sum(step.seconds for step in steps)
    return Plan(
        target=find_core("sessionpool"),
        workload="scripted",
        scenario=Scenario(
            name=name,
            summary=name,
            stages=("open", "probe-before", "load", "drain", "probe-after", "close"),
            examines=tuple(it for it in PROMISES if it not in UNEXAMINED),
            load=Load(steps=steps, sessions=4 * workers),
            faults=(
                FaultSpec(kind="kill", count=1, at_s=0.3 * seconds),
                FaultSpec(kind="stall", count=1, at_s=0.5 * seconds, for_s=2.0),
                FaultSpec(kind="kill", share=share, at_s=0.9 * seconds, patience_s=5.0),
            ),
        ),
        layer=1,
        workers=workers,
        seed=1,
        service_ms=SERVICE_MS,
        bounds=Bounds(open_s=20.0, close_s=4.0, drain_s=3.0, rendezvous_s=0.8, outlive_s=2.0, total_s=90.0),
        limits=Limits(max_share=0.8, min_survivors=1, max_fault_s=60.0, max_processes=256),
    )


def test_the_four_long_shapes_are_simulated_and_judged_in_seconds(layer_config: Effective, say: Say) -> None:
    budgets = layer_config.config.budgets
    operations, simulated_s, judged_s = 0, 0.0, 0.0
    for name in SHAPES:
        before = time.process_time()
        history = simulate(plan_of(name))
        between = time.process_time()
        findings = judge(history)
        judged_s += time.process_time() - between
        simulated_s += between - before
        operations += len(history.operations)
        assert {it.promise: it.verdict for it in findings} == dict.fromkeys(history.plan.scenario.examines, "kept")
        offered = sum(step.operations for step in history.plan.scenario.load.steps)
        assert history.in_phase(Phase.MEASURED).sum() == pytest.approx(offered, rel=0.02)

    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    say(
        f"{operations:,} operations: simulated in {simulated_s:.1f} s of one core ({operations / simulated_s:,.0f} a "
        f"second), judged in {judged_s:.2f} s, {peak_gb:.2f} GB"
    )
    assert operations > 265_000
    assert operations / simulated_s >= budgets.simulated_per_s
    assert simulated_s + judged_s <= budgets.long_shapes_s


def test_two_processes_explore_what_one_explores_and_sooner(say: Say) -> None:
    seeds, took_s, found = 300, [], []
    for jobs in (1, 2):
        before = time.monotonic()
        found.append(explore("sessionpool", seeds=seeds, jobs=jobs))
        took_s.append(time.monotonic() - before)

    say(f"{seeds} plans explored in {took_s[0]:.1f} s by one process, in {took_s[1]:.1f} s by two")
    assert found[0] == found[1]
    assert not found[0].broken
