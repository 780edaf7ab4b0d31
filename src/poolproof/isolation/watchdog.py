"""The bound of a test: one that hangs is dumped, and ended where it stands; the rest of the suite goes on.

One thread, `poolproof watchdog`, for the process. What wakes it: its condition, notified whenever a bound is set or
taken back. It interrupts the main thread by a real-time signal that nobody else uses, whose handler raises there: a
call that waits in the kernel returns by that, which an exception set from another thread would not bring about. A main
thread that never runs Python code again is beyond this; the keeper of the process then ends it whole.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

from poolproof.errors import HungTestError
from poolproof.waiting import bounded, stack_of

SIGNAL: Final = signal.SIGRTMIN + 11
_FRAMES: Final = 12
_DESCRIBED_S: Final = 5.0


@dataclass(slots=True)
class _Bound:
    test: str
    bound_s: float
    due: float
    describe: Callable[[], str]
    told: str = ""


class Watchdog:
    """Keeps the bound of one test at a time. Its condition guards all of it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._bound: _Bound | None = None
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, test: str, bound_s: float, describe: Callable[[], str]) -> Iterator[None]:
        """End whatever runs in this block with a `HungTestError` once it takes longer than its bound.

        Args:
            test: names it.
            bound_s: its bound; 0 for none.
            describe: the state of its pools, for the report.
        """
        if not bound_s or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(SIGNAL, self._interrupt)
        bound = _Bound(test, bound_s, time.monotonic() + bound_s, describe)
        try:
            with self._changed:
                self._bound = bound
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._run, name="poolproof watchdog", daemon=True)
                    self._thread.start()
                self._changed.notify()
            yield
        finally:
            with self._changed:  # from here on it strikes nobody: it does so under this lock
                self._bound = None
                self._changed.notify()
            signal.signal(SIGNAL, before)

    def _run(self) -> None:
        while True:
            with self._changed:
                bound = self._bound
                if bound is None or bound.told:
                    self._changed.wait()
                    continue
                if (left_s := bound.due - time.monotonic()) > 0:
                    self._changed.wait(left_s)
                    continue
            # Not under the lock: what describes a pool may want one that the test hangs with.
            told = _stacks() + self._state(bound)
            with self._changed:
                if self._bound is bound:
                    bound.told = told
                    signal.pthread_kill(threading.main_thread().ident or 0, SIGNAL)

    @staticmethod
    def _state(bound: _Bound) -> str:
        try:
            return bounded(bound.describe, _DESCRIBED_S, "telling the state of its pools")
        except Exception as error:
            return f"the state of its pools could not be told: {type(error).__name__}: {error}"

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        bound = self._bound
        if bound is not None and bound.told:
            raise HungTestError(bound.test, bound.bound_s, bound.told)


def _stacks() -> str:
    """Where every thread is, the main one first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    told = []
    for ident in sorted(sys._current_frames(), key=lambda it: it != main):
        if ident != threading.get_ident():
            where = "".join(f"    {line}\n" for line in stack_of(ident, _FRAMES))
            told.append(f"  thread {names.get(ident, ident)!r}, the innermost call first:\n{where}")
    return "".join(told)


watchdog: Final = Watchdog()
"""The one of this process."""
