"""What is seen of a rigged pool: incarnations, bindings, states. Seen by the kit, and not said by the pool."""

from dataclasses import dataclass
from typing import NamedTuple


class Incarnation(NamedTuple):
    """One life of a worker; a thread worker is told by its thread, a process worker has its main thread's.

    Attributes:
        start_time: clock ticks after boot; virtual ones on layer 1.
    """

    pid: int
    start_time: int
    tid: int

    def __str__(self) -> str:
        return f"pid {self.pid}" if self.tid == self.pid else f"pid {self.pid}, thread {self.tid}"


class Binding(NamedTuple):
    """What a session is bound to: the worker, and the epoch of the state that lives there."""

    incarnation: Incarnation
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a worker process uses at one moment.

    Attributes:
        cpu_s: processor time that it has spent since it began, seconds.
        rss_bytes: resident memory, shared pages included.
        pss_bytes: resident memory, each shared page divided by how many share it.
        uss_bytes: memory that is its own alone: what its end would free.
        threads: how many it has.
        files: how many descriptors it has open.
    """

    cpu_s: float
    rss_bytes: int
    pss_bytes: int
    uss_bytes: int
    threads: int
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """A rigged pool at one moment.

    Attributes:
        at_ns: when, on the rig's clock.
        pending: operations that were sent and have not ended.
        running: operations that a living worker has begun and not ended, by its records.
        queued: those that are pending and that no living worker is at.
        completed: operations that ended with the right result.
        failed: operations that ended otherwise.
        workers: the living incarnations that have begun any operation.
        sessions: how many sessions an operation was begun for, and that were not closed.
        says: what the pool says of itself, which is no evidence.
    """

    at_ns: int
    pending: int
    running: int
    queued: int
    completed: int
    failed: int
    workers: tuple[Incarnation, ...]
    sessions: int
    says: str

    def __str__(self) -> str:
        workers = ", ".join(map(str, self.workers)) or "none that has begun anything"
        return (
            f"{self.pending} pending ({self.running} running, {self.queued} queued), {self.completed} completed, "
            f"{self.failed} failed, {self.sessions} sessions, living workers: {workers}; the pool says {self.says}"
        )
