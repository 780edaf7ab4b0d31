"""The course of a run: what was offered, what ended and how, window by window."""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from poolproof.history import History, Outcome, Phase
from poolproof.statistics import percentile

WINDOW_S: Final = 0.1

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One entry a window, all of shape (windows,); NaN where there is nothing to tell.

    Attributes:
        begin_s: when each window begins, seconds after the start of the measured one.
        offered: how many operations were due in it.
        completed: how many completed in it.
        failed: how many failed in it, or were refused or cancelled.
        p50_ms: the median response time of those that were due in it and completed.
        p99_ms: the same at p99, where there are 100 of them or more.
        max_ms: the longest.
        backlog: how many were due and had not ended at its end.
        busy: how many operations were being executed at its end.
        processes: below the lab, by the sample nearest before its end.
        memory_mb: of those and the lab.
    """

    begin_s: F64
    offered: I64
    completed: I64
    failed: I64
    p50_ms: F64
    p99_ms: F64
    max_ms: F64
    backlog: I64
    busy: I64
    processes: F64
    memory_mb: F64

    def __len__(self) -> int:
        return len(self.begin_s)

    def rows(self) -> list[dict[str, float]]:
        """A row a window, by the names of the columns."""
        names = [field.name for field in fields(self)]
        columns = [getattr(self, name).tolist() for name in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def series(history: History, window_s: float = WINDOW_S, kind: str = "") -> Series:
    """The measured window of a run and what came of it afterwards, in windows of equal length.

    Args:
        history: of the run.
        window_s: how long each is.
        kind: the operations of one kind alone; empty for all.
    """
    operations, executions = history.operations, history.executions
    measured = history.in_phase(Phase.MEASURED) & (operations.due > 0)
    if kind:
        measured &= history.of_kinds(frozenset({kind}))
    due, done = operations.due[measured], operations.done[measured]
    good = np.isin(operations.outcome[measured], (Outcome.OK, Outcome.USER_ERROR)) & (done > 0)
    bad = (done > 0) & ~good
    origin, width = history.origin, round(window_s * 1e9)
    last = max(int(due.max(initial=origin)), int(done.max(initial=origin)))
    edges = np.arange(origin, last + width + 1, width)
    count = len(edges) - 1

    def counted(moments: np.ndarray) -> I64:
        return np.histogram(moments, bins=edges)[0].astype(np.int64)

    def so_far(moments: np.ndarray) -> I64:
        """How many of these lie before the end of each window."""
        return np.searchsorted(np.sort(moments), edges[1:], side="left").astype(np.int64)

    response_ms = (done - due)[good] / 1e6
    window = np.searchsorted(edges, due[good], side="right") - 1
    order = np.argsort(window, kind="stable")
    p50, p99, longest = (np.full(count, np.nan) for _ in range(3))
    bounds = np.searchsorted(window[order], np.arange(count + 1))
    for row in np.flatnonzero(np.diff(bounds)):
        times = response_ms[order[bounds[row] : bounds[row + 1]]]
        p50[row] = np.median(times)
        p99[row] = np.nan if (value := percentile(times, 0.99)) is None else value
        longest[row] = times.max()
    rows = np.flatnonzero(history.known)
    rows = rows[measured[executions.op[rows]]]
    ended = executions.ended[rows]
    at = np.array([sample.at for sample in history.samples], dtype=np.int64)
    nearest = np.searchsorted(at, edges[1:], side="right") - 1

    def sampled(values: list[float]) -> F64:
        found = np.array([*values, np.nan])  # one that is missing is the last one
        return np.asarray(found[nearest])

    return Series(
        begin_s=(edges[:-1] - origin) / 1e9,
        offered=counted(due),
        completed=counted(done[good]),
        failed=counted(done[bad]),
        p50_ms=p50,
        p99_ms=p99,
        max_ms=longest,
        backlog=so_far(due) - so_far(done[done > 0]),
        busy=so_far(executions.started[rows]) - so_far(ended[ended > 0]),
        processes=sampled([float(sample.processes) for sample in history.samples]),
        memory_mb=sampled([sample.memory_bytes / 1e6 for sample in history.samples]),
    )
