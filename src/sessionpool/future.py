"""The future of an operation: whoever waits for it reads the answers of its worker, so that no other thread has to.

It is `concurrent.futures.Future` in all that can be seen of it.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any

from sessionpool.core import Drop, Resolve, Task
from sessionpool.wire import Buffer

if TYPE_CHECKING:
    from sessionpool.runtime import Port, Runtime


class States(type(threading.RLock())):  # type: ignore[misc] # the type has no other name
    """The lock of a future's state, where `Future` expects a condition; nobody waits on it, so nobody is woken."""

    __slots__ = ()

    def wait(self, timeout: float | None = None) -> None:
        """Return at once; `Future.result` then finds that it is too early."""

    def notify_all(self) -> None:
        """Do nothing."""


class PoolFuture(Future[Any]):
    """What `submit` returns.

    Its own fields belong to the runtime and are guarded by its lock: `port` is the worker that holds the operation;
    `is_taken` says that it was sent once, from when on it is running and cannot be cancelled.

    `effect` is how it ends, from the moment that this is decided.

    It has a bare lock in place of a condition, which would be most of what an operation costs. So nobody waits on it:
    who has to wait does so by `concurrent.futures.wait`, which brings an event of its own. (One lock for all futures of
    a pool would be cheaper still, and deadlock: `wait` takes the locks of its futures in the order of their ids.)
    """

    def __init__(self, runtime: "Runtime", parts: Sequence[Buffer]) -> None:
        # What `Future.__init__` does, but for the condition; a test watches that it does no more.
        self._condition = States()
        self._state = "PENDING"
        self._result = None
        self._exception = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []
        self.runtime = runtime
        self.parts = parts
        self.task: Task | None = None
        self.port: Port | None = None
        self.effect: Resolve | Drop | None = None
        self.is_taken = False
        self.has_callbacks = False

    def result(self, timeout: float | None = None) -> Any:
        if self._state != "FINISHED":
            self._wait(timeout)
        if self._state == "FINISHED" and self._exception is None:
            return self._result
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        if self._state != "FINISHED":
            self._wait(timeout)
        return super().exception(0)

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        self.has_callbacks = True
        super().add_done_callback(fn)

    def cancel(self) -> bool:
        """Cancel the operation where no worker has taken it yet; the closing of a session cannot be taken back."""
        task = self.task
        if task is not None and task.closes:
            return False
        # Out of the pool's hands first, under the pool's lock: from then on nobody but this call can resolve it. The
        # other way round a worker could be handed an operation that its client believes cancelled.
        is_ours = self.runtime.withdraw(self)
        if not super().cancel():
            return False
        if is_ours:
            self.set_running_or_notify_cancel()
        return True

    def start(self) -> None:
        """It is sent. Who cancels has withdrawn it before, and then it never is; so this needs no look at its state."""
        self.is_taken = True
        self._state = "RUNNING"

    def _wait(self, timeout: float | None) -> None:
        if self.port is not None:
            timeout = self.runtime.read_for(self, timeout)
        if self._state != "FINISHED":
            wait((self,), timeout)
