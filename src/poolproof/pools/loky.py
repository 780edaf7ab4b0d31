"""`loky`'s reusable executor, used as its documentation tells, and what that documentation says. Needs `peers`."""

from concurrent.futures import Future
from typing import Any, Final

from loky import get_reusable_executor

from poolproof.plan import Claim, Claims, Operation

_BROKEN: Final = (
    'loky.process_executor, TerminatedWorkerError: "Raised when a process in a ProcessPoolExecutor terminated abruptly '
    'while a future was in the running state"; README: the standard library\'s executor "is as robust as the executor '
    'from loky", and that one breaks as a whole'
)

CLAIMS: Final = Claims(
    promises={
        "contains-the-blast": Claim(made="declined", source=_BROKEN),
        "degrades-gracefully": Claim(made="declined", source=_BROKEN),
        "survives-worker-death": Claim(
            made="promised",
            source='get_reusable_executor: "Start a new instance if it has not been started already or if the previous '
            'instance was left in a broken state"',
        ),
    },
    # loky.process_executor: BrokenProcessPool ("Raised when the executor is broken while a future was in the running
    # state"), its subclass TerminatedWorkerError, ShutdownExecutorError; Executor.submit of the standard library.
    errors=(
        "concurrent.futures._base.CancelledError",
        "concurrent.futures._base.BrokenExecutor",
        "loky.process_executor.ShutdownExecutorError",
    ),
)


class LokyPool:
    """The reusable executor, asked for anew at each submit: that is how one that broke is replaced by a fresh one."""

    claims = CLAIMS

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._executor = get_reusable_executor(max_workers=workers)
        self._closed = False

    def submit(self, operation: Operation) -> "Future[Any]":
        if not self._closed:  # once closed, asking for it would start another
            self._executor = get_reusable_executor(max_workers=self._workers)
        future: Future[Any] = self._executor.submit(operation.call)
        return future

    def close(self, *, cancel: bool = False) -> None:
        self._closed = True
        # loky has no way to drop what waits and let finish what runs: `kill_workers` ends both.
        self._executor.shutdown(wait=True, kill_workers=cancel)


def make(workers: int) -> LokyPool:
    """The reusable executor with `workers` processes."""
    return LokyPool(workers)
