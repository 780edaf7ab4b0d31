"""What harm was done, and how long the pool took to notice it, to be whole again, to be steady again."""

import math
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from poolproof.history import Fault, History, Outcome, Phase
from poolproof.statistics import percentile

WINDOW_NS: Final = 250_000_000
SUSTAINED_WINDOWS: Final = 3
ENOUGH: Final = 5
BASELINE_ENOUGH: Final = 20
SUCCESS_FLOOR: Final = 0.99
BAND_FACTOR: Final = 2.0
BAND_MS: Final = 5.0


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
