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
from typing import Any, Final, Generic, Protocol, Self, TypeVar, runtime_checkable

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
    bell = threading.Event()
    with _Wait(condition, timeout, on, polls, what, seen, ring=bell.set, clear=bell.clear) as wait:
        while not (last := wait.look()):
            bell.wait(wait.pause_s())
        return last


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
    loop, bell = asyncio.get_running_loop(), asyncio.Event()

    def ring() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(bell.set)

    with _Wait(condition, timeout, on, polls, what, seen, ring=ring, clear=bell.clear) as wait:
        while not (last := wait.look()):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(bell.wait(), wait.pause_s())
        return last


class _Wait(Generic[T]):
    """The looks of one wait, whoever rings for the next one: a thread, or an event loop."""

    def __init__(
        self,
        condition: Callable[[], T],
        timeout: float,
        on: Publishes | Drives | None,
        polls: bool,
        what: str,
        seen: Callable[[], object] | None,
        *,
        ring: Callable[[], object],
        clear: Callable[[], object],
    ) -> None:
        self._condition = condition
        self._tells = on if isinstance(on, Publishes) else None
        self._polls = polls or self._tells is None
        self._clear = clear
        self._heard = _Heard(ring)
        self._told = _Told(timeout, what or _name(condition), self._heard, seen)
        self._deadline, self._pause_s = time.monotonic() + timeout, _FIRST_S
        self._before = -1

    def __enter__(self) -> Self:
        self._unsubscribe = self._tells.subscribe(self._heard) if self._tells is not None else _nothing
        return self

    def __exit__(self, *_: object) -> None:
        self._unsubscribe()

    def look(self) -> T:
        """Look once; what was seen."""
        self._clear()
        counted = self._heard.count
        last = self._condition()
        if last and (self._polls or self._heard.count > self._before):
            return last
        self._before = counted
        if last or time.monotonic() >= self._deadline:
            raise self._told.error(last)
        return last

    def pause_s(self) -> float:
        """How long to wait for the bell at most, before the next look."""
        remaining_s = max(0.0, self._deadline - time.monotonic())
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * _GROWTH, _LONGEST_S)
        return min(pause_s, remaining_s) if self._polls else remaining_s


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
