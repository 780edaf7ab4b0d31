"""The standard set: what every pool is measured at, each benchmark by its name, judged by the configured objectives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec
import numpy as np

from poolproof.checks import Verdict, worst
from poolproof.config import Objectives, Performance, Service
from poolproof.errors import UsageError
from poolproof.experiment import COUNTED, Experiment, Run, Watcher
from poolproof.figures import Judged
from poolproof.history import Outcome, Phase
from poolproof.load import Mix, Shape, fault, hold, ramp, users
from poolproof.performance import histograms
from poolproof.performance.results import Figure
from poolproof.plan import Objective, completed, own_lag, p99, recovery
from poolproof.statistics import QUANTILES, percentile

MIX: Final = {"predict": 9.0, "batch": 1.0}
SPIKE_PER_S: Final = (100.0, 2000.0)
RAMP_TO_PER_S: Final = 1000.0
MIXED_PER_S: Final = 300.0
SESSIONS: Final = 1_000
_ROOM: Final = 10_000
"""How many operations may wait: a spike is to be absorbed, not refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all benchmarks of one layer are measured with.

    Attributes:
        experiment: the layer, the seed and the pool.
        is_full: measure at full length and in real time.
        watcher: told of the progress.
    """

    experiment: Experiment
    is_full: bool = False
    watcher: Watcher = lambda *_: None

    @property
    def performance(self) -> Performance:
        """What is worked on."""
        return self.experiment.effective.config.performance

    @property
    def objectives(self) -> Objectives:
        """What it is to come to."""
        return self.experiment.effective.config.objectives

    def lasting(self, quick: float, full: float) -> float:
        """Seconds: the one or the other."""
        return full if self.is_full else quick

    def run(self, name: str, shape: Shape, mix: Mix | Mapping[str, float] | None = None, **terms: Any) -> Run:
        """Run one load on a fresh pool."""
        service = Service(predict_ms=self.performance.predict_ms, batch_ms=self.performance.batch_ms)
        experiment = self.experiment.with_config(service=service)
        room = {"max_queue": _ROOM} if self.experiment.target == "sessionpool" else {}
        began = datetime.now(UTC)
        run = experiment.run(
            shape,
            mix,
            name=name,
            watcher=self.watcher,
            workload=terms.pop("workload", self.performance.workload),
            workers=terms.pop("workers", self.performance.workers),
            options={**room, **terms.pop("options", {})},
            **terms,
        )
        if experiment.report is not None:
            _write_log(experiment.report / f"{name}.hlog", run, began)
        return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one benchmark came to.

    Attributes:
        figures: by name.
        judged: those that have an objective.
        histograms: what is kept of the times, by name: HdrHistogram V2, base64.
        notes: what a reader of the figures has to know.
    """

    figures: tuple[Figure, ...]
    judged: tuple[Judged, ...]
    histograms: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of its judgements."""
        return worst(it.verdict for it in self.judged)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """One benchmark of the set.

    Attributes:
        of: the targets that can be measured at it; none for all.
    """

    name: str
    description: str
    measure: Callable[[Bench], Measured]
    of: tuple[str, ...] = ()

    def unfit(self, target: object) -> str:
        """Why a target can't be measured at it; empty where it can."""
        if not self.of or target in self.of:
            return ""
        return f"{self.name}: only {', '.join(self.of)}, of the pools that are bundled, can be told how small it may be"


# --- single operations ------------------------------------------------------------------------------------------


def latency(bench: Bench) -> Measured:
    """One operation at a time: what a caller waits for who has the pool for himself."""
    run = bench.run(
        "latency",
        users(1, bench.lasting(3, 15)),
        workload=_lightest(bench),
        workers=2,
        arrivals="constant",
        warm_up=200,
    )
    times = _waited_ns(run)
    wanted = bench.objectives
    figures = _percentiles("latency", times)
    return _measured(
        bench,
        [run],
        figures,
        {"latency p50": wanted.latency_p50_ms, "latency p99": wanted.latency_p99_ms},
        {"latency": times},
    )


def throughput(bench: Bench) -> Measured:
    """As many operations as there can be: four users for each worker, who never think."""
    workers = bench.performance.workers
    shape = users(4 * workers, bench.lasting(3, 15))
    run = bench.run("throughput", shape, workload=_lightest(bench), arrivals="constant", warm_up=200)
    figures = [
        Figure(name="throughput", value=run.load.throughput, unit="/s", better="higher"),
        *_percentiles("latency", _waited_ns(run)),
    ]
    return _measured(bench, [run], figures, {"throughput": bench.objectives.throughput_per_s})


