"""Which faults this machine can inject, by which means, and why not the others: tried out, not assumed."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from poolproof.clock import best_timer
from poolproof.processes import Handle, carries_environment

_LOOK_S: Final = 2.0
_PR_GET_CHILD_SUBREAPER: Final = 37
_MARK: Final = "POOLPROOF_DOCTOR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """One thing that a run needs, and whether it works here.

    Attributes:
        what: the fault, or the faculty.
        works: whether it was seen to work just now.
        how: by which means, or why not.
    """

    what: str
    works: bool
    how: str


def examine() -> tuple[Means, ...]:
    """Try each means, on a process of our own where it does harm."""
    timer = best_timer()
    timer.close()
    return (
        _try_on_victim("fault kill", "SIGKILL through a pidfd", _kills),
        _try_on_victim("fault stall", "SIGSTOP and SIGCONT through a pidfd", _stalls),
        _try_on_victim("finding orphans", "/proc/PID/environ", _is_marked),
        _subreaper(),
        Means(
            what="open-loop timer",
            works=True,
            how=timer.means if "timerfd" in timer.means else f"{timer.means}, since there is no timerfd: coarser",
        ),
    )


def _try_on_victim(what: str, how: str, attempt: Callable[[Handle], bool]) -> Means:
    if not hasattr(os, "pidfd_open"):
        return Means(what=what, works=False, how="os.pidfd_open is missing: it takes Linux 5.3 or later")
    victim = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ) | {_MARK: "1"},
    )
    try:
        assert victim.stdout is not None  # noqa: S101 - it was asked for above
        victim.stdout.readline()  # from here on it is the program that was started, no longer a copy of this one
        handle = Handle.open(victim.pid)
        works = handle is not None and attempt(handle)
        return Means(what=what, works=works, how=how if works else f"{how}: tried, and it had no effect")
    except OSError as error:
        return Means(what=what, works=False, how=f"{how}: {error.strerror}")
    finally:
        victim.kill()
        victim.communicate()


def _kills(handle: Handle) -> bool:
    return handle.send(signal.SIGKILL) and handle.wait_gone(_LOOK_S)


def _stalls(handle: Handle) -> bool:
    stopped = handle.send(signal.SIGSTOP) and handle.wait_stopped(_LOOK_S)
    return stopped and handle.send(signal.SIGCONT) and handle.state() != "T"


def _is_marked(handle: Handle) -> bool:
    return carries_environment(handle.process.pid, _MARK)


def _subreaper() -> Means:
    answer = ctypes.c_int()
    works = ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0) == 0
    how = "prctl(PR_SET_CHILD_SUBREAPER)"
    return Means(what="keeping a run together", works=works, how=how if works else f"{how} is refused")
