"""What a process has once, for all of its tests, whichever of them came first: no contamination."""

import os
import sys
from typing import Any

from poolproof.lab import boot

_TRACKERS = (
    # They unlink what a process leaves in /dev/shm, live as long as it does, and are started when first needed.
    "multiprocessing.resource_tracker",
    "loky.backend.resource_tracker",
    "joblib.externals.loky.backend.resource_tracker",
)

RANDOM = "/dev/urandom"
"""Libraries open it when they first need it, and keep it."""


def pids() -> frozenset[int]:
    """Processes that the library starts once."""
    # The forkserver too is one for the process; what it forks is not.
    found = [_of("multiprocessing.forkserver", "_forkserver", "_forkserver_pid")]
    found += [_of(name, "_resource_tracker", "_pid") for name in _TRACKERS]
    return frozenset(pid for pid in found if isinstance(pid, int))


def is_own(command: str) -> bool:
    """Whether a process is the keeper of a run of the kit: it ends by itself once it has swept what it ran."""
    return f"{boot.__file__} keeper" in command or f"{boot.__file__} guard" in command


def descriptors() -> frozenset[int]:
    """The pipes to these processes."""
    found = [_of("multiprocessing.forkserver", "_forkserver", "_forkserver_alive_fd")]
    found += [_of(name, "_resource_tracker", "_fd") for name in _TRACKERS]
    return frozenset(fd for fd in found if isinstance(fd, int) and fd >= 0)


def blocks() -> frozenset[tuple[int, int]]:
    """Memory that is kept for the next `multiprocessing.Value`, by device and inode: two descriptors point to each."""
    found = [os.fstat(arena.fd) for arena in _idle_arenas() if arena.fd >= 0]
    return frozenset((status.st_dev, status.st_ino) for status in found)


def temporary() -> str | None:
    """The folder that multiprocessing makes once for its sockets, the forkserver's too, and removes at the end."""
    process: Any = sys.modules.get("multiprocessing.process")
    found = None if process is None else process.current_process()._config.get("tempdir")
    return found if isinstance(found, str) else None


def _idle_arenas() -> list[Any]:
    """Memory for `multiprocessing.Value` and `Array` that holds none any more; the heap keeps it for the next ones."""
    heap = _of("multiprocessing.heap", "BufferWrapper", "_heap")
    if heap is None:
        return []
    return [arena for arena in list(heap._arenas) if not heap._allocated_blocks.get(arena)]


def _of(module: str, *attributes: str) -> Any:
    """An attribute of a module that is loaded; None where it is not, or is without."""
    value: Any = sys.modules.get(module)
    for attribute in attributes:
        value = getattr(value, attribute, None)
    return value
