"""The rule by which base and head are told apart: figures of pairs of rounds → verdicts, with errors that are known.

A *pair* is one round of either side, neighbours in time; which of them is first changes from pair to pair: A B B A A B.
Of each metric a pair gives one number, the logarithm of the *ratio* head to base, turned so that more is worse. They
are symmetric about the true ratio as long as both sides meet the same noise, whatever its shape; more is not assumed.

At each of a few planned *looks* two one-sided signed-rank tests ask of each metric whether it is worse by more than its
margin (`regressed`), or by less (`pass`); both under Holm's correction over the metrics, and with a share of the error
rate that all looks together do not exceed. So a job calls something regressed that is not, or passes something that is
worse by its margin, in at most 5 % of all cases each, however many metrics and looks there are.

Where neighbouring pairs meet, the same side is measured twice: that is the *control arm*, which costs nothing more.
Two one-sided tests have to show that a side equals itself within the margin; on a machine where that can't be shown, or
is not so, nothing is told of that metric.

Pure: numpy and scipy. All functions take any number of jobs at once, along leading axes; a missing figure is a NaN.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

Floats = NDArray[np.float64]
Side = Literal["greater", "less"]

UNDECIDED: Final = 0
PASS: Final = 1
REGRESSED: Final = 2

ERROR_RATE: Final = 0.05
"""Of either error, over all metrics and looks of one job."""
CONTROL_RATE: Final = 0.05
"""How often a machine that is too noisy may pass for one that is not, at one look."""
LEVEL: Final = 0.95
"""Of the intervals, each for its metric alone: they are shown, and decide nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """By how much a metric may get worse.

    Attributes:
        metric: its name.
        what: what it is, in words.
        unit: of its figures and of the floor.
        better: which figures are better.
        relative: the share of the base's figure by which it may get worse.
        floor: a smaller change is none, however large a share it is.
    """

    metric: str
    what: str
    unit: str
    better: Literal["lower", "higher"] = "lower"
    relative: float
    floor: float

    @property
    def sign(self) -> int:
        """What turns the logarithm of a ratio so that more is worse."""
        return 1 if self.better == "lower" else -1


