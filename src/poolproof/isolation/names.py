"""Mode `registry`: names for pools and workers that cannot clash, on the whole machine, and none of them left taken.

A name is taken by binding an abstract unix socket that bears it: the kernel lets one process have it, whatever xdist
worker or user session it belongs to, and frees it when that process dies. (Of machine, to be exact, a container with a
network of its own is another one.)
"""

import contextlib
import errno
import itertools
import os
import secrets
import socket
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from poolproof import processes
from poolproof.errors import PoolproofError, UsageError
from poolproof.isolation.lines import calling_line
from poolproof.isolation.scene import Scene

_PATH_BYTES: Final = 107
"""Of `sun_path`'s 108 bytes, without the zero that begins an abstract one."""


class NameTakenError(PoolproofError):
    """A name is taken already.

    Attributes:
        name: which.
        holder: who has it, in words; empty where that can't be known.
    """

    def __init__(self, name: str, holder: str) -> None:
        self.name = name
        self.holder = holder
        by = f" by {holder}" if holder else ""
        super().__init__(f"the name {name!r} is taken{by}: choose another, or one that unique() makes")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.name, self.holder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be asked of this mode.

    Attributes:
        prefix: how every name that `unique` makes begins.
    """

    prefix: str = ""

    def problems(self) -> list[str]:
        """Everything in them that makes no sense."""
        wrong = "" if self.prefix == "" else _what_is_wrong(self.prefix)
        return [f"prefix = {self.prefix!r}: {wrong}"] if wrong else []


@dataclass(frozen=True, slots=True)
class _Held:
    sock: socket.socket
    line: str


class Registry:
    """The names that a test has taken. Any thread may use it; a process that is forked from this one holds none."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        _registries.add(self)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that are taken, in the order in which they were."""
        return tuple(self._held)

    def unique(self, prefix: str = "") -> str:
        """A name that nothing else has, on this machine or another; it is made, not taken.

        Args:
            prefix: how it begins, after the mode's own prefix.

        Raises:
            UsageError: with that prefix it would be no name.
        """
        # The process and the number keep apart what one test run makes, the token what the machine ever saw.
        end = f"{os.getpid()}-{next(self._numbers)}-{secrets.token_hex(4)}"
        wrong = prefix and _what_is_wrong(prefix)
        name = f"{self._prefix}{prefix}-{end}" if self._prefix or prefix else f"name-{end}"
        if wrong := wrong or _what_is_wrong(name):
            raise UsageError(f"a name that begins with {prefix!r}: {wrong}")
        return name

    def register(self, name: str) -> str:
        """Take exactly this name, until `release`, the end of the test or the death of this process; returns it.

        Raises:
            NameTakenError: somebody has it; it says who, where that can be known.
            UsageError: it is no name: empty, too long, not a text.
        """
        if wrong := _what_is_wrong(name):
            raise UsageError(f"the name {name!r}: {wrong}")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.bind(_address(name))
        except OSError as error:
            sock.close()
            if error.errno == errno.EADDRINUSE:
                raise NameTakenError(name, _holder(name)) from None
            raise
        except BaseException:
            sock.close()
            raise
        with self._lock:
            self._held[name] = _Held(sock, str(calling_line() or ""))
        return name

    def release(self, name: str) -> None:
        """Give a name back.

        Raises:
            UsageError: it was not taken here.
        """
        with self._lock:
            held = self._held.pop(name, None)
        if held is None:
            taken = ", ".join(map(repr, self._held)) or "none"
            raise UsageError(f"the name {name!r} is not taken by this registry, and can't be released; taken: {taken}")
        held.sock.close()

    def line_of(self, name: str) -> str:
        """Where a name was taken, or empty."""
        held = self._held.get(name)
        return "" if held is None else held.line

    def release_all(self) -> list[str]:
        """Give all names back that are still taken; each of them is a problem."""
        with self._lock:
            held, self._held = self._held, {}
        for one in held.values():
            one.sock.close()
        return [
            f"the name {name!r} was left taken{f'; it was taken at {one.line}' if one.line else ''}"
            for name, one in held.items()
        ]

    def _forget(self) -> None:
        """In a forked process: let go of what the other one has taken, or it could never be free before both end."""
        self._lock = threading.Lock()  # whoever held it is not here
        for held in self._held.values():
            held.sock.close()
        self._held = {}


_registries: "weakref.WeakSet[Registry]" = weakref.WeakSet()


def _forget_all() -> None:
    for registry in list(_registries):
        registry._forget()


os.register_at_fork(after_in_child=_forget_all)


def enter(scene: Scene, options: Options) -> Registry:
    """Set the mode up."""
    registry = Registry(options.prefix)
    scene.teardown.push("releasing names", registry.release_all)
    return registry


def _prefix() -> bytes:
    return b"\0poolproof-name-%d-" % os.getuid()


def _address(name: str) -> bytes:
    return _prefix() + name.encode()


def _what_is_wrong(name: object) -> str:
    """What keeps something from being a name, or empty."""
    if not isinstance(name, str):
        return f"expected a text, got {type(name).__name__}"
    if not name:
        return "expected at least one letter"
    if not name.isprintable():  # which also a lone surrogate is not, so that it can be encoded
        return "expected characters that can be printed"
    room, size = _PATH_BYTES + 1 - len(_prefix()), len(name.encode())
    return f"it has {size} bytes, {room} at most are possible" if size > room else ""


def _holder(name: str) -> str:
    """Who has a name, in words; empty where it can't be known, or is free by now."""
    here = next((line for registry in list(_registries) if (line := registry.line_of(name))), "")
    if here:
        return f"this process (pid {os.getpid()}), since {here}"
    inode = _inode(b"@" + _address(name)[1:])
    if not inode:
        return ""
    for pid in processes.everyone():
        if f"socket:[{inode}]" in processes.open_files(pid).values():
            return f"pid {pid} ({processes.command_line(pid) or 'unknown command'})"
    return ""


def _inode(path: bytes) -> str:
    """The inode of the socket that is bound to a path."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/unix").read_bytes().splitlines():
            fields = line.split(maxsplit=7)  # a path may have blanks in it
            if len(fields) == 8 and fields[7] == path:
                return fields[6].decode()
    return ""
