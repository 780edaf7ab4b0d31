"""The load scenarios: a ramp, a sustained load, a spike, a mix, failures under load."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from poolproof.experiment import Run
from poolproof.load import Mix, Shape, fault, hold, ramp
from poolproof.performance.bench import Bench, Measured, measured, response_ns
from poolproof.performance.results import Figure
from poolproof.plan import Objective, completed, own_lag, p99, recovery

MIX: Final = {"predict": 9.0, "batch": 1.0}
SPIKE_PER_S: Final = (100.0, 2000.0)
RAMP_TO_PER_S: Final = 1000.0
MIXED_PER_S: Final = 300.0

_ENOUGH: Final = 1_500.0
"""How many operations of a load scenario are to be offered at least."""


def ramp_up(bench: Bench) -> Measured:
    """From nothing to 1,000 operations a second, over two minutes."""
    return _scenario(bench, "ramp", ramp(0, RAMP_TO_PER_S, "2m"), [p99() < _s(bench.objectives.ramp_p99_ms)])


def sustained(bench: Bench) -> Measured:
    """The same rate for five minutes, 500 operations a second as configured."""
    shape = hold(bench.performance.sustained_per_s, "5m")
    return _scenario(bench, "sustained", shape, [p99() < _s(bench.objectives.sustained_p99_ms)])


def spike(bench: Bench) -> Measured:
    """From 100 to 2,000 operations a second at once, and back."""
    low, high = SPIKE_PER_S
    shape = hold(low, "30s") >> hold(high, "30s") >> hold(low, "30s")
    run = _run_scenario(bench, "spike", shape, [p99() < _s(bench.objectives.spike_p99_ms)])
    course = run.series()
    over_s = run.history.plan.scenario.load.steps[0].seconds + run.history.plan.scenario.load.steps[1].seconds
    calm = np.flatnonzero((course.begin_s >= over_s - 1e-9) & (course.backlog <= 2 * bench.performance.workers))
    drained = round(float(course.begin_s[calm[0]]) + 0.1 - over_s, 3) if len(calm) else None
    note = "" if len(calm) else "the backlog never went back to twice the number of workers"
    figures = [*_load_figures(run), Figure(name="drained", value=drained, unit="s", better="lower", note=note)]
    return measured(bench, [run], figures, {"drained": bench.objectives.spike_drain_s}, {"response": response_ns(run)})


def mixed(bench: Bench) -> Measured:
    """Single predictions and batches, three to one, at 300 operations a second for a minute."""
    wanted = bench.objectives
    objectives = [p99("predict") < _s(wanted.predict_p99_ms), p99("batch") < _s(wanted.batch_p99_ms)]
    return _scenario(bench, "mixed", hold(MIXED_PER_S, "1m"), objectives, {"predict": 3.0, "batch": 1.0}, by_kind=True)


def failures(bench: Bench) -> Measured:
    """The sustained load for a minute, with one worker killed, later one stopped, later half of them killed."""
    wanted = bench.objectives
    rate = bench.performance.sustained_per_s
    shape = (
        hold(rate, "15s")
        >> fault("kill", coincide="any" if bench.experiment.layer == 1 else "in-flight")
        >> hold(rate, "15s")
        >> fault("kill", share=0.5, coincide="any" if bench.experiment.layer == 1 else "in-flight")
        >> hold(rate, "30s")
    )
    objectives = [
        p99() < _s(wanted.failures_p99_ms),
        recovery("steady") < _s(wanted.failures_steady_ms),
    ]
    return _scenario(bench, "failures", shape, objectives, Mix(weights=MIX, idempotent=1.0))


def _s(ms: float) -> float:
    return ms / 1e3


def _scenario(
    bench: Bench,
    name: str,
    shape: Shape,
    objectives: list[Objective],
    mix: Mix | Mapping[str, float] = MIX,
    *,
    by_kind: bool = False,
) -> Measured:
    run = _run_scenario(bench, name, shape, objectives, mix)
    return measured(bench, [run], _load_figures(run, tuple(MIX) if by_kind else ()), {}, {"response": response_ns(run)})


def _run_scenario(
    bench: Bench, name: str, shape: Shape, objectives: list[Objective], mix: Mix | Mapping[str, float] = MIX
) -> Run:
    wanted = bench.objectives
    # Virtual time costs nothing: layer 1 always has the whole of it.
    is_whole = bench.is_full or bench.experiment.layer == 1
    # In less time, but with operations enough for each of the objectives to be told.
    scale = 1.0 if is_whole else min(1.0, max(bench.performance.time_scale, _ENOUGH / shape.operations))
    common = [completed() >= wanted.completed, own_lag() < _s(wanted.lag_p99_ms)]
    return bench.run(
        name,
        shape if scale == 1 else shape.compressed(scale),
        mix,
        objectives=[*objectives, *common],
        arrivals="poisson",
    )


def _load_figures(run: Run, kinds: tuple[str, ...] = ()) -> list[Figure]:
    load = run.load
    figures = [
        Figure(name="offered", value=load.offered, unit="", better="higher"),
        Figure(
            name="completed",
            value=load.completed / load.offered if load.offered else None,
            unit="of those",
            better="higher",
        ),
        Figure(name="unresolved", value=load.unresolved, unit="", better="lower"),
    ]
    for kind in ("", *kinds):
        told = run.of_kind(kind).response_ms if kind else load.response_ms
        prefix = f"{kind} " if kind else ""
        figures += [
            Figure(name=f"{prefix}response {name}", value=told[name], unit="ms", better="lower")
            for name in ("p50", "p90", "p95", "p99", "max")
        ]
    figures.append(Figure(name="own lag p99", value=load.lag_ms["p99"], unit="ms", better="lower"))
    found = run.outcome.recovery
    if found is not None:
        for name in ("detect", "capacity", "steady"):
            value = getattr(found, f"{name}_ms")
            figures.append(Figure(name=f"recovery: {name}", value=value, unit="ms", better="lower"))
    used = [sample.memory_bytes for sample in run.history.samples]
    figures.append(
        Figure(
            name="memory of all processes",
            value=round(max(used) / 1e6, 1) if used else None,
            unit="MB",
            better="lower",
            note="" if used else "layer 1 simulates no memory",
        )
    )
    return figures
