"""A pool without workers, queue or wire: it answers in `submit`, so that what is measured is the kit alone."""

from concurrent.futures import Future
from typing import Any

from poolproof import Claims, Operation


class NullPool:
    """Resolves each operation on the spot with what the scripted workload expects."""

    claims = Claims(in_process=True)

    def submit(self, operation: Operation) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result((operation.op, operation.call.payload[-1]))
        return future

    def close(self, *, cancel: bool = False) -> None:
        """There is nothing to end."""


def make() -> NullPool:
    """A null pool."""
    return NullPool()
