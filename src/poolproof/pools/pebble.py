"""`pebble.ProcessPool` with its defaults, and what its documentation says. Needs `peers`."""

import time
from concurrent.futures import Future
from typing import Any, Final

from pebble import ProcessPool

from poolproof.plan import Claim, Claims, Operation

CLAIMS: Final = Claims(
    promises={
        "survives-worker-death": Claim(
            made="promised",
            source='pebble.readthedocs.io, "ProcessPool": "designed to support task timeouts and critical errors. If a '
            "task reaches its timeout, the worker will be interrupted immediately. Abrupt interruptions of the workers "
            'are dealt transparently"',
        ),
        # `schedule(timeout=…)` counts from the start of the execution, so it is no deadline: those stay undeclared.
    },
    # The same pages: "Future.result() will raise TimeoutError"; ProcessExpired: "Raised by Future.result() functions if
    # the related process died unexpectedly during its execution"; ProcessFuture inherits from
    # concurrent.futures.Future, whose cancelled ones raise CancelledError, and so do those of a pool that is stopped.
    errors=(
        "builtins.TimeoutError",
        "concurrent.futures._base.CancelledError",
        "pebble.common.types.ProcessExpired",
    ),
)

_LEAST_S: Final = 0.001


class PebblePool:
    """A `pebble.ProcessPool` seen as a pool; what is left until an operation's deadline is its timeout."""

    claims = CLAIMS

    def __init__(self, workers: int) -> None:
        self._pool: Any = ProcessPool(max_workers=workers)

    def submit(self, operation: Operation) -> "Future[Any]":
        timeout_s = None
        if operation.deadline_ns is not None:
            timeout_s = max(_LEAST_S, (operation.deadline_ns - time.monotonic_ns()) / 1e9)
        future: Future[Any] = self._pool.schedule(operation.call, timeout=timeout_s)
        return future

    def close(self, *, cancel: bool = False) -> None:
        if cancel:
            self._pool.stop()
        else:
            self._pool.close()
        self._pool.join()


def make(workers: int) -> PebblePool:
    """A pool of `workers` processes, started by the interpreter's default method."""
    return PebblePool(workers)
