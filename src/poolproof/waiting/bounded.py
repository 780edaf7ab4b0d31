"""Calls that may hang: each has a bound, and whoever exceeds it is told of with the place where it was."""

import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final, TypeVar

from poolproof.errors import HungError, HungTestError

T = TypeVar("T")
_FRAMES: Final = 6


def bounded(call: Callable[[], T], within_s: float, what: str, *, held: list[BaseException] | None = None) -> T:
    """Call something in a thread of its own, since nothing else can be left alone once it hangs.

    An interrupt, or the end of a test's own bound, waits until the call is over or given up: what comes after it is
    not to run beside it.

    Args:
        call: what may hang.
        within_s: how long it may take; then its thread, a daemon, is given up.
        what: names it in the error.
        held: where such interrupts are put, for who has more to do before they are raised; without it they are raised
            here, once it is over.

    Raises:
        HungError: it did not return in time; the error tells its innermost calls.
        BaseException: whatever it raised.
    """
    returned: list[T] = []
    raised: list[BaseException] = []
    interrupts: list[BaseException] = [] if held is None else held

    def run() -> None:
        try:
            returned.append(call())
        except BaseException as error:  # it belongs to whoever waits
            raised.append(error)

    thread = threading.Thread(target=run, name=f"poolproof call: {what}", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads: better without a bound than not at all
        return call()
    deadline = time.monotonic() + within_s
    while thread.is_alive() and (remaining := deadline - time.monotonic()) > 0:
        try:
            thread.join(remaining)
        except (KeyboardInterrupt, HungTestError) as interrupt:
            interrupts.append(interrupt)
    if held is None and interrupts:
        raise interrupts[0]
    if thread.is_alive():
        raise HungError(what, within_s, stack_of(thread.ident, _FRAMES))
    if raised:
        raise raised[0]
    return returned[0]


def stack_of(ident: int | None, frames: int) -> tuple[str, ...]:
    """Where a thread is, `file:line in function`, the innermost first; nothing once it has ended.

    The frames are not kept: one that holds them all holds itself, and with it whatever any thread works on.
    """
    frame = sys._current_frames().get(ident or 0)
    lines = [] if frame is None else traceback.extract_stack(frame)[-frames:]
    return tuple(f"{line.filename}:{line.lineno} in {line.name}" for line in reversed(lines))
