"""Any `concurrent.futures.Executor`, unadapted."""

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Final

import msgspec

from poolproof.plan import Claims, Operation

EXECUTOR_CLAIMS: Final = Claims(
    # The documentation of concurrent.futures: submit after shutdown raises RuntimeError; a cancelled future raises
    # CancelledError; "BrokenExecutor: derived from RuntimeError, raised when an executor is broken for some reason".
    errors=("concurrent.futures._base.CancelledError", "concurrent.futures._base.BrokenExecutor"),
)


class ExecutorPool:
    """An executor seen as a pool; nothing is added to what the executor does."""

    def __init__(self, executor: Executor, claims: Claims = EXECUTOR_CLAIMS) -> None:
        self._executor = executor
        self.claims = msgspec.structs.replace(
            claims, in_process=claims.in_process or isinstance(executor, ThreadPoolExecutor)
        )

    def submit(self, operation: Operation) -> "Future[Any]":
        return self._executor.submit(operation.call)

    def close(self, *, cancel: bool = False) -> None:
        self._executor.shutdown(wait=True, cancel_futures=cancel)

    def __repr__(self) -> str:
        return repr(self._executor)