def initialisation(bench: Bench) -> Measured:
    """From the making of a pool until its first answer, over and over; imports and the setup of the work included."""
    experiment = bench.experiment
    plan = experiment.plan(
        hold(1, 1), workload=bench.performance.workload, workers=bench.performance.workers, name="initialisation"
    )
    scenario = msgspec.structs.replace(plan.scenario, stages=("cycles",) * (3 if bench.is_full else 1))
    run = experiment.carry_out(msgspec.structs.replace(plan, scenario=scenario), watcher=bench.watcher)
    took_s = [event.value for event in run.history.lifecycle if event.event == "ready" and event.value is not None]
    # The first pool of a process imports what the others find imported.
    later = took_s[1:]
    figures = [
        Figure(name="first pool ready", value=took_s[0] if took_s else None, unit="s", better="lower"),
        Figure(name="pool ready", value=median(later) if later else None, unit="s", better="lower"),
    ]
    return _measured(bench, [run], figures, {"pool ready": bench.objectives.initialisation_s})


# --- sessions ---------------------------------------------------------------------------------------------------


def affinity(bench: Bench) -> Measured:
    """The price of looking a session up: operations with and without one, alternately, each with a fresh pool."""
    count = 3_000 if bench.is_full else 1_000
    medians: dict[bool, list[float | None]] = {False: [], True: []}
    runs: list[Run] = []
    for has_sessions in (False, True, True, False) * (2 if bench.is_full else 1):
        run = bench.run(
            f"affinity-{len(runs)}",
            users(1, 60.0, turns=count + SESSIONS),
            Mix(sessions=SESSIONS) if has_sessions else None,
            workload=_lightest(bench),
            workers=2,
            arrivals="constant",
        )
        runs.append(run)
        # The first operation of a session makes it; what is looked up is there already.
        times = _waited_ns(run, known_sessions=has_sessions)
        value = percentile(times, 0.5)
        medians[has_sessions].append(None if value is None else value / 1e6)
    pairs = [(a, b) for a, b in zip(medians[True], medians[False], strict=True) if a is not None and b]
    figures = [
        Figure(name="without sessions p50", value=_middle(medians[False]), unit="ms", better="lower"),
        Figure(name="with sessions p50", value=_middle(medians[True]), unit="ms", better="lower"),
        Figure(
            name="price of affinity",
            value=round(median(a / b for a, b in pairs), 4) if pairs else None,
            unit="×",
            better="lower",
        ),
    ]
    return _measured(bench, runs, figures, {"price of affinity": bench.objectives.affinity_price})


def scaling(bench: Bench) -> Measured:
    """From more work than the smallest pool can do until the largest is at it, and from the end of it back again."""
    workers = min(bench.performance.workers, 4)
    calm, busy, after = 2.0, 2.0, 4.0
    shape = hold(5, calm) >> hold(workers / _WAIT_S * 0.9, busy) >> hold(5, after)
    options = {"min_workers": 1, "grow_s": 0.05, "shrink_s": 0.5}
    run = bench.run("scaling", shape, workload="waits", workers=workers, options=options, arrivals="constant")
    history, origin = run.history, run.history.origin
    pressed, relieved = origin + round(calm * 1e9), origin + round((calm + busy) * 1e9)
    executions = history.executions
    began: dict[tuple[int, int], int] = {}
    rows = zip(executions.pid.tolist(), executions.start_time.tolist(), executions.started.tolist(), strict=True)
    for pid, start_time, started in rows:
        began.setdefault((pid, start_time), started)
    new = sorted(at for at in began.values() if pressed <= at < relieved)
    grown = new[workers - 2] if len(new) >= workers - 1 else None
    gone = sorted(it.gone for it in history.incarnations if (it.pid, it.start_time) in began and it.gone > relieved)
    end = history.last("stage-ended", "load")
    gone = [at for at in gone if end is None or at < end.at]
    shrunk = gone[workers - 2] if len(gone) >= workers - 1 else None
    figures = [
        Figure(
            name="grown",
            value=None if grown is None else round((grown - pressed) / 1e9, 4),
            unit="s",
            better="lower",
            note="" if grown is not None else f"{len(new)} of {workers - 1} more workers began an operation",
        ),
        Figure(
            name="shrunk",
            value=None if shrunk is None else round((shrunk - relieved) / 1e9, 4),
            unit="s",
            better="lower",
            note="" if shrunk is not None else f"{len(gone)} of {workers - 1} workers had left",
        ),
    ]
    return _measured(
        bench,
        [run],
        figures,
        {"grown": bench.objectives.grow_s, "shrunk": bench.objectives.shrink_s},
        notes=(f"workers leave after idling for {options['shrink_s']} s",),
    )


# --- load scenarios ---------------------------------------------------------------------------------------------


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
    return _measured(
        bench, [run], figures, {"drained": bench.objectives.spike_drain_s}, {"response": _response_ns(run)}
    )


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


STANDARD: Final[dict[str, Standard]] = {
    name: Standard(
        name=name,
        description=(measure.__doc__ or "").strip(),
        measure=measure,
        of=("sessionpool",) if measure is scaling else (),
    )
    for name, measure in {
        "latency": latency,
        "throughput": throughput,
        "initialisation": initialisation,
        "affinity": affinity,
        "scaling": scaling,
        "ramp": ramp_up,
        "sustained": sustained,
        "spike": spike,
        "mixed": mixed,
        "failures": failures,
    }.items()
}
"""Every benchmark of the set, in the order in which they are run."""

