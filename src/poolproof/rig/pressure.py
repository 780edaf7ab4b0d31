"""Work that is put on a pool on purpose: filled, drained, exhausted; grown by it, and shrunk again without it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from poolproof.errors import EvidenceError, UsageError
from poolproof.rig.pending import Pending
from poolproof.rig.rig import Rig
from poolproof.rig.values import Incarnation, PoolState
from poolproof.rig.waits import (
    Held,
    synchronize_pool_operations,
    wait_for_pool_condition,
    wait_for_pool_idle,
    wait_for_workers_initialized,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """A pool whose workers are all busy, and the operations that wait behind them.

    Attributes:
        held: what its workers are at.
        waiting: the operations behind, in order.
    """

    held: Held
    waiting: tuple[Pending, ...]

    def release(self) -> None:
        """Let the workers go on."""
        self.held.release()


@contextmanager
def fill(pool: Rig, waiting: int = 0, *, timeout: float = 10.0) -> Iterator[Full]:
    """Keep all workers of a pool busy, with so many operations waiting behind them, until the block is left.

    Raises:
        WaitTimeoutError: not all workers could be kept busy.
        Exception: what the pool refuses one of the operations with.
    """
    with synchronize_pool_operations(pool, timeout=timeout) as held:
        yield Full(held=held, waiting=tuple(pool.touch() for _ in range(waiting)))


def drain(pool: Rig, *, timeout: float = 30.0) -> PoolState:
    """Wait until everything that was sent has ended: `wait_for_pool_idle`, by what it does to a full pool."""
    return wait_for_pool_idle(pool, timeout=timeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhausted:
    """What it took until a pool refused more.

    Attributes:
        accepted: the operations that wait, taken before it refused one.
        refusal: what it refused with.
    """

    accepted: tuple[Pending, ...]
    refusal: BaseException


@contextmanager
def exhaust(pool: Rig, *, most: int = 10_000, timeout: float = 10.0) -> Iterator[Exhausted]:
    """Keep all workers busy and send more until the pool refuses; it stays so until the block is left.

    Raises:
        EvidenceError: it took `most` operations and refused none: nothing is told of what it does when it is full.
    """
    with fill(pool, timeout=timeout):
        accepted: list[Pending] = []
        refusal: BaseException | None = None
        while refusal is None:
            if len(accepted) >= most:
                raise EvidenceError(
                    f"{pool.name} took {most} operations while all its workers were busy, and refused none"
                )
            try:
                accepted.append(pool.touch())
            except UsageError:
                raise
            except Exception as error:  # what it refuses with is what is asked
                refusal = error
        yield Exhausted(accepted=tuple(accepted), refusal=refusal)


def grow_pool(pool: Rig, to: int, *, timeout: float = 30.0) -> tuple[Incarnation, ...]:
    """Put pressure on a pool until so many workers are at an operation at once; who they are.

    Raises:
        WaitTimeoutError: it did not grow so far.
    """
    return wait_for_workers_initialized(pool, to, timeout=timeout)


def shrink_pool(pool: Rig, to: int, *, timeout: float = 30.0) -> tuple[Incarnation, ...]:
    """Leave a pool alone until no more than so many of its workers live; who they are.

    Raises:
        WaitTimeoutError: more live on.
    """
    state = wait_for_pool_condition(
        pool,
        lambda it: len(it.workers) <= to and not it.pending,
        timeout=timeout,
        what=f"{pool.name} with {to} workers",
    )
    return state.workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many workers lived at one moment."""

    at_ns: int
    workers: int


class Scaling:
    """How the size of a pool changed while it was observed."""

    def __init__(self) -> None:
        self._sizes: list[Size] = []

    def add(self, at_ns: int, workers: int) -> None:
        """Write down a size, where it is another than the one before."""
        if not self._sizes or self._sizes[-1].workers != workers:
            self._sizes.append(Size(at_ns=at_ns, workers=workers))

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Each size that was seen, in order."""
        return tuple(self._sizes)

    @property
    def most(self) -> int:
        """The largest."""
        return max(it.workers for it in self._sizes)

    def reached_after_s(self, workers: int) -> float | None:
        """How long after the begin so many were seen; None where they never were."""
        return next(((it.at_ns - self._sizes[0].at_ns) / 1e9 for it in self._sizes if it.workers >= workers), None)


@contextmanager
def observe_scaling(pool: Rig, interval: float = 0.01) -> Iterator[Scaling]:
    """Watch how many workers live while the block runs: those that have begun any operation, by records and `/proc`."""
    scaling = Scaling()

    def look() -> None:
        scaling.add(pool.now_ns(), len(pool.workers()))

    look()
    with ExitStack() as stack:
        stack.callback(look)
        stack.callback(pool.every(interval, look))
        yield scaling
