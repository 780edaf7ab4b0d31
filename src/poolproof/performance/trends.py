"""Trends: whether and where a figure's history changed, and between which commits; advice, and no verdict.

What was measured on different days differs by more than the code, so nothing fails by this. It names a range of commits
that is worth a comparison of two things measured alternately, which does judge.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from poolproof.performance.baselines import Point

if TYPE_CHECKING:
    from typing import TypeAlias

    Values: TypeAlias = npt.NDArray[np.float64]

LEAST_SIDE: Final = 3
"""A change has this many points on either side of it, on their own side of the middle between both medians."""

LEAST_SHARE: Final = 0.75
"""And this share of all: figures that alternate between two levels, as a machine's do, have no new one."""

LEAST_POINTS: Final = 10
"""With fewer, noise looks like a change too often, or a change would have to be enormous."""

MARGIN: Final = 0.05
"""A step smaller than this share is none."""

_NEWEST: Final = 200  # points that are looked at: what happened before them is nobody's news, and PELT grows with them
_QUIET: Final = 0.002  # noise is taken to be this share at least: figures are rounded, and four alike prove nothing
_PENALTY: Final = 3.0  # by which a change has to be better than none, times ln(points), in units of the noise
_CHANCE: Final = 0.01  # by which points may have come to their sides; 3 of 10 can, just so


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a figure.

    Attributes:
        direction: whether the figure became better or worse.
        before: the median from the change before (or the first point looked at) to this one, in `unit`.
        after: the median from this one to the next (or the last point), in `unit`.
        ratio: `after` to `before`.
        since: when the first point after it was measured.
        commits: the range in which it happened, "good..bad" as git takes it; empty where it is none: `note` says why.
        note: what a reader has to know of the range.
    """

    direction: Literal["better", "worse"]
    before: float
    after: float
    ratio: float
    unit: str
    since: str
    commits: str
    note: str = ""


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """What a figure's history says.

    Attributes:
        state: `unknown` where too little is known to say that it changed or did not; `why` says what is missing.
        points: how many were looked at.
        changes: oldest first; none but where it is `changed`.
    """

    state: Literal["steady", "changed", "unknown"]
    points: int
    changes: tuple[Change, ...] = ()
    why: str = ""


def trend(history: Sequence[Point]) -> Trend:
    """Look for changes in one figure's history, oldest first.

    PELT (Killick, Fearnhead and Eckley 2012) on the logarithms of the values, with the absolute deviation from a
    segment's median as its cost, so that a point far off costs no more than it is far off, and a penalty in units
    of the noise; then what it found is left out again, the least clear first, until each change has points enough
    on either side, which are there by more than chance, and a step above `MARGIN`.

    Of histories of pure noise, of 10 to 60 points, it called 1 % changed at most (200 of each kind: normal, heavy
    tails, two levels, every tenth far off), and 3 % where each point took after the one before. It found a step of
    20 % in 99 % and more where the noise was 2 %, in 90 % where it was 3 %, and in a third at least where it was 5
    %.
    """
    if not history:
        return Trend(state="unknown", points=0, why="nothing has been measured yet")
    newest = history[-1]
    points = [p for p in history if p.value is not None and (p.unit, p.better) == (newest.unit, newest.better)]
    points = points[-_NEWEST:]
    if len(points) < LEAST_POINTS:
        return Trend(
            state="unknown", points=len(points), why=f"a change takes {LEAST_POINTS} measurements or more to be told"
        )
    values = np.array([p.value for p in points], dtype=np.float64)
    if not (np.isfinite(values) & (values > 0)).all():
        return Trend(state="unknown", points=len(points), why="there is no ratio to figures of 0 or less")
    ends = _changed(np.log(values))
    changes = tuple(
        _change(points, values, first, at, end)
        for first, at, end in zip([0, *ends], ends, [*ends[1:], len(points)], strict=False)
    )
    return Trend(state="changed" if changes else "steady", points=len(points), changes=changes)


def _changed(logs: "Values") -> list[int]:
    """The places at which a new level begins."""
    import ruptures

    noise = _noise(logs)
    search = ruptures.Pelt(model="l1", min_size=LEAST_SIDE, jump=1).fit((logs / noise).reshape(-1, 1))
    places = [int(place) for place in search.predict(pen=_PENALTY * math.log(len(logs)))[:-1]]
    while places:
        clear = [
            _clearness(logs[first:at], logs[at:end])
            for first, at, end in zip([0, *places], places, [*places[1:], len(logs)], strict=False)
        ]
        if min(clear) >= 1:
            break
        places.pop(int(np.argmin(clear)))
    return places


def _noise(logs: "Values") -> float:
    """The standard deviation of the noise, from differences of neighbours, of which a step touches one, an outlier two.

    Of two estimates the greater: the median is too small where figures alternate between two levels, and the mean
    without the greatest where there are few.
    """
    differences = np.sort(np.abs(np.diff(logs)))
    trimmed = differences[: -max(2, len(differences) // 10)]
    return max(float(np.mean(trimmed)) / 1.128, float(np.median(differences)) / (0.6745 * math.sqrt(2)), _QUIET)


def _clearness(before: "Values", after: "Values") -> float:
    """How clear a change is: 1 or above counts as one."""
    step = float(np.median(after) - np.median(before))
    middle = float(np.median(after) + np.median(before)) / 2
    left, right = len(before), len(after)
    stayed, moved = (int(np.count_nonzero((part - middle) * step > 0)) for part in (before, after))
    if min(left - stayed, moved) < LEAST_SIDE or min(1 - stayed / left, moved / right) < LEAST_SHARE:
        return 0.0
    if _by_chance(left, right, moved + stayed, moved) > _CHANCE:
        return 0.0
    return abs(step) / math.log1p(MARGIN)


def _by_chance(left: int, right: int, beyond: int, moved: int) -> float:
    """How probable it is that of `beyond` points, dealt out at random, `moved` or more go right (Fisher 1922)."""
    ways = sum(math.comb(right, n) * math.comb(left, beyond - n) for n in range(moved, min(right, beyond) + 1))
    return ways / math.comb(left + right, beyond)


def _change(points: Sequence[Point], values: "Values", first: int, at: int, end: int) -> Change:
    before, after = float(np.median(values[first:at])), float(np.median(values[at:end]))
    improved = (after < before) == (points[at].better == "lower")
    commits, note = _range(points[at - 1], points[at])
    return Change(
        direction="better" if improved else "worse",
        before=before,
        after=after,
        ratio=after / before,
        unit=points[at].unit,
        since=points[at].at,
        commits=commits,
        note=note,
    )


def _range(last: Point, first: Point) -> tuple[str, str]:
    """The range of commits between two points, and what is to be said of it."""
    if not (last.commit and first.commit):
        return "", "the commits were not known when it was measured"
    dirty = [p.commit[:12] for p in (last, first) if p.is_dirty]
    changed = f"measured with uncommitted changes on {' and on '.join(dirty)}" if dirty else ""
    if last.commit == first.commit:
        return "", changed or f"both sides are {last.commit[:12]}: it is not the code that changed"
    return f"{last.commit[:12]}..{first.commit[:12]}", changed
