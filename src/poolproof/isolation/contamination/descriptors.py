"""Descriptors, sockets among them, that a test opened and did not close, or turned to something else."""

import contextlib
import os
import socket
import stat
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Final

from poolproof.isolation.contamination import tolerated
from poolproof.isolation.contamination.audit import Record
from poolproof.isolation.contamination.findings import Finding
from poolproof.isolation.lines import origin

_SOCKET: Final = "socket:["
_GONE: Final = " (deleted)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """What a descriptor points to.

    Attributes:
        identity: the file's device and inode; what is no file has one of all its kind, so its name counts too.
        target: the name that the kernel has for it.
        detail: of a socket, its family and addresses.
        opened: the line that opened it.
    """

    identity: tuple[int, int]
    target: str
    detail: str = ""
    opened: str = ""


def find(before: Mapping[int, Open], after: Mapping[int, Open], spared: Set[int] = frozenset()) -> list[Finding]:
    """The descriptors of `after` that are new, or that point elsewhere.

    A file that was renamed or removed meanwhile is the same; so is one that was closed and opened again.
    """
    found = []
    for fd, now in after.items():
        was = before.get(fd)
        if fd in spared or now.target == tolerated.RANDOM or (was is not None and _is_same(was, now)):
            continue
        is_socket = now.target.startswith(_SOCKET)
        where = f" ({now.detail})" if now.detail else ""
        named = f"{'socket' if is_socket else 'descriptor'} {fd}{where} -> {now.target}"
        state = "is still open" if was is None else f"took the place of what was there before: {was.target}"
        line = f"{named} {state}{origin('opened', now.opened)}"
        found.append(Finding(kind="sockets" if is_socket else "descriptors", line=line))
    return found


def _is_same(was: Open, now: Open) -> bool:
    if was.target.removesuffix(_GONE) == now.target.removesuffix(_GONE):
        return True
    return was.identity == now.identity and was.target.startswith("/") and now.target.startswith("/")


class Descriptors:
    """All descriptors of this process."""

    what = "descriptors"
    kinds = ("descriptors", "sockets")

    def __init__(self, record: Record) -> None:
        self._record = record
        self._before: dict[int, _Seen] = {}

    def begin(self) -> None:
        self._before = _look()

    def beyond(self) -> list[Finding]:
        now = _look()
        changed = {fd for fd, seen in now.items() if self._before.get(fd) != seen}
        if not changed:
            return []
        changed -= {fd for fd in changed if now[fd][:2] in tolerated.blocks()}
        before = {fd: Open(identity=seen[:2], target=seen[2]) for fd, seen in self._before.items() if fd in changed}
        return find(before, {fd: self._in_detail(fd, now[fd]) for fd in changed}, tolerated.descriptors())

    def _in_detail(self, fd: int, seen: "_Seen") -> Open:
        target = seen[2]
        detail, line = "", self._record.opened.get(target.removesuffix(_GONE))
        if target.startswith(_SOCKET):
            detail = _addresses(fd)
            for made, at in list(self._record.sockets.items()):
                if made.fileno() == fd:
                    line = at
        return Open(identity=seen[:2], target=target, detail=detail, opened=str(line or ""))


_Seen = tuple[int, int, str]
"""Device, inode and name: what an `Open` is made of, once somebody has to read it."""


_names: dict[tuple[int, int, int], str] = {}
"""The names of files that descriptors pointed to at the last look: to ask for one costs four times what `fstat` does,
and most descriptors stay what they are from test to test. A file that was renamed since has its old name here, which
tells a reader no less."""


def _look() -> dict[int, _Seen]:
    global _names
    seen: dict[int, _Seen] = {}
    names: dict[tuple[int, int, int], str] = {}
    for entry in os.listdir("/proc/self/fd"):
        fd = int(entry)
        try:
            status = os.fstat(fd)
            key = (fd, status.st_dev, status.st_ino)
            # What is no file (an eventfd, an epoll) shares one inode with all others that are none.
            name = _names.get(key) if stat.S_IFMT(status.st_mode) else None
            names[key] = name = name or os.readlink(f"/proc/self/fd/{entry}")  # noqa: PTH115 - once for each descriptor
        except OSError:  # closed meanwhile, as the one that listed them is
            continue
        seen[fd] = (status.st_dev, status.st_ino, name)
    _names = names
    return seen


def _addresses(fd: int) -> str:
    try:
        with socket.socket(fileno=os.dup(fd)) as copy:
            told = [getattr(copy.family, "name", str(copy.family)), _address(copy.getsockname())]
            with contextlib.suppress(OSError):  # it is connected to nobody
                told.append(f"-> {_address(copy.getpeername())}")
    except OSError:
        return ""
    return " ".join(part for part in told if part)


def _address(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"{address[0]}:{address[1]}"
    if isinstance(address, bytes):
        return os.fsdecode(address).replace("\0", "@")
    return str(address) or "without a name"
