"""`multiprocessing.Pool` with its defaults, and what its documentation says."""

import multiprocessing
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from poolproof.plan import Claims, Operation

CLAIMS: Final = Claims(
    # docs.python.org, multiprocessing.pool, is silent about the death of a worker: those promises stay undeclared.
    # Pool.apply_async: "If the remote call raised an exception then that exception will be reraised by get()". The type
    # below is what it wraps results and exceptions in that do not pickle (multiprocessing/pool.py); it is not
    # documented by name and is granted to it all the same.
    errors=("multiprocessing.pool.MaybeEncodingError",),
)


class MultiprocessingPool:
    """A `multiprocessing.Pool` seen as a pool: `apply_async` with its two callbacks, which resolve a future."""

    claims = CLAIMS

    def __init__(self, workers: int) -> None:
        self._pool = multiprocessing.Pool(workers)

    def submit(self, operation: Operation) -> "Future[Any]":
        future: Future[Any] = Future()
        # There is no way to cancel what this pool was given. Said before it is given: the callback may come first, and
        # one that raises would kill the pool's own result thread.
        future.set_running_or_notify_cancel()
        self._pool.apply_async(
            operation.call,
            callback=partial(_resolve, future),
            error_callback=partial(_fail, future),
        )
        return future

    def close(self, *, cancel: bool = False) -> None:
        if cancel:
            self._pool.terminate()
        else:
            self._pool.close()
        self._pool.join()


def _resolve(future: "Future[Any]", result: Any) -> None:
    future.set_result(result)


def _fail(future: "Future[Any]", error: BaseException) -> None:
    future.set_exception(error)


def make(workers: int) -> MultiprocessingPool:
    """A pool of `workers` processes, started by the interpreter's default method."""
    return MultiprocessingPool(workers)
