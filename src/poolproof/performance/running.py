"""The standard set run on one layer: each benchmark's figures judged, described with its machine, and remembered."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from poolproof.checks import Verdict
from poolproof.experiment import Experiment, Watcher
from poolproof.figures import Judged
from poolproof.performance import machine
from poolproof.performance.baselines import Baselines
from poolproof.performance.bench import Bench, Measured
from poolproof.performance.results import Result
from poolproof.performance.standard import Standard, find_standard
from poolproof.performance.trends import Change, trend


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A figure that has changed in the course of its history on this machine: advice, and no verdict."""

    figure: str
    change: Change

    def describe(self) -> str:
        """What changed, by how much, and where to look for it."""
        it = self.change
        where = f"between {it.commits}" if it.commits else it.note
        return (
            f"{self.figure} became {it.direction} by {abs(it.ratio - 1):.0%} ({it.before:.4g} to {it.after:.4g} "
            f"{it.unit}), first seen at {it.since}, {where}"
        )


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark's result, how it stands to its objectives, and what its history says."""

    verdict: Verdict
    judged: tuple[Judged, ...]
    result: Result
    changed: tuple[Changed, ...] = ()


def run_standard(
    experiment: Experiment,
    names: tuple[str, ...] = (),
    *,
    is_full: bool = False,
    baselines: Baselines | None = None,
    begun: Callable[[Standard], object] = lambda _: None,
    watcher: Watcher = lambda *_: None,
) -> Iterator[Judgement]:
    """Run benchmarks of the standard set, one after the other; each is told as soon as it is known.

    Args:
        experiment: the layer, the seed and the pool.
        names: of benchmarks; none for all.
        is_full: at full length and in real time.
        baselines: where results are kept; None for nowhere.
        begun: told of each before it begins.
        watcher: told of the progress of its runs.

    Raises:
        UsageError: there is no such benchmark, or the pool can't be measured at it.
        BaselineError: the results can't be kept.
    """
    chosen = find_standard(names, experiment.target)
    bench = Bench(experiment=experiment, is_full=is_full, watcher=watcher)
    described = machine.describe()
    for standard in chosen:
        begun(standard)
        measured = standard.measure(bench)
        result = _result(standard, bench, measured, described)
        if baselines is not None:
            baselines.add(result)
        changed = () if baselines is None else tuple(_changes(baselines, result))
        yield Judgement(verdict=measured.verdict, judged=measured.judged, result=result, changed=changed)


def _changes(baselines: Baselines, result: Result) -> Iterator[Changed]:
    """The last change of each figure of a benchmark."""
    for figure in result.figures:
        history = baselines.history(
            result.benchmark,
            figure.name,
            target=result.target,
            layer=result.layer,
            workers=result.workers,
            is_full=result.is_full,
            fingerprint=result.fingerprint,
        )
        changes = trend(history).changes
        if changes:
            yield Changed(figure=figure.name, change=changes[-1])


def _result(standard: Standard, bench: Bench, measured: Measured, described: dict[str, str]) -> Result:
    commit, is_dirty = machine.commit_of(Path.cwd())
    target = bench.experiment.target
    return Result(
        benchmark=standard.name,
        target=target if isinstance(target, str) else getattr(target, "__qualname__", repr(target)),
        layer=bench.experiment.layer,
        workers=bench.performance.workers,
        is_full=bench.is_full,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit,
        is_dirty=is_dirty,
        machine=described,
        fingerprint=machine.fingerprint(described),
        figures=measured.figures,
        histograms=measured.histograms,
        notes=measured.notes,
    )
