"""Real time: the one clock of every record, and a timer that wakes at absolute moments of it."""

import ctypes
import os
import struct
import sys
import time
from typing import Final, Protocol

SECOND_NS: Final = 1_000_000_000

now_ns = time.monotonic_ns
"""CLOCK_MONOTONIC in nanoseconds: comparable across the processes of one machine, never set back."""


class Timer(Protocol):
    """Sleeps until an absolute moment of CLOCK_MONOTONIC, without holding the interpreter lock."""

    means: str

    def sleep_until(self, moment_ns: int) -> None:
        """Return at `moment_ns` or as soon after it as the kernel allows; at once when it has passed."""

    def close(self) -> None:
        """Give back what the timer holds."""


class TimerFd:
    """A timerfd armed at absolute deadlines: the kernel's timer, no rounding to milliseconds as in `select`."""

    _ABSTIME: Final = 1

    def __init__(self) -> None:
        if sys.version_info >= (3, 13):
            self.means = "timerfd (os)"
            self._fd = os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_CLOEXEC)
        else:
            self.means = "timerfd (ctypes)"
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_CLOEXEC)
            if self._fd < 0:
                raise OSError(ctypes.get_errno(), "timerfd_create")

    def sleep_until(self, moment_ns: int) -> None:
        # A moment of zero would disarm the timer and block for ever; a past one fires at once.
        moment_ns = max(moment_ns, 1)
        if sys.version_info >= (3, 13):
            os.timerfd_settime_ns(self._fd, flags=os.TFD_TIMER_ABSTIME, initial=moment_ns)
        else:
            spec = struct.pack("@4q", 0, 0, *divmod(moment_ns, SECOND_NS))
            if self._libc.timerfd_settime(self._fd, self._ABSTIME, spec, None) < 0:
                raise OSError(ctypes.get_errno(), "timerfd_settime")
        os.read(self._fd, 8)

    def close(self) -> None:
        os.close(self._fd)


class SleepTimer:
    """`time.sleep` towards the deadline: where there is no timerfd."""

    means = "time.sleep"

    def sleep_until(self, moment_ns: int) -> None:
        while (remaining_ns := moment_ns - now_ns()) > 0:
            time.sleep(remaining_ns / SECOND_NS)

    def close(self) -> None:
        """Nothing is held."""


def best_timer() -> Timer:
    """The most precise timer that this machine has."""
    try:
        return TimerFd()
    except (OSError, AttributeError):
        return SleepTimer()
