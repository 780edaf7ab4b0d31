"""What was offered to a pool, what became of it, and how long that took."""

from collections import Counter

import msgspec
import numpy as np

from poolproof.figures.generator import own_lag_ns
from poolproof.history import History, Outcome, Phase
from poolproof.statistics import QUANTILES, percentile

Figures = dict[str, float | None]
"""Times in ms by their names; None where there were too few samples."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """The load of the measured window; offered = completed + failed + unresolved.

    Times in ms, None where there were too few samples; throughput in operations completed within the
    window, a second.
    """

    offered: int
    completed: int
    failed: int
    unresolved: int
    response_ms: Figures
    queue_ms: Figures
    service_ms: Figures
    lag_ms: Figures
    throughput: float | None


def load_figures(history: History, kind: str = "") -> Load:
    """What was offered, and what became of it: of one kind of operation, or of all."""
    operations = history.operations
    measured = history.in_phase(Phase.MEASURED)
    if kind:
        measured &= history.of_kinds(frozenset({kind}))
    completed = measured & history.ended(Outcome.OK, Outcome.USER_ERROR)
    failed = measured & history.ended(Outcome.WRONG, Outcome.POOL_ERROR, Outcome.REJECTED, Outcome.CANCELLED)
    unresolved = measured & ~completed & ~failed
    planned = np.where(operations.due > 0, operations.due, operations.sent)
    window_s = measured_s(history)
    start = history.origin
    inside = completed & (operations.done >= start) & (operations.done <= start + round(window_s * 1e9))
    service, queue = _worker_times(history, completed)
    return Load(
        offered=int(np.count_nonzero(measured)),
        completed=int(np.count_nonzero(completed)),
        failed=int(np.count_nonzero(failed)),
        unresolved=int(np.count_nonzero(unresolved)),
        response_ms=_percentiles((operations.done - planned)[completed]),
        queue_ms=_percentiles(queue),
        service_ms=_percentiles(service),
        lag_ms=_percentiles(own_lag_ns(history)),
        throughput=round(int(np.count_nonzero(inside)) / window_s, 3) if window_s and completed.any() else None,
    )


def measured_s(history: History) -> float:
    """How long the measured window was, seconds: as planned, or until the last end where turns were counted."""
    load = history.plan.scenario.load
    if not load.turns:
        return load.seconds
    done = history.operations.done[history.in_phase(Phase.MEASURED)]
    return min(load.seconds, max(0.0, (int(done.max(initial=0)) - history.origin) / 1e9))


class ErrorCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many operations of the measured window ended with one type of error, and the first message of it."""

    type: str
    message: str
    count: int


def errors(history: History) -> tuple[ErrorCount, ...]:
    """The types of error of the measured window, the most frequent first."""
    numbers = history.operations.error[history.in_phase(Phase.MEASURED)]
    distinct, often = np.unique(numbers, return_counts=True)
    ended_so = dict(zip(distinct.tolist(), often.tolist(), strict=True))
    messages: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for error in history.errors:
        messages.setdefault(error.type, error.message[:200])
        counts[error.type] += ended_so.get(error.error, 0)
    return tuple(
        ErrorCount(type=name, message=messages[name], count=count) for name, count in counts.most_common() if count
    )


def _percentiles(values_ns: np.ndarray) -> Figures:
    figures: Figures = {}
    for name, quantile in QUANTILES.items():
        value = percentile(values_ns, quantile)
        figures[name] = None if value is None else round(value / 1e6, 4)
    figures["max"] = round(float(values_ns.max()) / 1e6, 4) if len(values_ns) else None
    return figures


def _worker_times(history: History, completed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Service and queue time in ns of the executions of completed operations."""
    operations, executions = history.operations, history.executions
    rows = (executions.ended > 0) & history.known
    op = executions.op[rows]
    wanted = completed[op]
    service = (executions.ended[rows] - executions.started[rows])[wanted]
    queue = (executions.started[rows] - operations.sent[op])[wanted]
    return np.asarray(service), np.asarray(queue)
