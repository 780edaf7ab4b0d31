"""`wait_for`: returns when something holds, or tells what was seen instead.

**What wakes whom.** A wait subscribes before it looks for the first time, and looks again after each time that it was
woken. An event between two looks rings its bell, which is cleared *before* a look and never after it: whatever changes
after the look leaves the bell rung. Without that order, what happens between a look and the wait would be lost.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from poolproof.errors import UsageError, WaitTimeoutError
from poolproof.waiting.stream import Publishes

T = TypeVar("T")

_FIRST_S: Final = 0.0002
_GROWTH: Final = 1.4
_LONGEST_S: Final = 0.02
"""The pauses of the one poll, for what nobody publishes: from the first, growing, to the longest."""

_REMEMBERED: Final = 50


@runtime_checkable
class Drives(Protocol):
    """Whatever has a clock of its own."""

    @property
    def is_virtual(self) -> bool:
        """Whether its time goes on only where it is asked to."""

    def drive(self, condition: Callable[[], bool], timeout_s: float, /) -> bool:
        """Let its time pass until the condition holds, or so much of it has passed; whether it holds."""


class _Heard:
    """What a wait was told since it began; callbacks come from any thread, and `deque.append` is atomic."""

    def __init__(self, ring: Callable[[], object]) -> None:
        self.last: deque[Any] = deque(maxlen=_REMEMBERED)
        self.count = 0
        self._ring = ring

    def __call__(self, event: Any) -> None:
        self.last.append(event)
        self.count += 1
        self._ring()


def wait_for(
    condition: Callable[[], T],
    *,
    timeout: float,
    on: Publishes | Drives | None = None,
    polls: bool = False,
    what: str = "",
    seen: Callable[[], object] | None = None,
) -> T:
    """Return the first true value of a condition.

    Args:
        condition: looked at now, and again whenever something may have changed.
        timeout: for how many seconds.
        on: who tells of what the condition is about: an event stream, a pool with `subscribe`; it is looked at after
            each event. A rig of layer 1 lets virtual time pass instead, and no real time does. Without it, one poll
            with growing pauses looks.
        polls: whether it is looked at in between too, for what is told of in part only, or by others late.
        what: what is waited for, in words for the error; the condition's name without it.
        seen: tells the state of things, for the error.

    Raises:
        WaitTimeoutError: it did not come to hold in time; or it did, and no event told of it.
        UsageError: the timeout is no time above 0, or `on` neither publishes nor drives.
    """
    _check(timeout, on)
    if isinstance(on, Drives) and on.is_virtual:
        return _driven(condition, timeout, on, what, seen)
    tells = on if isinstance(on, Publishes) else None
    polls = polls or tells is None
    bell = threading.Event()
    heard = _Heard(bell.set)
    told = _Told(timeout, what or _name(condition), heard, seen)
    unsubscribe = tells.subscribe(heard) if tells is not None else _nothing
    deadline, pause = time.monotonic() + timeout, _FIRST_S
    try:
        before = -1
        while True:
            bell.clear()
            counted = heard.count
            last = condition()
            if last and (polls or heard.count > before):
                return last
            before = counted
            remaining = deadline - time.monotonic()
            if last or remaining <= 0:
                raise told.error(last)
            bell.wait(min(pause, remaining) if polls else remaining)
            pause = min(pause * _GROWTH, _LONGEST_S)
    finally:
        unsubscribe()


async def wait_for_async(
    condition: Callable[[], T],
    *,
    timeout: float,
    on: Publishes | Drives | None = None,
    polls: bool = False,
    what: str = "",
    seen: Callable[[], object] | None = None,
) -> T:
    """As `wait_for`, for coroutines: the event loop goes on meanwhile. The condition is an ordinary function.

    Raises:
        WaitTimeoutError, UsageError: as `wait_for` does.
    """
    _check(timeout, on)
    if isinstance(on, Drives) and on.is_virtual:
        return _driven(condition, timeout, on, what, seen)
    tells = on if isinstance(on, Publishes) else None
    polls = polls or tells is None
    loop, bell = asyncio.get_running_loop(), asyncio.Event()

    def ring() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(bell.set)

    heard = _Heard(ring)
    told = _Told(timeout, what or _name(condition), heard, seen)
    unsubscribe = tells.subscribe(heard) if tells is not None else _nothing
    deadline, pause = loop.time() + timeout, _FIRST_S
    try:
        before = -1
        while True:
            bell.clear()
            counted = heard.count
            last = condition()
            if last and (polls or heard.count > before):
                return last
            before = counted
            remaining = deadline - loop.time()
            if last or remaining <= 0:
                raise told.error(last)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(bell.wait(), min(pause, remaining) if polls else remaining)
            pause = min(pause * _GROWTH, _LONGEST_S)
    finally:
        unsubscribe()


def _driven(condition: Callable[[], T], timeout: float, on: Drives, what: str, seen: Callable[[], object] | None) -> T:
    """The wait in virtual time: whatever may change the condition happens while time is let pass."""
    last = condition()

    def look() -> bool:
        nonlocal last
        last = condition()
        return bool(last)

    heard = _Heard(_nothing)
    unsubscribe = on.subscribe(heard) if isinstance(on, Publishes) else _nothing
    try:
        if last or on.drive(look, timeout):
            return last
        raise _Told(timeout, what or _name(condition), heard, seen).error(last)
    finally:
        unsubscribe()


class _Told:
    """Puts together what an error tells."""

    def __init__(self, timeout: float, what: str, heard: _Heard, seen: Callable[[], object] | None) -> None:
        self._timeout, self._what, self._heard, self._seen = timeout, what, heard, seen

    def error(self, last: object) -> WaitTimeoutError:
        state = "" if self._seen is None else f"; the state then: {self._seen()}"
        if last:
            unannounced = "it holds now, but no event told of it: wait without `on`, or on what tells of it"
            return WaitTimeoutError(self._what, self._timeout, f"{unannounced}{state}", last, tuple(self._heard.last))
        return WaitTimeoutError(
            self._what, self._timeout, f"the last look saw {last!r}{state}", last, tuple(self._heard.last)
        )


def _check(timeout: object, on: object) -> None:
    if not (isinstance(timeout, int | float) and 0 < timeout < math.inf):
        raise UsageError(f"timeout = {timeout!r}: expected a time above 0, in seconds")
    if on is not None and not isinstance(on, Drives | Publishes):
        raise UsageError(
            f"on = {on!r} tells of nothing: expected something with subscribe(callback), such as an EventStream, or "
            "leave it out, to poll"
        )


def _name(condition: Callable[[], object]) -> str:
    return getattr(condition, "__qualname__", repr(condition))


def _nothing() -> None:
    """What there is to undo, or to ring, where nobody was asked for anything."""