SCENARIOS: Final = ("ramp", "sustained", "spike", "mixed", "failures")
"""Those that are load scenarios."""


def find_standard(names: tuple[str, ...], target: object) -> tuple[Standard, ...]:
    """The named benchmarks, in their own order; or all at which a target can be measured.

    Raises:
        UsageError: there is none of such a name, or the target can't be measured at one that is named.
    """
    unknown = [name for name in names if name not in STANDARD]
    if unknown:
        raise UsageError(f"unknown benchmark {unknown[0]!r}: name one of {', '.join(STANDARD)}")
    for name in names:
        if why := STANDARD[name].unfit(target):
            raise UsageError(why)
    return tuple(it for name, it in STANDARD.items() if name in names or (not names and not it.unfit(target)))


# --- figures ----------------------------------------------------------------------------------------------------

_WAIT_S: Final = 0.020
_ENOUGH: Final = 1_500.0
"""How many operations of a load scenario are to be offered at least."""


def _s(ms: float) -> float:
    return ms / 1e3


def _lightest(bench: Bench) -> str:
    """Work that takes no time where work can be scripted; else the lightest that is real."""
    return bench.performance.workload if bench.experiment.layer == 3 else "answers"


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
    return _measured(
        bench, [run], _load_figures(run, tuple(MIX) if by_kind else ()), {}, {"response": _response_ns(run)}
    )


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


def _percentiles(what: str, times_ns: np.ndarray) -> list[Figure]:
    figures = []
    for name, quantile in QUANTILES.items():
        value = percentile(times_ns, quantile)
        ms = None if value is None else round(value / 1e6, 4)
        figures.append(Figure(name=f"{what} {name}", value=ms, unit="ms", better="lower"))
    return figures


def _response_ns(run: Run) -> np.ndarray:
    operations = run.history.operations
    good = run.history.in_phase(Phase.MEASURED) & run.history.ended(Outcome.OK, Outcome.USER_ERROR)
    return np.asarray((operations.done - operations.due)[good & (operations.due > 0)])


def _write_log(path: Path, run: Run, began: datetime) -> None:
    """Beside the run's folder: its response times by the second in which they were due, as other tools read them."""
    operations = run.history.operations
    good = run.history.in_phase(Phase.MEASURED) & run.history.ended(Outcome.OK, Outcome.USER_ERROR)
    due = operations.due[good & (operations.due > 0)]
    if len(due):
        histograms.write_log(path, due, _response_ns(run), interval_s=1.0, began=began)


def _waited_ns(run: Run, *, known_sessions: bool = False) -> np.ndarray:
    """From the call of submit until the end was seen, ns: what a caller waits for, without the generator's own part."""
    operations = run.history.operations
    good = run.history.in_phase(Phase.MEASURED) & run.history.ended(Outcome.OK)
    if known_sessions:
        good &= operations.session_seq > 0
    return np.asarray((operations.done - operations.sent)[good])


def _middle(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 4) if known else None


def _measured(
    bench: Bench,
    runs: list[Run],
    figures: list[Figure],
    bounds: Mapping[str, float],
    times_ns: Mapping[str, np.ndarray] | None = None,
    notes: tuple[str, ...] = (),
) -> Measured:
    judged = [it for run in runs for it in run.objectives]
    by_name = {figure.name: figure for figure in figures}
    judged += [_against(by_name[name], bound) for name, bound in bounds.items()]
    for run in runs:
        judged += _kept_promises(run)
    kept = {name: histograms.encode(times) for name, times in (times_ns or {}).items() if len(times)}
    if bench.performance.workload == "linear" and runs:
        notes = (*notes, "real work: a linear classifier, a tenth of a millisecond each")
    return Measured(figures=tuple(figures), judged=tuple(judged), histograms=kept, notes=notes)


def _against(figure: Figure, bound: float) -> Judged:
    """A figure of a benchmark's own against its bound."""
    is_less = figure.better == "lower"
    verdict: Verdict = "unknown"
    margin = None
    if figure.value is not None:
        verdict = "kept" if (figure.value < bound if is_less else figure.value > bound) else "broken"
        margin = round((bound - figure.value if is_less else figure.value - bound) / bound, 4)
    return Judged(
        objective=f"{figure.name} {'<' if is_less else '>'} {bound:g} {figure.unit}".strip(),
        value=figure.value,
        bound=bound,
        unit=figure.unit,
        margin=margin,
        verdict=verdict,
        why=figure.note if figure.value is None else "",
    )


def _kept_promises(run: Run) -> list[Judged]:
    """A benchmark of a pool that breaks its promises meanwhile has measured something else."""
    return [
        Judged(
            objective=f"keeps {name}",
            value=None,
            bound=0.0,
            unit="",
            margin=None,
            verdict="broken",
            why="; ".join(it.text for it in promise.evidence[:2]),
        )
        for name, promise in run.proof.promises.items()
        if promise.verdict == "broken" and promise.made in COUNTED
    ]
