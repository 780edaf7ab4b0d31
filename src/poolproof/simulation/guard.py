"""Real time, real chance and real waiting are errors while a world is simulated: they would make two runs differ."""

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final


class RealTimeError(RuntimeError):
    """Something under a virtual clock reached for the real world: its clock, its chance, or a wait."""


_FORBIDDEN: Final[tuple[tuple[Any, tuple[str, ...]], ...]] = (
    (time, ("monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns", "sleep")),
    (random, ("random", "randrange", "randint", "getrandbits", "choice", "choices", "shuffle", "uniform", "sample")),
    (os, ("urandom", "fork")),
    (socket, ("socketpair", "create_connection")),
    (threading.Thread, ("start",)),
)


@contextlib.contextmanager
def no_real_world() -> Iterator[None]:
    """Within it, whoever on this thread reads a clock, sleeps, draws chance or starts a thread gets `RealTimeError`.

    Other threads, those of a test runner for example, are let alone.
    """
    mine = threading.get_ident()
    before = [(home, name, getattr(home, name)) for home, names in _FORBIDDEN for name in names]
    for home, name, true in before:
        setattr(home, name, _refusing(mine, name, true))
    try:
        yield
    finally:
        for home, name, true in before:
            setattr(home, name, true)


def _refusing(thread: int, name: str, true: Callable[..., Any]) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == thread:
            raise RealTimeError(f"{name} was called while a world is simulated: its result would differ each time")
        return true(*args, **kwargs)

    return refuse
