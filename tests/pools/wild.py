"""Factories and pools that misbehave towards whoever drives them, each in one way."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, NoReturn

from poolproof.plan import Claims, Operation
from tests.pools.clean import CleanPool

PROCESSES: Final = 40
MIDDLE: Final = 100
"""The operation, of some 200, at which a pool leaves that does so in the middle of its load."""


def _hang() -> NoReturn:
    while True:
        threading.Event().wait()


class WildPool:
    """A clean pool with other manners at `submit` or `close`, by name."""

    def __init__(self, workers: int, manners: str) -> None:
        self._pool = CleanPool(workers)
        self._manners = manners
        self.claims: Claims = self._pool.claims

    def submit(self, operation: Operation) -> "Future[Any]":
        match self._manners:
            case "hangs in submit":
                _hang()
            case "exits in submit":
                os._exit(7)
            case "crashes in submit":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "leaves quietly in the middle" if operation.op >= MIDDLE:
                os._exit(0)
        return self._pool.submit(operation)

    def close(self, *, cancel: bool = False) -> None:
        if self._manners == "hangs in close":
            _hang()
        self._pool.close(cancel=cancel)


def hangs_in_submit(*, workers: int) -> WildPool:
    return WildPool(workers, "hangs in submit")


def hangs_in_close(*, workers: int) -> WildPool:
    return WildPool(workers, "hangs in close")


def exits_in_submit(*, workers: int) -> WildPool:
    return WildPool(workers, "exits in submit")


def crashes_in_submit(*, workers: int) -> WildPool:
    return WildPool(workers, "crashes in submit")


def leaves_quietly_in_the_middle(*, workers: int) -> WildPool:
    return WildPool(workers, "leaves quietly in the middle")


def hangs_in_its_factory() -> NoReturn:
    _hang()


def raises_in_its_factory() -> NoReturn:
    raise OSError("no room for a pool")


def makes_no_pool() -> object:
    return {"workers": 4}


def exits_in_its_factory() -> NoReturn:
    sys.exit("enough")


def interrupts_its_factory() -> NoReturn:
    raise KeyboardInterrupt


def leaves_quietly_in_its_factory() -> NoReturn:
    os._exit(0)


class Misclaiming(CleanPool):
    """Says of itself what cannot be read."""

    claims: Any = {"survives-worker-death": "promised"}  # noqa: RUF012 - what it is makes it wild


def misclaims(*, workers: int) -> Misclaiming:
    return Misclaiming(workers)


def starts_too_many_processes() -> NoReturn:
    """Bounded, lest a failing test take the machine along."""
    for _ in range(PROCESSES):
        subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])
    _hang()


def threads(workers: int) -> ThreadPoolExecutor:
    """Not wild at all: an executor that nobody adapted."""
    return ThreadPoolExecutor(workers)


no_factory: Final = "a text"
