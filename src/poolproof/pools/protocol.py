"""The one small protocol through which poolproof knows pools."""

from concurrent.futures import Future
from typing import Any, Protocol, runtime_checkable

from poolproof.plan import Claims, Operation


@runtime_checkable
class Pool(Protocol):
    """A pool as poolproof drives it. What it says of itself is never evidence."""

    claims: Claims
    """What its documentation promises and declines, with the sources."""

    def submit(self, operation: Operation) -> "Future[Any]":
        """Hand over one operation: `operation.call()` is to run in a worker; what that returns is the result."""

    def close(self, *, cancel: bool = False) -> None:
        """End the pool and return once it has ended; with `cancel`, what has not begun need not run."""
