"""Ends every process of a run, whatever became of whoever started it. Standard library only.

A process belongs to a run if it descends from one of its roots, or if it carries the run's variable in its environment:
an orphan whose whole ancestry is dead is still found.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Final

from poolproof import processes

VARIABLE_PREFIX: Final = "POOLPROOF_RUN_"


_CLEANING_S: Final = 1.0


def cleans_up(process: processes.Process) -> bool:
    """Whether a process is there to remove what others leave: the resource tracker of multiprocessing, or loky's."""
    return "resource_tracker" in processes.command_line(process.pid)


def variable(token: str) -> str:
    """The environment variable that marks the processes of a run; nested runs keep each other's."""
    return f"{VARIABLE_PREFIX}{token}"


def members(token: str, roots: tuple[int, ...], spare: frozenset[int]) -> dict[int, processes.Process]:
    """The live processes of a run, zombies left out, without those to be spared."""
    everyone = processes.everyone()
    found = processes.tagged(variable(token), everyone.values())
    for root in roots:
        found |= processes.descendants(root, everyone)
        if root in everyone:
            found[root] = everyone[root]
    return {
        pid: process
        for pid, process in found.items()
        if pid not in spare and pid != os.getpid() and process.state not in ("Z", "X")
    }


def sweep(
    token: str,
    roots: tuple[int, ...] = (),
    spare: frozenset[int] = frozenset(),
    reap: Callable[[], None] = lambda: None,
    bound_s: float = 5.0,
) -> list[processes.Process]:
    """Kill every member of a run until none is left, and tell who they were.

    A run that forks wildly is stopped first, all of it, until a look finds nobody new: what is stopped does not fork.
    Whoever cleans up after the others ends by itself once they are gone, and is given the time to: what it would have
    removed from /dev/shm nobody else would.
    """
    killed: dict[tuple[int, int], processes.Process] = {}
    deadline = time.monotonic() + bound_s
    patience = min(_CLEANING_S, bound_s / 2)
    while time.monotonic() < deadline:
        found = members(token, roots, spare)
        if not found:
            break
        for process in found.values():
            killed.setdefault(process.identity, process)
        handles = [h for p in found.values() if (h := processes.Handle.open(p.pid, p.start_time)) is not None]
        cleaning = [handle for handle in handles if cleans_up(handle.process)]
        if len(cleaning) == len(handles):
            began = time.monotonic()
            for handle in cleaning:
                handle.wait_gone(max(0.0, began + patience - time.monotonic()))
            patience = 0.0
        else:
            for handle in cleaning:
                handle.close()
            handles = [handle for handle in handles if handle not in cleaning]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for handle in handles:
                with contextlib.suppress(PermissionError):
                    handle.send(number)
        for handle in handles:
            handle.wait_gone(0.2)
            handle.close()
        reap()
    return list(killed.values())
