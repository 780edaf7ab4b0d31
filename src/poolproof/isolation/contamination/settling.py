"""Giving a test's leftovers the time to go: a thread that ends is not gone the moment it was told to."""

import gc
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from poolproof.isolation.contamination.findings import Finding

_FIRST_S: Final = 0.0005
_GROWTH: Final = 2.0
_LONGEST_S: Final = 0.1


def settle(
    look: Callable[[], list[Finding]],
    bound_s: float,
    *,
    pause: Callable[[Sequence[Finding], float], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    collect: Callable[[], object] = gc.collect,
) -> list[Finding]:
    """Look with growing waits until nothing is left that may still go, or the time is up; what the last look found.

    Args:
        look: finds what is there.
        bound_s: how long, in seconds.
        pause: waits until something of what was found is gone, so many seconds at most.
        clock: in seconds.
        collect: frees what only a cycle of references keeps: a semaphore of a pool that is closed and forgotten.
    """
    found = look()
    deadline, wait = clock() + bound_s, _FIRST_S
    looks = 1
    while any(not one.lasting for one in found):
        remaining = deadline - clock()
        if remaining <= 0 and looks > 1:
            break
        if remaining > 0:
            (pause or wait_for_one)(found, min(wait, remaining))
            wait = min(wait * _GROWTH, _LONGEST_S)
        # Most leftovers are gone at the second look, and a collection costs more than all looks together.
        if looks > 1 or remaining <= 0:
            collect()
        found = look()
        looks += 1
    return found


def wait_for_one(found: Sequence[Finding], most_s: float) -> None:
    """Wait for the end of a thread or a process that was found; for so long where there is none."""
    until = next((one.until for one in found if one.until is not None), None)
    if until is not None:
        until(most_s)
    else:
        threading.Event().wait(most_s)
