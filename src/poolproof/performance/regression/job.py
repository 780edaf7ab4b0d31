"""A job: base and head measured in turns, A B B A …, and looked at until all is decided, or the time is over."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from poolproof.performance.regression import rule
from poolproof.performance.regression.comparison import Judgement, Verdict
from poolproof.performance.regression.rounds import PATIENCE_S, Round, Side, run_round

SECONDS: Final = 50.0
WORKERS: Final = 2
BASE: Final = 0
HEAD: Final = 1

Measure = Callable[[int, tuple[str, ...]], Round]
"""Has one round of these metrics measured, of BASE or HEAD."""

Watcher = Callable[[int, int, tuple[str, ...]], None]
"""Told before each pair: its number, the most there will be, and the metrics that are undecided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What a job found: each metric, how many pairs were taken, and how long that took."""

    metrics: tuple[Judgement, ...]
    pairs: int
    seconds: float


class Record:
    """The figures of both sides so far: the same metrics were measured on both in each pair."""

    def __init__(self, margins: tuple[rule.Margin, ...]) -> None:
        self._margins = margins
        self._figures: list[list[list[float]]] = [[], []]
        self._absent: list[dict[str, str]] = [{}, {}]

    def add(self, side: int, figures: Mapping[str, float], absent: Mapping[str, str]) -> None:
        """Take down one round of the base (0) or the head (1)."""
        self._figures[side].append([figures.get(margin.metric, np.nan) for margin in self._margins])
        self._absent[side].update(absent)

    @property
    def figures(self) -> tuple[rule.Floats, rule.Floats]:
        """The base's and the head's, each of shape (metrics, pairs)."""
        base, head = (np.array(found, float).reshape(-1, len(self._margins)).T for found in self._figures)
        return base, head

    def why_absent(self, side: int, metric: str) -> str:
        """Why a side has no such figure, in its own words."""
        return self._absent[side].get(metric, "no round gave one")


def run_job(
    base: Side,
    head: Side,
    *,
    workers: int = WORKERS,
    seconds: float = SECONDS,
    patience_s: float = PATIENCE_S,
    until_first: bool = False,
    watcher: Watcher = lambda *_: None,
) -> Verdicts:
    """Measure both in turns, in fresh processes, until every metric is decided, or there were pairs or seconds enough.

    Args:
        base: who is measured as the base.
        head: who is measured as the head.
        workers: of each pool.
        seconds: when to stop; a pair that is begun is ended.
        patience_s: how long a round may take.
        until_first: stop once a metric has regressed, which decides the verdict; the others may stay undecided.
        watcher: told of each pair.

    Raises:
        TargetError: a side can't be loaded or driven, its process died, or it hung.
    """
    with tempfile.TemporaryDirectory(prefix="poolproof-regress-") as folder:

        def measure(side: int, metrics: tuple[str, ...]) -> Round:
            return run_round((base, head)[side], metrics, workers=workers, at=Path(folder), patience_s=patience_s)

        return take_turns(measure, seconds=seconds, until_first=until_first, watcher=watcher)


def take_turns(
    measure: Measure,
    *,
    seconds: float = SECONDS,
    margins: tuple[rule.Margin, ...] = rule.MARGINS,
    looks: tuple[rule.Look, ...] = rule.LOOKS,
    until_first: bool = False,
    watcher: Watcher = lambda *_: None,
    clock: Callable[[], float] = time.monotonic,
) -> Verdicts:
    """As `run_job`, with rounds from anywhere; the look when the time is over has a share of the error rate as well."""
    record = Record(margins)
    standing = rule.undecided(len(margins))
    wanted = tuple(margin.metric for margin in margins)
    began, pairs, longest_s = clock(), 0, 0.0
    for look in looks:
        while pairs < look.pairs and clock() - began + longest_s <= seconds:
            watcher(pairs, looks[-1].pairs, wanted)
            pair_began = clock()
            for side in (BASE, HEAD) if pairs % 2 == 0 else (HEAD, BASE):
                told = measure(side, wanted)
                record.add(side, told.figures, told.absent)
            pairs += 1
            longest_s = max(longest_s, clock() - pair_began)
        if pairs:
            standing = rule.take_look(standing, margins, *record.figures, share=look.share)
        wanted = _still_wanted(margins, standing, record)
        if not wanted or pairs < look.pairs or (until_first and (standing.verdicts == rule.REGRESSED).any()):
            break
    metrics = tuple(_judge(number, margin, standing, record) for number, margin in enumerate(margins))
    return Verdicts(metrics=metrics, pairs=pairs, seconds=clock() - began)


def _still_wanted(margins: tuple[rule.Margin, ...], standing: rule.Standing, record: Record) -> tuple[str, ...]:
    """Those that are undecided, but for what a side has never had a figure of."""
    base, head = record.figures
    never = [bool(np.isnan(one).all() or np.isnan(other).all()) for one, other in zip(base, head, strict=True)]
    return tuple(
        margin.metric
        for number, margin in enumerate(margins)
        if standing.verdicts[number] == rule.UNDECIDED and not never[number]
    )


def _judge(number: int, margin: rule.Margin, standing: rule.Standing, record: Record) -> Judgement:
    base, head = (figures[number : number + 1] for figures in record.figures)
    has_base, has_head = ~np.isnan(base[0]), ~np.isnan(head[0])
    both = has_base & has_head
    verdict, why = _verdict(margin, int(standing.verdicts[number]), record, base[0], head[0])
    made = Judgement(
        metric=margin.metric,
        what=margin.what,
        unit=margin.unit,
        better=margin.better,
        verdict=verdict,
        margin=margin.relative,
        floor=margin.floor,
        pairs=int(both.sum()),
        base=float(np.median(base[0][has_base])) if has_base.any() else None,
        head=float(np.median(head[0][has_head])) if has_head.any() else None,
        why=why,
    )
    if both.sum() < _FEWEST:
        return made
    logs = np.log(head[0][both] / base[0][both])
    own = rule.controls(base, head)[0]
    own = own[~np.isnan(own)]
    low, high = rule.interval(logs)
    noise = max(map(abs, rule.interval(own))) if len(own) >= _FEWEST else None
    p_control = _number(standing.p_control[number])
    if verdict == "inconclusive" and not why and noise is not None:
        if p_control is None or p_control > rule.CONTROL_RATE:
            why = f"too noisy to judge: the same code differs from itself by up to {np.expm1(noise):.0%}"
        else:
            why = "its interval reaches to either side of the margin; give it more --seconds, or a quieter machine"
    return msgspec.structs.replace(
        made,
        ratio=float(np.exp(rule.estimate(logs))),
        low=float(np.exp(low)),
        high=float(np.exp(high)),
        noise=None if noise is None else float(np.expm1(noise)),
        p_worse=_number(standing.p_worse[number]),
        p_within=_number(standing.p_within[number]),
        p_control=p_control,
        why=why,
    )


_FEWEST: Final = 3
"""Fewer say nothing about a centre."""


def _verdict(
    margin: rule.Margin, decided: int, record: Record, base: rule.Floats, head: rule.Floats
) -> tuple[Verdict | None, str]:
    """The verdict on one metric, and what stood in the way of another."""
    if decided:
        return ("pass" if decided == rule.PASS else "regressed"), ""
    lacks_base, lacks_head = np.isnan(base), np.isnan(head)
    if not len(base):
        return "inconclusive", "no pair was measured in the time there was; give it more --seconds"
    if lacks_base.all() and lacks_head.all():
        return None, f"not there on either side: {record.why_absent(0, margin.metric)}"
    if lacks_base.all():
        return None, f"only head has it; base: {record.why_absent(0, margin.metric)}"
    if lacks_head.all() and not lacks_base.any() and len(base) >= rule.LOOKS[0].pairs:
        # No statistics needed: what each of ten rounds or more had, none has any more.
        return "regressed", f"base has it and head does not: {record.why_absent(1, margin.metric)}"
    if lacks_base.any() or lacks_head.any():
        side = 0 if lacks_base.any() else 1
        return "inconclusive", (
            f"of {len(base)} rounds, {int(lacks_base.sum())} of base and {int(lacks_head.sum())} of head "
            f"gave no figure: {record.why_absent(side, margin.metric)}"
        )
    if len(base) < rule.LOOKS[0].pairs:
        return "inconclusive", f"{len(base)} pairs are too few; give it more --seconds"
    return "inconclusive", ""


def _number(p: float) -> float | None:
    return None if np.isnan(p) else float(p)
