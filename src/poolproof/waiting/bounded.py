"""Calls that may hang: each has a bound, and whoever exceeds it is told of with the place where it was."""

import sys
import threading
import traceback
from collections.abc import Callable
from typing import Final, TypeVar

from poolproof.errors import HungError

T = TypeVar("T")
_FRAMES: Final = 6


def bounded(call: Callable[[], T], within_s: float, what: str) -> T:
    """Call something in a thread of its own, since nothing else can be left alone once it hangs.

    Args:
        call: what may hang.
        within_s: how long it may take; then its thread, a daemon, is given up.
        what: names it in the error.

    Raises:
        HungError: it did not return in time; the error tells its innermost calls.
        BaseException: whatever it raised.
    """
    returned: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(call())
        except BaseException as error:  # it belongs to whoever waits
            raised.append(error)

    thread = threading.Thread(target=run, name=f"poolproof: {what}", daemon=True)
    thread.start()
    thread.join(within_s)
    if thread.is_alive():
        raise HungError(what, within_s, stack_of(thread))
    if raised:
        raise raised[0]
    return returned[0]


def stack_of(thread: threading.Thread) -> tuple[str, ...]:
    """Where a thread is, `file:line in function`, the innermost first; nothing once it has ended."""
    frame = sys._current_frames().get(thread.ident or 0)
    lines = [] if frame is None else traceback.extract_stack(frame)[-_FRAMES:]
    return tuple(f"{line.filename}:{line.lineno} in {line.name}" for line in reversed(lines))
