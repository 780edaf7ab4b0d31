"""What a process has around it: threads, descriptors, children, shared memory, semaphores, temporary files."""

import os
import stat
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from poolproof import processes

_SHARED: Final = Path("/dev/shm")

HOST_WIDE: Final = ("semaphores", "shared memory")
"""Categories in which other programs of this machine show too."""

Snapshot = Mapping[str, frozenset[str]]
"""Category to the names of what is there; what cannot be told apart by name carries a number."""


def snapshot() -> Snapshot:
    """What is there now."""
    everyone = processes.everyone()
    children = processes.descendants(os.getpid(), everyone)
    me = os.getuid()
    shared = set()
    for entry in os.scandir(_SHARED) if _SHARED.is_dir() else ():
        try:
            if entry.stat().st_uid == me and stat.S_ISREG(entry.stat().st_mode):
                shared.add(entry.name)
        except FileNotFoundError:
            continue
    return {
        "threads": frozenset(f"{thread.name} ({thread.ident})" for thread in threading.enumerate()),
        "file descriptors": frozenset(f"{fd} -> {where}" for fd, where in _descriptors().items()),
        "processes": frozenset(_named(p) for p in children.values() if p.state != "Z"),
        "zombies": frozenset(_named(p) for p in children.values() if p.state == "Z"),
        "semaphores": frozenset(name for name in shared if name.startswith("sem.")),
        "shared memory": frozenset(name for name in shared if not name.startswith("sem.")),
        "mapped shared memory": frozenset(processes.shared_mappings().values()),
        "temporary files": frozenset(os.listdir(tempfile.gettempdir())),
    }


def settle(baseline: Snapshot, bound_s: float) -> Snapshot:
    """Look with growing waits until nothing is there beyond the baseline, or the time is up; the last look."""
    deadline = time.monotonic() + bound_s
    wait = 0.002
    while True:
        seen = snapshot()
        grown = any(len(seen[category]) > len(baseline[category]) for category in seen)
        if not grown or time.monotonic() + wait > deadline:
            return seen
        time.sleep(wait)
        wait *= 2


def surviving_workers(records: Path, bound_s: float) -> list[processes.Process]:
    """The processes that left execution records and are alive after `bound_s`, wherever they were moved to.

    Threads of this process leave records too and are none of them.
    """
    deadline = time.monotonic() + bound_s
    alive = []
    for entry in sorted(os.listdir(records)):
        pid, _, start_time = entry.removesuffix(".bin").partition("-")
        handle = None if int(pid) == os.getpid() else processes.Handle.open(int(pid), int(start_time))
        if handle is not None:
            if not handle.wait_gone(deadline - time.monotonic()):
                alive.append(handle.process)
            handle.close()
    return alive


def _descriptors() -> dict[int, str]:
    found = processes.open_files()
    # The listing itself holds a descriptor of the folder that it reads.
    return {fd: where for fd, where in found.items() if not where.endswith("/fd")}


def _named(process: processes.Process) -> str:
    return f"{processes.command_line(process.pid) or process.name} (pid {process.pid})"