MARGINS: Final = (
    Margin(metric="p50", what="round trip, p50", unit="us", relative=0.10, floor=2.0),
    Margin(metric="p99", what="round trip, p99", unit="us", relative=0.30, floor=10.0),
    Margin(metric="throughput", what="throughput", unit="op/s", better="higher", relative=0.10, floor=100.0),
    Margin(metric="recovery", what="recovery", unit="ms", relative=0.30, floor=2.0),
    Margin(metric="memory", what="memory", unit="MiB", relative=0.10, floor=0.5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One planned look.

    Attributes:
        pairs: after how many pairs it is taken.
        share: its share of the error rate; those of all looks are 1 together.
    """

    pairs: int
    share: float


LOOKS: Final = (
    Look(pairs=10, share=0.10),
    Look(pairs=15, share=0.12),
    Look(pairs=22, share=0.15),
    Look(pairs=32, share=0.18),
    Look(pairs=46, share=0.20),
    Look(pairs=64, share=0.25),
)
"""Later ones have more, for those are the jobs that need it. Of fewer pairs than ten nothing could be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What was decided so far; each field has the shape (…, metrics).

    Attributes:
        verdicts: UNDECIDED, PASS or REGRESSED; what is decided stays so.
        p_worse: of the test that it is worse by more than the margin, as of the look that decided, or the last.
        p_within: of the test that it is worse by less.
        p_control: of the test that either side equals itself within the margin.
    """

    verdicts: NDArray[np.int8]
    p_worse: Floats
    p_within: Floats
    p_control: Floats


def undecided(*shape: int) -> Standing:
    """The standing before the first look; the last number is that of the metrics."""
    unknown = np.full(shape, np.nan)
    return Standing(
        verdicts=np.zeros(shape, np.int8), p_worse=unknown, p_within=unknown.copy(), p_control=unknown.copy()
    )


def take_look(standing: Standing, margins: tuple[Margin, ...], base: Floats, head: Floats, *, share: float) -> Standing:
    """Decide what can be decided after the pairs so far.

    Args:
        standing: what was decided before.
        margins: of each metric.
        base: its figures, of shape (…, metrics, pairs), in the order in which they were taken.
        head: the same, of the other side.
        share: this look's share of the error rate.
    """
    is_open = standing.verdicts == UNDECIDED
    limits = thresholds(margins, base)[is_open]
    ratios, control = log_ratios(margins, base, head)[is_open], controls(base, head)[is_open]
    p_worse, p_within, p_control = (p.copy() for p in (standing.p_worse, standing.p_within, standing.p_control))
    p_worse[is_open] = _p(ratios, limits, "greater")
    p_within[is_open] = _p(ratios, limits, "less")
    p_control[is_open] = np.maximum(_p(control, limits, "less"), _p(control, -limits, "greater"))
    can_tell = is_open & (p_control <= CONTROL_RATE)
    verdicts = standing.verdicts.copy()
    verdicts[can_tell & holm(p_worse, share * ERROR_RATE)] = REGRESSED
    verdicts[can_tell & holm(p_within, share * ERROR_RATE)] = PASS
    return Standing(verdicts=verdicts, p_worse=p_worse, p_within=p_within, p_control=p_control)


def log_ratios(margins: tuple[Margin, ...], base: Floats, head: Floats) -> Floats:
    """What each pair says: the logarithm of head to base, more being worse; shapes as in `take_look`."""
    made: Floats = np.array([margin.sign for margin in margins])[:, None] * np.log(head / base)
    return made


def controls(base: Floats, head: Floats) -> Floats:
    """What each side says of itself where pairs meet, of shape (…, metrics, pairs - 1).

    The first pair is A B, the second B A, so B meets itself there, and A next. Every two the sign changes, or a machine
    that slows down during the job would count against it, which it does not count for in the pairs either.
    """
    meets_head = np.arange(base.shape[-1] - 1) % 2 == 0
    ratio = np.where(meets_head, head[..., 1:] / head[..., :-1], base[..., 1:] / base[..., :-1])
    made: Floats = np.log(ratio) * np.where(np.arange(ratio.shape[-1]) // 2 % 2, -1, 1)
    return made


def thresholds(margins: tuple[Margin, ...], base: Floats) -> Floats:
    """The log-ratio beyond which a metric is worse than it may be, of shape (…, metrics).

    That is the margin, or the floor as a share of what the base has, whichever is more.
    """
    relative = np.array([margin.relative for margin in margins])
    floors = np.array([margin.floor for margin in margins])
    signs = np.array([margin.sign for margin in margins])
    shares = np.maximum(relative, floors / np.median(base, axis=-1))
    # What is better when higher falls: by no more than all of it.
    made: Floats = signs * np.log(np.maximum(1 + signs * shares, 1e-9))
    return made


def holm(p: Floats, alpha: float) -> NDArray[np.bool_]:
    """Which hypotheses fall, by Holm's step-down method, with at most `alpha` of a false one among those of a job.

    Those without a p value (NaN) were not tested and are not counted. S. Holm, "A simple sequentially rejective
    multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    order = np.argsort(p, axis=-1)  # what was not tested comes last
    ranked = np.take_along_axis(p, order, axis=-1)
    left = np.sum(~np.isnan(p), axis=-1, keepdims=True) - np.arange(p.shape[-1])
    falls = np.logical_and.accumulate(ranked * left <= alpha, axis=-1)
    made = np.zeros(p.shape, np.bool_)
    np.put_along_axis(made, order, falls, axis=-1)
    return made


def estimate(logs: Floats) -> float:
    """The centre of one metric's log-ratios: the median of the means of all two of them (Hodges and Lehmann, 1963)."""
    return float(np.median(_means(logs)))


def interval(logs: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The centres that the signed-rank test does not reject, of one metric's log-ratios: the test turned round."""
    means = np.sort(_means(logs))
    between = (means[1:] + means[:-1]) / 2  # where the test's p value does not change, and no difference is zero
    alpha = (1 - level) / 2

    def first(side: Side) -> int:
        """How many of those in between are rejected, from the side where that is surest."""
        rejected, open_ = 0, len(between)
        while rejected < open_:
            middle = (rejected + open_) // 2
            at = between[middle if side == "greater" else -1 - middle]
            if _p(logs[None], np.array([at]), side)[0] <= alpha:
                rejected = middle + 1
            else:
                open_ = middle
        return rejected

    return float(means[first("greater")]), float(means[-1 - first("less")])


def _means(logs: Floats) -> Floats:
    rows, columns = np.triu_indices(len(logs))
    made: Floats = (logs[rows] + logs[columns]) / 2
    return made


def _p(logs: Floats, limits: Floats, side: Side) -> Floats:
    """Of the signed-rank test that rows (rows, pairs) lie on that side of their limits; NaN where one has a gap."""
    made = np.full(len(logs), np.nan)
    whole = ~np.isnan(logs).any(axis=-1)
    if whole.any() and logs.shape[-1]:
        # Exact also where figures are equal: for so few numbers the other ways are no better founded.
        found: Any = wilcoxon(logs[whole] - limits[whole, None], alternative=side, method="exact", axis=-1)
        made[whole] = found.pvalue
    return made
