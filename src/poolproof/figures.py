"""Figures of one run: its load, and how long the pool took to notice a fault, to be whole again, to be steady again."""

import math
from collections import Counter
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from poolproof.history import Fault, History, Outcome, Phase
from poolproof.statistics import QUANTILES, percentile

WINDOW_NS: Final = 250_000_000
SUSTAINED_WINDOWS: Final = 3
ENOUGH: Final = 5
BASELINE_ENOUGH: Final = 20
SUCCESS_FLOOR: Final = 0.99
BAND_FACTOR: Final = 2.0
BAND_MS: Final = 5.0

LAG_FLOOR_NS: Final = 1e6
LAG_SHARE: Final = 0.10
CPU_CEILING: Final = 0.80
TICKS_A_SECOND: Final = 100
"""USER_HZ of Linux, in which every kernel reports CPU time to programs."""

Figures = dict[str, float | None]


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


class Generator(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the load generator itself was the bottleneck, so that times say nothing of the pool.

    Attributes:
        lag_p99_ms: its own lag outside fault windows.
        cpu_share: the share of a core that its thread used during the load.
        bottleneck: why times can't be judged; empty where they can.
    """

    lag_p99_ms: float | None
    cpu_share: float | None
    bottleneck: str


class Injected(msgspec.Struct, frozen=True, kw_only=True):
    """One harm done to one process, in seconds after the measured window began."""

    kind: str
    target: str
    pid: int
    begin_s: float
    end_s: float
    effective: str
    in_flight: int
    operations: tuple[int, ...]
    why: str


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """How long recovery took, in ms; None where the moment never came.

    Attributes:
        detect_ms: after the first fault began.
        capacity_ms: after the last fault began.
        steady_ms: after the last fault began.
    """

    detect_ms: float | None
    capacity_ms: float | None
    steady_ms: float | None


def load_figures(history: History) -> Load:
    """What was offered, and what became of it."""
    operations = history.operations
    measured = history.in_phase(Phase.MEASURED)
    completed = measured & history.ended(Outcome.OK, Outcome.USER_ERROR)
    failed = measured & history.ended(Outcome.WRONG, Outcome.POOL_ERROR, Outcome.REJECTED, Outcome.CANCELLED)
    unresolved = measured & ~completed & ~failed
    planned = np.where(operations.due > 0, operations.due, operations.sent)
    window_s = history.plan.scenario.load.seconds
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


def generator(history: History) -> Generator:
    """Judge the generator: own lag p99 over max(1 ms, 10 % of the response p50), or over 80 % of a core."""
    operations = history.operations
    quiet = np.ones(len(operations), dtype=bool)
    for fault in history.faults:
        after = fault.end + round(history.claims.detection_s * 1e9)
        quiet &= (operations.due < fault.begin) | (operations.due > after)
    lag = percentile(own_lag_ns(history, quiet), 0.99)
    measured = history.in_phase(Phase.MEASURED) & history.ended(Outcome.OK, Outcome.USER_ERROR) & quiet
    response = percentile((operations.done - operations.due)[measured & (operations.due > 0)], 0.50)
    cpu = _generator_cpu(history)
    reasons = []
    if lag is not None and lag > max(LAG_FLOOR_NS, LAG_SHARE * (response or 0)):
        reasons.append(f"own lag p99 was {lag / 1e6:.2f} ms")
    if cpu is not None and cpu > CPU_CEILING:
        reasons.append(f"its thread used {cpu:.0%} of a core")
    if history.claims.in_process:
        reasons = []  # the pool works on the generator's own interpreter: shown, not judged
    return Generator(
        lag_p99_ms=None if lag is None else round(lag / 1e6, 4),
        cpu_share=None if cpu is None else round(cpu, 3),
        bottleneck=" and ".join(reasons),
    )


def _generator_cpu(history: History) -> float | None:
    began, ended = history.first("measured"), history.first("stage-ended", "load")
    if began is None or ended is None:
        return None
    during = [sample for sample in history.samples if began.at <= sample.at <= ended.at]
    if len(during) < 2 or during[-1].at == during[0].at:
        return None
    ticks = during[-1].generator_ticks - during[0].generator_ticks
    return ticks / TICKS_A_SECOND / ((during[-1].at - during[0].at) / 1e9)


def own_lag_ns(history: History, among: np.ndarray | None = None) -> np.ndarray:
    """How late the generator itself was, ns, shape (operations sent,): sent - max(due, the previous accepted).

    A submit that takes its time delays what comes after it; that is the pool's doing and is not counted here.
    """
    operations = history.operations
    wanted = history.in_phase(Phase.MEASURED) & (operations.due > 0) & (operations.sent > 0)
    rows = np.flatnonzero(wanted)
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    due, sent, accepted = operations.due[rows], operations.sent[rows], operations.accepted[rows]
    previous = np.concatenate([[0], accepted[:-1]])
    lag = sent - np.maximum(due, previous)
    return np.asarray(lag if among is None else lag[among[rows]])


def faults(history: History) -> tuple[Injected, ...]:
    """Every harm that was done, or tried."""
    return tuple(
        Injected(
            kind=fault.kind,
            target=fault.target,
            pid=fault.pid,
            begin_s=round(history.seconds(fault.begin), 6),
            end_s=round(history.seconds(fault.end), 6),
            effective=fault.effective,
            in_flight=len(fault.held),
            operations=fault.held,
            why=fault.why,
        )
        for fault in history.faults
    )


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


def recovery(history: History) -> Recovery | None:
    """The three moments of recovery; None where no worker was harmed.

    - detected: the first operation that failed, other than by a documented refusal, or the first one begun by a worker
      born after the harm; a stall can only be noticed while it lasts;
    - capacity: as many live workers as were seen working at once before have each ended an operation since, and the
      rendezvous afterwards saw as many at once;
    - steady: the start of the first of three consecutive windows of 250 ms with at least 99 % success and a p95 of the
      response time of at most twice that before the first fault (and 5 ms more).

    Where there were several faults, the first one is what was to be detected, and the last one to begin is what the
    pool recovers from. Capacity and steadiness are looked for after every kill, and after what lasts was undone.
    """
    struck = history.effective()
    if not struck:
        return None
    # A fault with several victims begins with the first of them.
    begins: dict[int, int] = {}
    for fault in struck:
        begins[fault.fault] = min(begins.get(fault.fault, fault.begin), fault.begin)
    first, last = min(begins.values()), max(begins.values())
    over = max(fault.end if fault.kind == "stall" else fault.begin for fault in struck)
    return Recovery(
        detect_ms=_ms_after(first, _detected(history, struck, first)),
        capacity_ms=_ms_after(last, _whole(history, struck, over)),
        steady_ms=_ms_after(last, _steady(history, first, over)),
    )


def _ms_after(begin: int, moment: int | None) -> float | None:
    return None if moment is None else round((moment - begin) / 1e6, 3)


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


def _detected(history: History, struck: list[Fault], begin: int) -> int | None:
    operations, executions = history.operations, history.executions
    # What does not begin with a stall can be noticed for ever after, whatever stall came later and was over.
    for_good = any(fault.kind != "stall" and fault.begin == begin for fault in struck)
    until = math.inf if for_good else max(fault.end for fault in struck if fault.kind == "stall")
    failed = history.ended(Outcome.POOL_ERROR, Outcome.REJECTED, Outcome.CANCELLED) & (operations.done >= begin)
    failed &= ~history.ended_with(history.claims.overload)  # too much was offered: of the fault that says nothing
    failures = operations.done[failed & (operations.phase != Phase.AFTER_CLOSE)]
    signs = [int(failures.min())] if len(failures) else []
    seen: dict[tuple[int, int], int] = {}
    for life in history.incarnations:
        seen.setdefault((life.pid, life.start_time), life.seen)
    lives, moments = _first_of_each_life(history, np.arange(len(executions)), executions.started)
    signs += [
        moment
        for (pid, start_time, _), moment in zip(lives, moments, strict=True)
        if moment >= begin and seen.get((pid, start_time), 0) >= begin
    ]
    return min((sign for sign in signs if sign < until), default=None)


def _first_of_each_life(
    history: History, rows: np.ndarray, moments: np.ndarray, *, threads: bool = False
) -> tuple[list[tuple[int, int, int]], list[int]]:
    """Who ran these executions (pid, start time, one thread of it), and the first of the moments of each.

    Args:
        history: where they are from.
        rows: the row numbers of executions, shape (n,).
        moments: ns, of all executions.
        threads: whether the threads of a process are told apart.
    """
    executions = history.executions
    life, row = history.lives(rows, threads=threads)
    first = np.full(len(row), np.iinfo(np.int64).max)
    np.minimum.at(first, life, moments[rows])
    columns = (executions.pid, executions.start_time, executions.tid)
    return list(zip(*(column[row].tolist() for column in columns), strict=True)), first.tolist()


def _whole(history: History, struck: list[Fault], over: int) -> int | None:
    before, after = history.first("capacity", "probe-before"), history.first("capacity", "probe-after")
    if before is None or after is None or not before.value or (after.value or 0) < before.value:
        return None
    dead = {(fault.pid, fault.start_time) for fault in struck if fault.kind == "kill"}
    ended = history.executions.ended
    workers, moments = _first_of_each_life(history, np.flatnonzero(ended >= over), ended, threads=True)
    answered = sorted(
        moment for (pid, start_time, _), moment in zip(workers, moments, strict=True) if (pid, start_time) not in dead
    )
    return answered[int(before.value) - 1] if len(answered) >= before.value else None


def _steady(history: History, begin: int, over: int) -> int | None:
    operations = history.operations
    measured = history.in_phase(Phase.MEASURED) & (operations.due > 0)
    good = measured & history.ended(Outcome.OK, Outcome.USER_ERROR)
    response = operations.done - operations.due
    baseline = response[good & (operations.done < begin)]
    if len(baseline) < BASELINE_ENOUGH:
        return None
    usual = percentile(baseline, 0.95) or 0.0
    ceiling = max(BAND_FACTOR * usual, usual + BAND_MS * 1e6)
    # Whole windows only: one that the load leaves half-way says nothing.
    due = operations.due[measured]
    windows = (int(due.max()) - over) // WINDOW_NS if len(due) else 0
    rows = np.flatnonzero(measured & (operations.due >= over) & (operations.due < over + windows * WINDOW_NS))
    window = (operations.due[rows] - over) // WINDOW_NS
    by_window = np.argsort(window, kind="stable")
    window, rows = window[by_window], rows[by_window]
    edges = np.flatnonzero(np.diff(window, prepend=-1, append=-1))
    steady_since, run = over, 0
    for start, stop in pairwise(edges.tolist()):
        offered = rows[start:stop]
        if len(offered) < ENOUGH:
            continue
        times = np.sort(response[offered[good[offered]]])
        slow = len(times) and times[math.ceil(0.95 * len(times)) - 1] > ceiling
        if len(times) < SUCCESS_FLOOR * len(offered) or slow:
            run = 0
            continue
        steady_since = over + int(window[start]) * WINDOW_NS if run == 0 else steady_since
        run += 1
        if run == SUSTAINED_WINDOWS:
            return steady_since
    return None
