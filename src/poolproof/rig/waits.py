"""Waits for what a pool does, by evidence: answers, records and deaths, and never what the pool says of itself.

Under a virtual clock they take no real time. On the others they are woken by the rig's events where there are any
(ends of operations, transitions, deaths), and look in between only for what shows in records alone.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from poolproof.errors import UsageError, WaitTimeoutError
from poolproof.rig.failure import Failure
from poolproof.rig.pending import Pending
from poolproof.rig.rig import Rig
from poolproof.rig.stand import Lineup
from poolproof.rig.values import Binding, Incarnation, PoolState
from poolproof.waiting import wait_for

_SLICE_S = 0.02
"""How long a lineup is waited for at once: an operation of it that fails is noticed that late."""

_PAUSE_S = 0.01
_END_S = 10.0


@dataclass(frozen=True, slots=True)
class Held:
    """Operations that stand side by side in their workers.

    Attributes:
        operations: each of them.
        workers: who is at them, as far as records tell.
    """

    operations: tuple[Pending, ...]
    workers: tuple[Incarnation, ...]
    _lineup: Lineup

    @property
    def present(self) -> int:
        """How many are there now: one whose worker has died is not."""
        return self._lineup.present

    def release(self) -> None:
        """Let all of them go; harmless when repeated."""
        self._lineup.release()


@contextmanager
def synchronize_pool_operations(pool: Rig, count: int | None = None, *, timeout: float = 10.0) -> Iterator[Held]:
    """A barrier: so many operations line up inside their workers, and stay until the block is left.

    Args:
        pool: the rig.
        count: how many; as many as it has workers, if it is not said.
        timeout: within how many seconds all of them must be there.

    Raises:
        WaitTimeoutError: fewer came; all are released.
        Exception: what the pool refuses one of them with.
    """
    wanted = pool.size if count is None else count
    if wanted < 1:
        raise UsageError(f"count = {count}: expected 1 or more")
    began = pool.now_ns()
    lineup, operations = pool.line_up(wanted)
    try:
        _gather(pool, lineup, operations, wanted, timeout)
        if lineup.present < wanted:
            waited = (pool.now_ns() - began) / 1e9
            raise _too_few(pool, lineup, operations, wanted, waited)
        at = {op: worker for worker, op in pool.running()}
        yield Held(operations, tuple(at[it.op] for it in operations if it.op in at), lineup)
    finally:
        lineup.release()
        for operation in operations:
            with suppress(Exception):  # how each ended is told by itself; here all are only to be over
                operation.exception(_END_S)


def _gather(pool: Rig, lineup: Lineup, operations: tuple[Pending, ...], wanted: int, timeout: float) -> None:
    """Wait until all are there, one has ended, or the time is up."""
    until = pool.now_ns() + round(timeout * 1e9)
    while lineup.present < wanted and not any(it.done() for it in operations) and pool.now_ns() < until:
        lineup.gather(wanted, min(_SLICE_S, max(0.0, (until - pool.now_ns()) / 1e9)))


def _too_few(
    pool: Rig, lineup: Lineup, operations: tuple[Pending, ...], wanted: int, waited_s: float
) -> WaitTimeoutError:
    failed = [it for it in operations if it.done()]
    why = f"; {failed[0].describe()} ended: {_how(failed[0])}" if failed else ""
    return WaitTimeoutError(
        f"{wanted} operations side by side in the workers of {pool.name}",
        waited_s,
        f"{lineup.present} were there{why}; the state then: {pool.state()}",
        lineup.present,
        pool.events.since(max(0, pool.events.count - 50)),
    )


def _how(operation: Pending) -> str:
    if operation.future.cancelled():
        return "it was cancelled"
    error = operation.future.exception(0)
    return f"{type(error).__name__}: {error}" if error is not None else "it was let go"


def wait_for_pool_ready(pool: Rig, *, timeout: float = 30.0) -> Incarnation:
    """Wait until a worker takes up an operation: that is what ready means, whatever the pool says.

    Returns:
        the worker that did.

    Raises:
        WaitTimeoutError: none did, with the last error if the pool gave one.
    """
    return wait_for_workers_initialized(pool, 1, timeout=timeout)[0]


def wait_for_workers_initialized(
    pool: Rig, count: int | None = None, *, timeout: float = 30.0
) -> tuple[Incarnation, ...]:
    """Wait until so many workers answer: living, distinct incarnations that are at an operation at the same moment.

    Args:
        pool: the rig.
        count: how many; as many as it was set up with, if it is not said. What it says of itself is not asked.
        timeout: for how many seconds.

    Raises:
        WaitTimeoutError: fewer did.
    """
    wanted = pool.size if count is None else count
    until = pool.now_ns() + round(timeout * 1e9)
    last: Exception | None = None
    while True:
        left_s = (until - pool.now_ns()) / 1e9
        try:
            with synchronize_pool_operations(pool, wanted, timeout=max(0.001, left_s)) as held:
                found = tuple(dict.fromkeys(held.workers))
                if len(found) >= wanted:
                    return found
                last = None
        except UsageError:
            raise
        except Exception as error:  # whatever the pool refuses with; perhaps it recovers
            last = error
        if pool.now_ns() >= until:
            if isinstance(last, WaitTimeoutError):
                raise last
            told = f"the pool refused: {type(last).__name__}: {last}" if last else "some worker was at two of them"
            raise WaitTimeoutError(
                f"{wanted} workers of {pool.name} that answer",
                timeout,
                f"{told}; the state then: {pool.state()}",
                None,
                pool.events.since(max(0, pool.events.count - 50)),
            ) from last
        pool.pass_time(_PAUSE_S)


def wait_for_pool_idle(pool: Rig, *, timeout: float = 30.0) -> PoolState:
    """Wait until every operation that was sent has ended, and no living worker is at one, by its records.

    Raises:
        WaitTimeoutError: some have not.
    """
    until = pool.now_ns() + round(timeout * 1e9)
    wait_for(lambda: not pool.pending, timeout=timeout, on=pool, what=f"{pool.name} idle", seen=pool.state)
    # What ended for its client may go on in its worker: a deadline, or a cancellation, does not reach everywhere.
    left_s = max(0.001, (until - pool.now_ns()) / 1e9)
    wait_for(lambda: not pool.running(), timeout=left_s, on=pool, polls=True, what=f"{pool.name} idle", seen=pool.state)
    return pool.state()


def wait_for_session_affinity(pool: Rig, session: Hashable, *, times: int = 2, timeout: float = 10.0) -> Binding:
    """Wait until a session is bound: so many operations in a row found it in the same worker, in the same epoch.

    It sends operations of the session that run none of the workload's code.

    Raises:
        WaitTimeoutError: it never stayed so long; or the pool holds no sessions, and its state is fresh each time.
    """
    until = pool.now_ns() + round(timeout * 1e9)
    seen: list[Binding | None] = []
    last: Exception | None = None
    while True:
        try:
            pool.touch(session=session).result(max(0.001, (until - pool.now_ns()) / 1e9))
            seen.append(pool.binding(session))
        except Exception as error:  # the session may be lost, and begin anew
            last = error
            seen.clear()
            pool.pass_time(_PAUSE_S)
        binding = seen[-1] if seen else None
        if binding is not None and len(seen) >= times and len(set(seen[-times:])) == 1:
            return binding
        if pool.now_ns() >= until:
            raise WaitTimeoutError(
                f"session {session!r} of {pool.name} in one place",
                timeout,
                f"its last operations were begun at {seen[-times:] or last!r}; the state then: {pool.state()}",
                binding,
                pool.events.since(max(0, pool.events.count - 50)),
            ) from last


def wait_for_process_restart(
    pool: Rig, lost: Failure | Incarnation, *, count: int | None = None, timeout: float = 30.0
) -> tuple[Incarnation, ...]:
    """Wait until lost workers are gone and so many others answer in their stead.

    Args:
        pool: the rig.
        lost: the worker, or the failure that befell some.
        count: how many workers must answer; as many as the pool was set up with, if it is not said.
        timeout: for how many seconds.

    Returns:
        the workers that answer.

    Raises:
        WaitTimeoutError: a lost one still lives, or fewer answer.
        UsageError: the failure befell nobody.
    """
    victims = lost.victims if isinstance(lost, Failure) else (lost,)
    if not victims:
        raise UsageError(f"{lost!r} befell nobody: there is no restart to wait for")
    until = pool.now_ns() + round(timeout * 1e9)
    wait_for(
        lambda: not set(victims) & set(pool.workers()),
        timeout=timeout,
        on=pool,
        polls=True,
        what=f"the end of {', '.join(map(str, victims))}",
        seen=pool.state,
    )
    return wait_for_workers_initialized(pool, count, timeout=max(0.001, (until - pool.now_ns()) / 1e9))


def wait_for_pool_condition(
    pool: Rig, condition: Callable[[PoolState], object], *, timeout: float = 30.0, what: str = ""
) -> PoolState:
    """Wait until the state of a pool, as the kit sees it, pleases.

    Raises:
        WaitTimeoutError: it never did; the error tells the last one.
    """

    def look() -> PoolState | None:
        state = pool.state()
        return state if condition(state) else None

    found = wait_for(
        look,
        timeout=timeout,
        on=pool,
        polls=True,
        what=what or f"{pool.name} as {getattr(condition, '__name__', 'asked')}",
        seen=pool.state,
    )
    assert found is not None  # noqa: S101 - `wait_for` returns what is true
    return found
