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


_CLOCKS: Final = ("monotonic", "perf_counter", "process_time", "thread_time", "time")
_FORBIDDEN: Final[tuple[tuple[Any, tuple[str, ...]], ...]] = (
    (time, (*_CLOCKS, *(f"{name}_ns" for name in _CLOCKS), "clock_gettime", "clock_gettime_ns", "sleep")),
    (
        random,
        (
            *("random", "randrange", "randint", "getrandbits", "randbytes", "choice", "choices", "shuffle", "sample"),
            *("uniform", "gauss", "normalvariate", "lognormvariate", "expovariate", "triangular", "betavariate"),
            *("seed", "SystemRandom"),
        ),
    ),
    (os, ("urandom", "getrandom", "fork")),
    (socket, ("socketpair", "create_connection")),
    (threading.Thread, ("start",)),
)
"""What can be refused: names that are looked up when they are used. The methods of `datetime` are none."""

_TRUE: Final = [(home, name, getattr(home, name)) for home, names in _FORBIDDEN for name in names]

_lock = threading.Lock()
_inside: dict[int, int] = {}
"""How often each thread is within. The lock guards it, and with it whether the names are replaced: they are as long as
any thread is within, whichever of them came first or leaves last."""


@contextlib.contextmanager
def no_real_world() -> Iterator[None]:
    """Within it, whoever on this thread reads a clock, sleeps, draws chance or starts a thread gets `RealTimeError`.

    Other threads, those of a test runner for example, are let alone.
    """
    mine = threading.get_ident()
    with _lock:
        if not _inside:
            for home, name, refusing in _REFUSING:
                setattr(home, name, refusing)
        _inside[mine] = _inside.get(mine, 0) + 1
    try:
        yield
    finally:
        with _lock:
            _inside[mine] -= 1
            if not _inside[mine]:
                del _inside[mine]
            if not _inside:
                for home, name, true in _TRUE:
                    setattr(home, name, true)


def _refusing(name: str, true: Callable[..., Any]) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() in _inside:
            raise RealTimeError(f"{name} was called while a world is simulated: its result would differ each time")
        return true(*args, **kwargs)

    return refuse


_REFUSING: Final = [(home, name, _refusing(name, true)) for home, name, true in _TRUE]
