"""`sessionpool.SessionPool`, which promises everything: its sessions go on elsewhere, its queue is bounded."""

import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import fields
from typing import Any, Final

import msgspec

from poolproof.plan import IMPLIED, PROMISES, Claim, Claims, Operation
from sessionpool import Recycling, Restarts, SessionPool, Sessions, Timing
from sessionpool.core import Core, Task, _Grave
from sessionpool.errors import SessionLost
from sessionpool.settings import Settings

CLAIMS: Final = Claims(
    promises={
        name: Claim(made="promised", source='docs/sessionpool.md, "What it promises"')
        for name in PROMISES
        if name not in IMPLIED
    },
    errors=("sessionpool.errors.SessionPoolError",),
    overload=("sessionpool.errors.PoolSaturated",),
    detection_s=0.3,
    sessions_end=False,
)

_WAITING: Final = 32
"""How many operations may wait for each worker."""

_LEAST_S: Final = 0.001
_LOOKS: Final = 4
"""How often a worker is looked at within `stall_s`, as `sessionpool.runtime` does."""

_GROUPS: Final[dict[str, type[Any]]] = {
    "sessions": Sessions,
    "recycling": Recycling,
    "timing": Timing,
    "restarts": Restarts,
}


def _arguments(workers: int, options: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a pool: options by their own names, those of a group by the field's (`ttl_s`)."""
    arguments: dict[str, Any] = {"max_queue": _WAITING * workers}
    rest = {"affinity": "restart"} | options
    for name, group in _GROUPS.items():
        arguments[name] = group(**{it.name: rest.pop(it.name) for it in fields(group) if it.name in rest})
    return arguments | rest


class SessionPoolPool:
    """A `SessionPool` seen as a pool."""

    claims = CLAIMS

    def __init__(self, workers: int, modules: tuple[str, ...], options: dict[str, Any]) -> None:
        arguments = _arguments(workers, options)
        self._is_strict = arguments["sessions"].affinity == "strict"
        self._pool = SessionPool(workers, preload=("poolproof.probe", *modules), **arguments)

    def submit(self, operation: Operation) -> "Future[Any]":
        deadline = None
        if operation.deadline_ns is not None:
            deadline = max(_LEAST_S, (operation.deadline_ns - time.monotonic_ns()) / 1e9)
        view = self._pool.options(deadline=deadline, idempotent=operation.idempotent)
        if operation.session is None:
            return view.submit(operation.call)
        return view.session(operation.session).submit(operation.call)

    def close(self, *, cancel: bool = False) -> None:
        self._pool.shutdown(cancel_futures=cancel)

    def subscribe(self, callback: Callable[[Any], object], /) -> Callable[[], None]:
        return self._pool.subscribe(callback)

    def close_session(self, session: int) -> "Future[Any]":
        return self._pool.session(session).close()

    def take_over(self, sessions: Mapping[int, int | None], reason: str) -> bool:
        runtime = self._pool._runtime
        with runtime._lock:
            return self._is_strict and bury(runtime._core, sessions, reason)

    def __repr__(self) -> str:
        return repr(self._pool)


def make(workers: int, modules: tuple[str, ...] = (), **options: Any) -> SessionPoolPool:
    """A pool of `workers` processes, forked where `modules` are imported; its sessions outlive their workers."""
    return SessionPoolPool(workers, modules, options)


class SessionPoolCore:
    """The decisions of a `SessionPool`, for layer 1."""

    claims = CLAIMS

    def __init__(self, workers: int, **options: Any) -> None:
        arguments = _arguments(workers, options)
        least = arguments.pop("min_workers", workers)
        self._settings = Settings(min_workers=least, max_workers=workers, **arguments)
        self.workers = workers
        self.max_queue = self._settings.max_queue
        self.is_strict = self._settings.sessions.affinity == "strict"
        self.claims = msgspec.structs.replace(CLAIMS, sessions_end=self.is_strict)
        self.max_runs = 1 + self._settings.restarts.max_retries
        self.look_s = min(self._settings.timing.stall_s / _LOOKS, 0.5)

    def make_core(self, chance: random.Random) -> Core:
        return Core(self._settings, chance)

    def make_task(
        self,
        op: int,
        *,
        kind: int,
        session: int | None,
        deadline_s: float | None,
        idempotent: bool,
        closes: bool = False,
    ) -> Task:
        return Task(
            op,
            cost=kind,
            has_session=session is not None,
            key=session,
            deadline_s=None if deadline_s is None else max(_LEAST_S, deadline_s),
            idempotent=idempotent,
            closes=closes,
        )

    def take_over(self, core: Core, sessions: Mapping[int, int | None], reason: str) -> bool:
        return self.is_strict and bury(core, sessions, reason)

    def tamper(self, core: Core, how: str, count: int, chance: random.Random) -> list[int]:
        """Sessions of which nothing waits are harmed: it is the table that is to be wrong, not the queue."""
        # What is reached into here is the core's own, on purpose: this is the hand that corrupts it.
        table = core._sessions
        able = [it for it in table.values() if it.worker is not None and it.pending == it.sent == 0]
        chance.shuffle(able)
        harmed = able[:count]
        if how == "swap-affinity":
            pairs = [(a, b) for a, b in zip(harmed[::2], harmed[1::2], strict=False) if a.worker is not b.worker]
            harmed = [one for pair in pairs for one in pair]
            for one, other in pairs:
                one.worker, other.worker = other.worker, one.worker
        for it in harmed:
            if how == "lose-affinity":
                del table[it.key]
            elif how == "stale-affinity":
                it.worker = _dead(it.worker)
        return [it.key for it in harmed if isinstance(it.key, int)]


def bury(core: Core, sessions: Mapping[int, int | None], reason: str) -> bool:
    """Have a core remember sessions as lost that it never had: it refuses them, and lets them go, as its own ones."""
    # As `tamper`, this writes to the core's own table: a pool by itself has no way to replace another one.
    for key, pid in sessions.items():
        core._graves[key] = _Grave(SessionLost, reason, pid, epoch=0)
    return True


def _dead(worker: Any) -> Any:
    """A worker of the past: like one that lives, and known to nobody."""
    ghost = type(worker)(0, 0.0)
    ghost.pid, ghost.state = worker.pid, "ready"
    return ghost
