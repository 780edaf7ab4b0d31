"""`sessionpool.SessionPool`, which promises everything: its sessions go on elsewhere, its queue is bounded."""

import time
from concurrent.futures import Future
from typing import Any, Final

from poolproof.plan import IMPLIED, PROMISES, Claim, Claims, Operation
from sessionpool import SessionPool, Sessions

CLAIMS: Final = Claims(
    promises={
        name: Claim(made="promised", source='docs/sessionpool.md, "What it promises"')
        for name in PROMISES
        if name not in IMPLIED
    },
    errors=("sessionpool.errors.SessionPoolError",),
    overload=("sessionpool.errors.PoolSaturated",),
    detection_s=0.3,
)

_WAITING: Final = 32
"""How many operations may wait for each worker."""

_LEAST_S: Final = 0.001


class SessionPoolPool:
    """A `SessionPool` seen as a pool."""

    claims = CLAIMS

    def __init__(self, workers: int, modules: tuple[str, ...]) -> None:
        self._pool = SessionPool(
            workers,
            preload=("poolproof.probe", *modules),
            max_queue=_WAITING * workers,
            sessions=Sessions(affinity="restart"),
        )

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


def make(workers: int, modules: tuple[str, ...] = ()) -> SessionPoolPool:
    """A pool of `workers` processes, forked where `modules` are imported; its sessions outlive their workers."""
    return SessionPoolPool(workers, modules)
