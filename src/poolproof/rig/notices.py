"""What the kernel tells of new names in a folder, by inotify, where there is any."""

import ctypes
import functools
import os
import struct
import threading
from pathlib import Path
from typing import Any, Final

_IN_MOVED_TO: Final = 0x80
_IN_CREATE: Final = 0x100
_IN_Q_OVERFLOW: Final = 0x4000
_NOTICE: Final = struct.Struct("iIII")
_KEPT: Final = 4

# Instances that nobody uses at the moment: to close one takes the kernel 10 to 30 ms (it waits until nobody reads the
# list of marks any more), and to use it again none. Guarded by `_keeping`; a fork starts with none of them, for what it
# read would be missing where it belongs.
_spare: list[int] = []
_keeping = threading.Lock()


class Notices:
    """The notices of one folder: readable, without blocking, when there are any."""

    def __init__(self, fd: int, watch: int) -> None:
        self._fd = fd
        self._watch = watch

    @classmethod
    def of(cls, folder: Path) -> "Notices | None":
        """Those of a folder from now on; None where there are none to be had.

        That is so on an old C library, in a sandbox, or with all instances of this user taken (128 by default).
        """
        library = _library()
        fd = _take() if library is not None else -1
        if library is None or fd < 0:
            return None
        watch = int(library.inotify_add_watch(fd, os.fsencode(folder), _IN_CREATE | _IN_MOVED_TO))
        if watch < 0:
            _give_back(fd)
            return None
        return cls(fd, watch)

    def fileno(self) -> int:
        """For epoll."""
        return self._fd

    def read(self) -> list[str | None]:
        """The new names; None among them where the kernel had to leave some out."""
        names: list[str | None] = []
        try:
            told = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return names
        offset = 0
        while offset < len(told):
            _, mask, _, length = _NOTICE.unpack_from(told, offset)
            offset += _NOTICE.size
            name = told[offset : offset + length].rstrip(b"\0")
            offset += length
            if mask & _IN_Q_OVERFLOW:
                names.append(None)
            elif name:
                names.append(os.fsdecode(name))
        return names

    def close(self) -> None:
        """Be told no more; the instance is kept for the next one."""
        library = _library()
        if library is not None:
            library.inotify_rm_watch(self._fd, self._watch)  # fails where the folder is gone, and is not needed then
        # Nothing is added once it is removed: what stands in the queue is the last of it, and no business of the next.
        while self.read():
            pass
        _give_back(self._fd)


def prepare() -> None:
    """Open the instance that will be used again and again, before somebody counts descriptors."""
    if _library() is not None and (fd := _take()) >= 0:
        _give_back(fd)


@functools.cache
def _library() -> Any:
    try:
        library = ctypes.CDLL(None)
    except OSError:
        return None
    needed = ("inotify_init1", "inotify_add_watch", "inotify_rm_watch")
    return library if all(hasattr(library, name) for name in needed) else None


def _take() -> int:
    with _keeping:
        if _spare:
            return _spare.pop()
    return int(_library().inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))


def _give_back(fd: int) -> None:
    with _keeping:
        if len(_spare) < _KEPT:
            _spare.append(fd)
            return
    os.close(fd)


def _forget() -> None:
    global _keeping
    _keeping = threading.Lock()  # the fork may have copied a lock whose holder does not exist here
    while _spare:
        os.close(_spare.pop())


os.register_at_fork(after_in_child=_forget)
