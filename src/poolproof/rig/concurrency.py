"""Many operations at once: what came of them, and how many were truly under way side by side."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from poolproof.errors import UsageError, WaitTimeoutError
from poolproof.history import Executions
from poolproof.rig.pending import Pending
from poolproof.rig.rig import Rig
from poolproof.rig.values import Incarnation
from poolproof.rig.waits import synchronize_pool_operations
from poolproof.statistics import QUANTILES, percentile
from poolproof.waiting import wait_for


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ConcurrentRun:
    """What came of operations that were sent side by side.

    Attributes:
        operations: each of them, in the order of their sending.
        results: what those that ended right returned, in the same order.
        errors: what the others failed with.
        ends: how many ended how: `ok`, `wrong`, `error`, `cancelled`, `rejected`.
        wall_s: from the first sending to the last end, on the rig's clock.
        response_ms: p50, p90, p95, p99 and the maximum of the time from sending to end; None where there are too few.
        parallelism: the most that were under way at one moment, by the workers' records.
        mean_parallelism: how many were on average, while any was.
        workers: how many operations each worker ran.
    """

    operations: tuple[Pending, ...]
    results: tuple[Any, ...]
    errors: tuple[BaseException, ...]
    ends: dict[str, int]
    wall_s: float
    response_ms: dict[str, float | None]
    parallelism: int
    mean_parallelism: float
    workers: dict[Incarnation, int]

    @property
    def ok(self) -> int:
        """How many ended with the right result."""
        return self.ends.get("ok", 0)

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {end}" for end, count in self.ends.items())
        sent = sum(self.ends.values())
        return f"{sent} operations ({ends}) in {self.wall_s:.3f} s, up to {self.parallelism} at once"

    def __repr__(self) -> str:
        first = f"; the first error: {self.errors[0]!r:.300}" if self.errors else ""
        return f"<run of {self}{first}>"


def run_concurrent_operations(
    pool: Rig,
    count: int = 100,
    *,
    kind: str | None = None,
    payloads: Sequence[Any] | None = None,
    sessions: int | Sequence[Hashable] = 0,
    at_once: int | None = None,
    deadline_s: float | None = None,
    meanwhile: Callable[[], object] | None = None,
    timeout: float = 60.0,
) -> ConcurrentRun:
    """Send operations and wait until all have ended. Known elsewhere as test_concurrent_operations.

    How many ran side by side is read from the workers' own records, not from how many were sent side by side.

    Args:
        pool: the rig.
        count: how many; as many as there are payloads, where these are given.
        kind: of all of them; without one they follow the workload's weights.
        payloads: their arguments; the kind makes them, if they are not said.
        sessions: the sessions that they take turns in, or how many of them.
        at_once: how many may be unanswered at a time; all, if it is not said.
        deadline_s: within how many seconds each must have ended.
        meanwhile: called once, when half of them are sent: what befalls the pool under load. It has a thread of its own
            while more of them are sent, but on layer 1, where time stands still between two calls.
        timeout: for all of them together, seconds.

    Raises:
        UsageError: the numbers make no sense.
        WaitTimeoutError: some did not end in time.
    """
    given = list(payloads) if payloads is not None else None
    wanted = len(given) if given is not None else count
    window = wanted if at_once is None else at_once
    if wanted < 1 or window < 1:
        raise UsageError(f"count = {wanted}, at_once = {window}: expected 1 or more")
    keys = [f"session-{number}" for number in range(sessions)] if isinstance(sessions, int) else list(sessions)
    kinds = [kind] if kind is not None else _mixed(pool, wanted)
    operations: list[Pending] = []
    refused: list[BaseException] = []
    began, until = pool.now_ns(), pool.now_ns() + round(timeout * 1e9)

    done = 0

    def open_operations() -> int:
        # `end` is written before the event that wakes this wait; all before the first open one need no second look.
        nonlocal done
        while done < len(operations) and operations[done].end:
            done += 1
        return sum(not it.end for it in operations[done:])

    def await_(condition: Callable[[], bool], what: str) -> None:
        left_s = max(0.001, (until - pool.now_ns()) / 1e9)
        wait_for(condition, timeout=left_s, on=pool, what=what, seen=pool.state)

    befalling: Future[object] | None = None
    with ExitStack() as beside:
        for number in range(wanted):
            if number >= window:
                await_(lambda: open_operations() < window, f"one of {window} operations to end")
            chosen = kinds[number % len(kinds)]
            more = {} if given is None else {"payload": given[number]}
            session = keys[number % len(keys)] if keys else None
            try:
                operations.append(pool.submit(chosen, session=session, deadline_s=deadline_s, **more))
            except (UsageError, WaitTimeoutError):
                raise
            except Exception as error:  # what the pool refuses it with is its answer
                refused.append(error)
            if meanwhile is not None and number == wanted // 2:
                if pool.is_virtual:
                    meanwhile()
                else:
                    # Beside the load, and not instead of it: what was under way when it began would soon have ended.
                    befalling = beside.enter_context(ThreadPoolExecutor(1, "poolproof meanwhile")).submit(meanwhile)
        await_(lambda: not open_operations(), f"the end of {len(operations)} operations")
        if befalling is not None:
            befalling.result()  # what it raised is the caller's
    return _told(pool, operations, refused, began)


def _mixed(pool: Rig, count: int) -> list[str]:
    """Kinds in proportion to their weights, spread evenly."""
    weighed = {name: kind.weight for name, kind in pool.kinds.items() if kind.weight > 0}
    whole = sum(weighed.values())
    due = dict.fromkeys(weighed, 0.0)
    chosen = []
    for _ in range(count):
        for name, weight in weighed.items():
            due[name] += weight / whole
        following = max(due, key=lambda name: due[name])
        due[following] -= 1
        chosen.append(following)
    return chosen


def _told(pool: Rig, operations: list[Pending], refused: list[BaseException], began: int) -> ConcurrentRun:
    ends: Counter[str] = Counter(it.end for it in operations)
    if refused:
        ends["rejected"] = len(refused)
    errors = [error for it in operations if it.end == "error" and (error := it.future.exception(0)) is not None]
    done = [it.done_ns for it in operations]
    response = np.array([it.done_ns - it.sent_ns for it in operations], dtype=np.float64) / 1e6
    most, mean, workers = overlap(pool.executions(), {it.op for it in operations})
    return ConcurrentRun(
        operations=tuple(operations),
        results=tuple(it.future.result(0)[1] for it in operations if it.end == "ok"),
        errors=(*errors, *refused),
        ends=dict(ends),
        wall_s=(max(done, default=began) - began) / 1e9,
        response_ms={name: percentile(response, quantile) for name, quantile in QUANTILES.items()}
        | {"max": float(response.max()) if len(response) else None},
        parallelism=most,
        mean_parallelism=mean,
        workers=workers,
    )


def overlap(executions: Executions, ops: set[int]) -> tuple[int, float, dict[Incarnation, int]]:
    """How many executions overlapped at most and on average, and how many each worker ran.

    What has no end in the records is left out of the former two: it would overlap with all that came after it.
    """
    mine = np.isin(executions.op, np.fromiter(ops, dtype=np.int64, count=len(ops)))
    ended = mine & (executions.ended > 0)
    moments = np.concatenate([executions.started[ended], executions.ended[ended]])
    steps = np.concatenate([np.ones(int(ended.sum()), dtype=np.int64), -np.ones(int(ended.sum()), dtype=np.int64)])
    order = np.lexsort((steps, moments))  # who ends makes room before who begins at the same moment
    levels = np.cumsum(steps[order])
    spans = np.diff(moments[order]) if len(order) else np.zeros(0)
    busy = float(spans[levels[:-1] > 0].sum()) if len(order) else 0.0
    mean = float((spans * levels[:-1]).sum() / busy) if busy else 0.0
    names = zip(
        executions.pid[mine].tolist(), executions.start_time[mine].tolist(), executions.tid[mine].tolist(), strict=True
    )
    workers = Counter(Incarnation(*name) for name in names)
    return int(levels.max(initial=0)), mean, dict(workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """What warming a pool took.

    Attributes:
        ready_ms: how long after the sending each worker had its first operation in hand, by worker.
        wall_ms: until the last had.
        answered: how many operations were answered besides.
    """

    ready_ms: dict[Incarnation, float]
    wall_ms: float
    answered: int


_ROUNDS: Final = 1


def warm_pool_workers(
    pool: Rig, count: int | None = None, *, operations: int = _ROUNDS, timeout: float = 30.0
) -> WarmUp:
    """Have every worker set up its workload and answer, all of them side by side.

    Args:
        pool: the rig.
        count: how many workers; as many as it was set up with, if it is not said.
        operations: of the workload's own, for each worker, after the first.
        timeout: seconds.

    Raises:
        WaitTimeoutError: fewer workers came, or some operation did not end.
    """
    wanted = pool.size if count is None else count
    began = pool.now_ns()
    with synchronize_pool_operations(pool, wanted, timeout=timeout) as held:
        ops = {it.op for it in held.operations}
    found = pool.executions()
    mine = np.isin(found.op, np.fromiter(ops, dtype=np.int64, count=len(ops)))
    started = {
        Incarnation(int(found.pid[row]), int(found.start_time[row]), int(found.tid[row])): int(found.started[row])
        for row in mine.nonzero()[0]
    }
    ready_ms = {worker: (at - began) / 1e6 for worker, at in started.items()}
    run = run_concurrent_operations(pool, wanted * operations, timeout=timeout) if operations else None
    return WarmUp(ready_ms=ready_ms, wall_ms=max(ready_ms.values()), answered=run.ok if run else 0)
