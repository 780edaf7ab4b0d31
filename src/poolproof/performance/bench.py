"""What benchmarks are measured with, and how their figures are judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from poolproof.checks import Verdict, worst
from poolproof.config import Objectives, Performance, Service
from poolproof.experiment import COUNTED, Experiment, Run, Watcher
from poolproof.figures import Judged
from poolproof.history import Outcome, Phase
from poolproof.load import Mix, Shape
from poolproof.performance import histograms
from poolproof.performance.results import Figure
from poolproof.statistics import QUANTILES, percentile

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


# --- figures of runs --------------------------------------------------------------------------------------------------


def lightest(bench: Bench) -> str:
    """Work that takes no time where work can be scripted; else the lightest that is real."""
    return bench.performance.workload if bench.experiment.layer == 3 else "answers"


def percentiles(what: str, times_ns: np.ndarray) -> list[Figure]:
    """The percentiles of times as figures, in ms, each by the name of what was timed and its own."""
    figures = []
    for name, quantile in QUANTILES.items():
        value = percentile(times_ns, quantile)
        ms = None if value is None else round(value / 1e6, 4)
        figures.append(Figure(name=f"{what} {name}", value=ms, unit="ms", better="lower"))
    return figures


def response_ns(run: Run) -> np.ndarray:
    """From when each completed operation was due until its end was seen, ns; shape (completed,)."""
    operations = run.history.operations
    good = run.history.in_phase(Phase.MEASURED) & run.history.ended(Outcome.OK, Outcome.USER_ERROR)
    return np.asarray((operations.done - operations.due)[good & (operations.due > 0)])


def _write_log(path: Path, run: Run, began: datetime) -> None:
    """Beside the run's folder: its response times by the second in which they were due, as other tools read them."""
    operations = run.history.operations
    good = run.history.in_phase(Phase.MEASURED) & run.history.ended(Outcome.OK, Outcome.USER_ERROR)
    due = operations.due[good & (operations.due > 0)]
    if len(due):
        histograms.write_log(path, due, response_ns(run), interval_s=1.0, began=began)


def waited_ns(run: Run, *, known_sessions: bool = False) -> np.ndarray:
    """From the call of submit until the end was seen, ns: what a caller waits for, without the generator's own part."""
    operations = run.history.operations
    good = run.history.in_phase(Phase.MEASURED) & run.history.ended(Outcome.OK)
    if known_sessions:
        good &= operations.session_seq > 0
    return np.asarray((operations.done - operations.sent)[good])


def measured(
    bench: Bench,
    runs: list[Run],
    figures: list[Figure],
    bounds: Mapping[str, float],
    times_ns: Mapping[str, np.ndarray] | None = None,
    notes: tuple[str, ...] = (),
) -> Measured:
    """What a benchmark came to: its figures judged by their bounds, its runs by their own objectives and promises.

    Args:
        bench: what it was measured with.
        runs: its runs.
        figures: what they showed.
        bounds: what some of the figures are to come to, by their names.
        times_ns: times of which a histogram is kept, by name.
        notes: what a reader of the figures has to know.
    """
    judged = [it for run in runs for it in run.objectives]
    by_name = {figure.name: figure for figure in figures}
    judged += [_against(by_name[name], bound) for name, bound in bounds.items()]
    for run in runs:
        judged += [*_effect_of_faults(run), *_kept_promises(run)]
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


def _effect_of_faults(run: Run) -> list[Judged]:
    """What was to be measured under harm was measured under harm, or it says nothing."""
    faults = run.outcome.faults
    if not run.history.plan.scenario.faults:
        return []
    missed = [f"{it.target}: {it.why}" for it in faults if it.effective != "yes"]
    wanted = range(len(run.history.plan.scenario.faults))
    missed += [f"fault {number} left no record" for number in {*wanted} - {it.fault for it in run.history.faults}]
    return [
        Judged(
            objective="every fault takes effect",
            value=None,
            bound=0.0,
            unit="",
            margin=None,
            verdict="unknown" if missed else "kept",
            why="; ".join(missed),
        )
    ]


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
