"""What a pool can be told: small groups of values, validated together."""

import math
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from sessionpool.errors import InvalidSettings

Affinity = Literal["strict", "restart", "hint"]
"""What a session is owed when its worker is gone or busy.

`strict`: its worker or `SessionLost`; `restart`: its worker, or else another one with a fresh state (a new epoch);
`hint`: its worker where that is idle, else any idle one, with a fresh state.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """How sessions are held.

    Attributes:
        affinity: what a session is owed, where an operation's view does not say otherwise.
        ttl_s: seconds without an operation after which a session expires; None for never.
        max_count: how many sessions there may be at once; None for no bound.
    """

    affinity: Affinity = "strict"
    ttl_s: float | None = None
    max_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recycling:
    """When a worker is replaced by a fresh one; None for never.

    By operations and age it goes once no session lives in it that would be lost; by memory it goes at its next pause.

    Attributes:
        operations: after how many.
        age_s: after how many seconds.
        memory_bytes: beyond which resident size.
    """

    operations: int | None = None
    age_s: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long the pool waits before it acts.

    Attributes:
        start_s: for the forkserver's imports, and for a worker to become ready.
        stop_s: for a worker that was asked to leave.
        stall_s: for a worker that stands still without being at an operation, or is stopped.
        grow_s: how long an operation waits before another worker is started, up to the largest number.
        shrink_s: how long a worker beyond the smallest number idles before it leaves.
    """

    start_s: float = 60.0
    stop_s: float = 5.0
    stall_s: float = 1.0
    grow_s: float = 0.05
    shrink_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarts:
    """What is tried again, and how often.

    Attributes:
        max_failures: how many times in a row starts may fail, with no other worker left, before the pool is broken;
            workers that are started together and fail count once.
        backoff_s: how long to wait after the first failed start; doubles each time, within half and one and a half.
        max_backoff_s: the longest such wait.
        max_retries: how often an idempotent operation is run again after its worker was lost.
    """

    max_failures: int = 5
    backoff_s: float = 0.05
    max_backoff_s: float = 5.0
    max_retries: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that the core goes by; `SessionPool` documents the fields that stand here alone."""

    min_workers: int
    max_workers: int
    max_queue: int | None = None
    deadline_s: float | None = None
    max_frame_bytes: int = 1 << 30
    sessions: Sessions = Sessions()
    recycling: Recycling = Recycling()
    timing: Timing = Timing()
    restarts: Restarts = Restarts()

    def __post_init__(self) -> None:
        problems = tuple(_problems(self))
        if problems:
            raise InvalidSettings(problems)


_LEAST_FRAME: Final = 1 << 12


def _problems(it: Settings) -> list[str]:
    """Everything that is wrong, not only the first."""
    found: list[str] = []

    def whole(name: str, value: Any, least: int, *, optional: bool = False) -> None:
        if value is None and optional:
            return
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            found.append(f"{name}: {value!r} is no whole number of at least {least}{' or None' * optional}")

    def seconds(name: str, value: Any, *, optional: bool = False, zero: bool = False) -> None:
        if value is None and optional:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or value < 0 or (value == 0 and not zero):
            found.append(f"{name}: {value!r} is no time in seconds above 0{' or None' * optional}")

    whole("min_workers", it.min_workers, 1)
    whole("max_workers", it.max_workers, 1)
    if not found and it.min_workers > it.max_workers:
        found.append(f"min_workers: {it.min_workers} is more than max_workers, which is {it.max_workers}")
    whole("max_queue", it.max_queue, 0, optional=True)
    seconds("deadline", it.deadline_s, optional=True)
    whole("max_frame_bytes", it.max_frame_bytes, _LEAST_FRAME)
    groups = (
        ("sessions", it.sessions, Sessions),
        ("recycling", it.recycling, Recycling),
        ("timing", it.timing, Timing),
        ("restarts", it.restarts, Restarts),
    )
    misfits = [f"{name}: {it!r} is no {kind.__name__}" for name, it, kind in groups if not isinstance(it, kind)]
    if misfits:
        return found + misfits
    if it.sessions.affinity not in get_args(Affinity):
        found.append(f"sessions.affinity: {it.sessions.affinity!r} is none of {', '.join(get_args(Affinity))}")
    seconds("sessions.ttl_s", it.sessions.ttl_s, optional=True)
    whole("sessions.max_count", it.sessions.max_count, 1, optional=True)
    whole("recycling.operations", it.recycling.operations, 1, optional=True)
    seconds("recycling.age_s", it.recycling.age_s, optional=True)
    whole("recycling.memory_bytes", it.recycling.memory_bytes, 1 << 20, optional=True)
    for name in ("start_s", "stop_s", "stall_s", "shrink_s"):
        seconds(f"timing.{name}", getattr(it.timing, name))
    seconds("timing.grow_s", it.timing.grow_s, zero=True)
    whole("restarts.max_failures", it.restarts.max_failures, 1)
    seconds("restarts.backoff_s", it.restarts.backoff_s)
    seconds("restarts.max_backoff_s", it.restarts.max_backoff_s)
    whole("restarts.max_retries", it.restarts.max_retries, 0)
    return found
