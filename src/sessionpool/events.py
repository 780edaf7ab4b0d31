"""What the pool publishes: each transition of a worker, a session, an operation or of the pool, as a value."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

Subject = Literal["worker", "session", "operation", "pool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One transition.

    Attributes:
        at_s: when, in seconds of the pool's clock (CLOCK_MONOTONIC).
        subject: whose.
        what: of a worker `starting`, `ready`, `stalled`, `stopping`, `gone`; of a session `opened`, `moved`, `lost`,
            `expired`, `closed`; of an operation `queued`, `sent`, `again`, `resolved`, `withdrawn`; of the pool
            `growing`, `shrinking`, `broken`, `closing`.
        worker: the number of the worker's incarnation; 0 where there is none.
        pid: its process; None where there is none yet.
        key: the session's.
        operation: the operation's number; 0 where there is none.
        detail: why, or with what outcome.
    """

    at_s: float
    subject: Subject
    what: str
    worker: int = 0
    pid: int | None = None
    key: Hashable = None
    operation: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How many there are of what, at one moment.

    Attributes:
        starting: workers on their way.
        ready: workers with nothing to do.
        busy: workers at an operation.
        stalled: workers at an operation that stand still.
        stopping: workers that were asked to leave.
        queued: operations that wait.
        running: operations that a worker holds.
        sessions: sessions that are open.
        restarts: workers that were lost since the pool began, whatever the reason.
        broken: whether the pool gave up.
        closed: whether it was shut down.
    """

    starting: int
    ready: int
    busy: int
    stalled: int
    stopping: int
    queued: int
    running: int
    sessions: int
    restarts: int
    broken: bool
    closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """One worker, at one moment.

    Attributes:
        number: of its incarnation; never given again.
        pid: its process; None until it is forked.
        state: `starting`, `ready`, `busy`, `stalled` or `stopping`.
        sessions: how many live in it.
        operations: how many it has answered.
    """

    number: int
    pid: int | None
    state: str
    sessions: int
    operations: int
