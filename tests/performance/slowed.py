"""A pool with a slow-down of a known size: what `error_rates` has the detector find. It imports next to nothing."""

import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from sessionpool import SessionPool

WAIT: Final = "TESTS_WAIT_NS"
EVERY: Final = 50


class Slowed(SessionPool):
    """A pool that lets one submit in so many wait."""

    every = 1

    def __init__(self, max_workers: int) -> None:
        super().__init__(max_workers)
        self._wait_ns = int(os.environ.get(WAIT, "0"))
        self._number = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As `SessionPool`."""
        self._number += 1
        if self._wait_ns and self._number % self.every == 0:
            until = time.perf_counter_ns() + self._wait_ns
            while time.perf_counter_ns() < until:
                pass
        return super().submit(fn, *args, **kwargs)


class RarelySlowed(Slowed):
    every = EVERY
