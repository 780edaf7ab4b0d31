"""Objectives: what the figures of a run are to be, written as comparisons: `p99("predict") < "50ms"`."""

import math
from dataclasses import dataclass
from typing import Final, Literal, NoReturn

from poolproof.errors import UsageError
from poolproof.plan.durations import seconds
from poolproof.plan.value import Value

FigureName = Literal[
    "p50",
    "p90",
    "p95",
    "p99",
    "p99.9",
    "max",
    "error-rate",
    "completed",
    "throughput",
    "lag-p99",
    "detect",
    "capacity",
    "steady",
    "memory",
]
"""What an objective can be about.

- `p50` to `p99.9`, `max`: of the response time, ms, from when an operation was due until its end was seen.
- `error-rate`: the share of the offered operations that did not return the right result, for whatever reason: an
  exception of the work's own is one.
- `completed`: the share that the pool saw through: right results, and exceptions of the work's own as themselves.
- `throughput`: operations completed within the measured window, a second.
- `lag-p99`: how late the generator itself was, ms.
- `detect`, `capacity`, `steady`: the three moments of recovery from the faults, ms.
- `memory`: the most that the pool's processes and the lab's used together, MB.
"""

TIMES: Final = frozenset({"p50", "p90", "p95", "p99", "p99.9", "max", "lag-p99", "detect", "capacity", "steady"})
SHARES: Final = frozenset({"error-rate", "completed"})
HIGHER_IS_BETTER: Final = frozenset({"completed", "throughput"})
OF_THE_RUN: Final = frozenset({"lag-p99", "detect", "capacity", "steady", "memory"})
"""What is no figure of one kind of operation."""

UNITS: Final[dict[str, str]] = {
    **dict.fromkeys(TIMES, "ms"),
    **dict.fromkeys(SHARES, ""),
    "throughput": "/s",
    "memory": "MB",
}


class Objective(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One figure of a run and the bound that it has to keep.

    Attributes:
        kind: the kind of operation; empty for all.
        bound: in the unit of the figure (`UNITS`): ms, a share, operations a second, MB.
        is_strict: whether the bound itself is too much already.
    """

    figure: FigureName
    bound: float
    kind: str = ""
    is_strict: bool = True

    @property
    def relation(self) -> str:
        """How the figure has to stand to the bound: `<`, `<=`, `>` or `>=`."""
        return (">" if self.figure in HIGHER_IS_BETTER else "<") + ("" if self.is_strict else "=")

    def is_met(self, value: float) -> bool:
        """Whether a figure keeps the bound."""
        better = value > self.bound if self.figure in HIGHER_IS_BETTER else value < self.bound
        return better or (not self.is_strict and value == self.bound)

    def describe(self) -> str:
        """The objective as it is written: `p99(predict) < 50 ms`."""
        unit = UNITS[self.figure]
        of = f"({self.kind})" if self.kind else ""
        return f"{self.figure}{of} {self.relation} {self.bound:g}{' ' if unit.isalpha() else ''}{unit}"

    def __bool__(self) -> NoReturn:
        # `"1ms" < p99() < "50ms"` asks for this, and would silently drop its first half.
        raise UsageError(f"{self.describe()} is an objective and no truth value: hand it to objectives=[…]")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measure:
    """A figure that waits for its bound: comparing it gives an `Objective`."""

    figure: FigureName
    kind: str = ""

    def __lt__(self, bound: str | float) -> Objective:
        return self._objective(bound, "<", is_strict=True)

    def __le__(self, bound: str | float) -> Objective:
        return self._objective(bound, "<=", is_strict=False)

    def __gt__(self, bound: str | float) -> Objective:
        return self._objective(bound, ">", is_strict=True)

    def __ge__(self, bound: str | float) -> Objective:
        return self._objective(bound, ">=", is_strict=False)

    def _objective(self, bound: str | float, relation: str, *, is_strict: bool) -> Objective:
        name = f"{self.figure}({self.kind})"
        wanted = ">" if self.figure in HIGHER_IS_BETTER else "<"
        if relation[0] != wanted:
            better = "more" if wanted == ">" else "less"
            raise UsageError(f"{name} {relation} {bound!r}: {better} of it is better, so write {wanted}")
        if self.figure in TIMES:
            value = seconds(bound, f"{name} {relation}") * 1e3
        elif isinstance(bound, str) or not 0 <= bound < math.inf:
            raise UsageError(f"{name} {relation} {bound!r}: expected a number of 0 or more")
        else:
            value = float(bound)
        if self.figure in SHARES and value > 1:
            raise UsageError(f"{name} {relation} {bound!r}: expected a share between 0 and 1, as 0.001")
        return Objective(figure=self.figure, kind=self.kind, bound=value, is_strict=is_strict)


def p50(kind: str = "") -> Measure:
    """The median of the response time, of one kind of operation or of all; bounds as `"50ms"` or in seconds."""
    return Measure(figure="p50", kind=kind)


def p90(kind: str = "") -> Measure:
    """The 90th percentile of the response time."""
    return Measure(figure="p90", kind=kind)


def p95(kind: str = "") -> Measure:
    """The 95th percentile of the response time."""
    return Measure(figure="p95", kind=kind)


def p99(kind: str = "") -> Measure:
    """The 99th percentile of the response time."""
    return Measure(figure="p99", kind=kind)


def p999(kind: str = "") -> Measure:
    """The 99.9th percentile of the response time."""
    return Measure(figure="p99.9", kind=kind)


def longest(kind: str = "") -> Measure:
    """The longest response time."""
    return Measure(figure="max", kind=kind)


def error_rate(kind: str = "") -> Measure:
    """The share of the offered operations that did not return the right result: failed, raised, or never ended."""
    return Measure(figure="error-rate", kind=kind)


def completed(kind: str = "") -> Measure:
    """The share of the offered operations that the pool saw through, exceptions of the work's own included."""
    return Measure(figure="completed", kind=kind)


def throughput(kind: str = "") -> Measure:
    """Operations completed within the measured window, a second."""
    return Measure(figure="throughput", kind=kind)


def own_lag() -> Measure:
    """How late the generator itself was, at p99: above 1 ms or so, times say nothing of the pool."""
    return Measure(figure="lag-p99")


def recovery(until: Literal["detect", "capacity", "steady"] = "steady") -> Measure:
    """How long after a fault it was noticed, as many workers worked as before, or response times were as before."""
    return Measure(figure=until)


def memory() -> Measure:
    """The most memory that the pool's processes and the lab's used together, in MB."""
    return Measure(figure="memory")
