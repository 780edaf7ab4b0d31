"""sessionpool: a pool of worker processes that keeps sessions with their workers, and loses nothing in silence.

    from sessionpool import SessionPool

    with SessionPool(4, preload=["sklearn.linear_model"]) as pool:
        pool.submit(pow, 2, 10).result()                # any worker
        chat = pool.session("user-7")                   # its own worker, with a dict of its own there
        chat.submit(answer, "hello").result()           # runs answer(state, "hello")
        pool.options(deadline=2.0, idempotent=True).submit(score, row)

It needs Linux, and nothing but Python's standard library.

The names here are imported when they are first used: forkserver and workers, which start from this package, need few of
them, and a pool is open as soon as they are up.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sessionpool.core import PoolBroken
    from sessionpool.errors import (
        DeadlineExceeded,
        FrameTooLarge,
        InvalidSettings,
        MalformedFrame,
        NotPicklable,
        NotUnpicklable,
        PoolClosed,
        PoolSaturated,
        PreloadError,
        RemoteTraceback,
        SessionExpired,
        SessionLost,
        SessionPoolError,
        SessionUnknown,
        WorkerDied,
    )
    from sessionpool.events import Event, Snapshot, WorkerInfo
    from sessionpool.pool import PoolView, SessionPool, SessionView
    from sessionpool.settings import Recycling, Restarts, Sessions, Timing

__all__ = [
    "DeadlineExceeded",
    "Event",
    "FrameTooLarge",
    "InvalidSettings",
    "MalformedFrame",
    "NotPicklable",
    "NotUnpicklable",
    "PoolBroken",
    "PoolClosed",
    "PoolSaturated",
    "PoolView",
    "PreloadError",
    "Recycling",
    "RemoteTraceback",
    "Restarts",
    "SessionExpired",
    "SessionLost",
    "SessionPool",
    "SessionPoolError",
    "SessionUnknown",
    "SessionView",
    "Sessions",
    "Snapshot",
    "Timing",
    "WorkerDied",
    "WorkerInfo",
]

_HOMES = {
    "sessionpool.core": ("PoolBroken",),
    "sessionpool.errors": (
        "DeadlineExceeded",
        "FrameTooLarge",
        "InvalidSettings",
        "MalformedFrame",
        "NotPicklable",
        "NotUnpicklable",
        "PoolClosed",
        "PoolSaturated",
        "PreloadError",
        "RemoteTraceback",
        "SessionExpired",
        "SessionLost",
        "SessionPoolError",
        "SessionUnknown",
        "WorkerDied",
    ),
    "sessionpool.events": (
        "Event",
        "Snapshot",
        "WorkerInfo",
    ),
    "sessionpool.pool": (
        "PoolView",
        "SessionPool",
        "SessionView",
    ),
    "sessionpool.settings": (
        "Recycling",
        "Restarts",
        "Sessions",
        "Timing",
    ),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            found = globals()[name] = getattr(import_module(home), name)
            return found
    raise AttributeError(f"module 'sessionpool' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
