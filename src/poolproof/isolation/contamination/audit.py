"""Which line made what: one audit hook for the whole process, heard only while a detection is active."""

import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from poolproof.isolation.lines import Line, calling_line

SHARED: Final = "/dev/shm"
_REMEMBERED: Final = 4096
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_DELAY_TICKS: Final = _TICKS_PER_S // 2
"""How long a machine under load may take from the event to the process."""


@dataclass(frozen=True, slots=True)
class Birth:
    """A process was about to be started: at which clock tick after boot, with which command where it is a new one."""

    tick: int
    command: tuple[str, ...] | None
    line: Line | None


@dataclass(slots=True, kw_only=True)
class Record:
    """What was made while a detection was active, and by which line.

    Attributes:
        folders: where anything made directly within counts as a temporary file.
        opened: the line that opened a path last.
        made: what was made in one of the folders and was not there before.
        shared: blocks of /dev/shm that were made here, by path.
        sockets, threads: by the object, which is not kept alive for it.
        births: processes that were started, in their order.
        variables: environment variables that were set.
    """

    folders: frozenset[str]
    opened: dict[str, Line | None] = field(default_factory=dict)
    made: dict[str, Line | None] = field(default_factory=dict)
    shared: dict[str, Line | None] = field(default_factory=dict)
    sockets: MutableMapping[Any, Line | None] = field(default_factory=WeakKeyDictionary)
    threads: MutableMapping[threading.Thread, Line | None] = field(default_factory=WeakKeyDictionary)
    births: list[Birth] = field(default_factory=list)
    variables: dict[str, Line | None] = field(default_factory=dict)


def temporary_folders() -> frozenset[str]:
    """Where programs put what is temporary, whatever this process was told about it."""
    return frozenset((tempfile.gettempdir(), "/tmp", "/var/tmp"))


def born_at(births: Iterable[Birth], start_time: int, command: str, *, is_child: bool = True) -> str:
    """Which line started a process.

    The kernel tells when a process began, to a hundredth of a second, and an event that one is about to: so the line is
    that of the last event before; of several in the same tick, the one with that command, else any of them.

    Args:
        births: in their order.
        start_time: of the process, in clock ticks after boot.
        command: its command line; what was forked shows that of its parent.
        is_child: whether it is a child of this process, so that it began right after its event; an orphan's own parent
            may have taken its time.
    """
    earliest = start_time - _DELAY_TICKS if is_child else 0
    before = [birth for birth in births if earliest <= birth.tick <= start_time + 1]
    same = [birth for birth in before if birth.tick >= before[-1].tick - 1]
    named = [birth for birth in before if birth.command is not None and " ".join(birth.command) == command]
    lines = dict.fromkeys(str(birth.line) for birth in named[-1:] or same if birth.line is not None)
    return " or ".join(lines)


# --- the hook ---------------------------------------------------------------------------------------------------

_active: tuple[Record, ...] = ()
_is_hooked = False


def hook() -> None:
    """Have this process tell of what is made, from now on until it ends."""
    global _is_hooked
    if not _is_hooked:
        # Python has no way to take an audit hook off again: one it is, and whoever listens comes and goes.
        sys.addaudithook(_hear)
        if sys.version_info < (3, 12):
            _tell_of_threads()
        _is_hooked = True


def start(record: Record) -> None:
    """Have a record told of what is made from now on."""
    global _active
    hook()
    _active = (*_active, record)


def stop(record: Record) -> None:
    """Tell it no more."""
    global _active
    _active = tuple(other for other in _active if other is not record)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _active and event in _HEARD:
        # What a hook raises the program gets, in the middle of an `open` of its own.
        with contextlib.suppress(Exception):
            _HEARD[event](arguments)


def _tell_of_threads() -> None:
    """Python 3.11 tells of no thread; this has it raise the event that 3.12 does, with the same arguments."""
    begin = threading._start_new_thread  # type: ignore[attr-defined]

    def told(function: Callable[..., object], arguments: tuple[Any, ...], *keywords: Any) -> int:
        sys.audit("_thread.start_new_thread", function, arguments, *(keywords or (None,)))
        return cast(int, begin(function, arguments, *keywords))

    threading._start_new_thread = told  # type: ignore[attr-defined]


def _line() -> Line | None:
    """The line that is being carried out; in a thread of the library's alone, the one that started the thread."""
    line = calling_line()
    if line is not None:
        return line
    # Not `current_thread()`: that one makes an object for each thread that has none.
    thread = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]
    return next((record.threads[thread] for record in _active if thread in record.threads), None)


def _opened(arguments: tuple[Any, ...]) -> None:
    path, _, flags = arguments
    if isinstance(path, int):
        # The only trace of a process that multiprocessing spawned, or had its forkserver fork: the pipe that it writes
        # the orders of that process to.
        caller = sys._getframe(2).f_code
        if caller.co_name == "_launch" and "multiprocessing" in caller.co_filename:
            _born(None)
        return
    path = os.fsdecode(path)
    line = _line()
    for record in _active:
        if len(record.opened) >= _REMEMBERED:
            record.opened.pop(next(iter(record.opened)), None)
        record.opened[path] = line
    if flags & os.O_CREAT:
        _made(path, line)


def _made(path: str, line: Line | None) -> None:
    """A name is about to be made: unless it is there already, it is this process's from now on."""
    if not path.startswith("/"):
        path = str(Path.cwd() / path)
    folder = path.rpartition("/")[0]
    if folder == SHARED:
        if not os.path.lexists(path):
            _note("shared", path, line)
    elif any(folder in record.folders for record in _active) and not os.path.lexists(path):
        for record in _active:
            if folder in record.folders:
                record.made[path] = line


def _note(what: str, key: Any, line: Line | None) -> None:
    for record in _active:
        getattr(record, what)[key] = line


def _truncated(arguments: tuple[Any, ...]) -> None:
    # `SharedMemory` makes its block by a call that no event tells of, and then gives it its size.
    where = arguments[0]
    path = str(Path(f"/proc/self/fd/{where}").readlink()) if isinstance(where, int) else os.fsdecode(where)
    if path.startswith(f"{SHARED}/"):
        _note("shared", path, _line())


def _started_thread(arguments: tuple[Any, ...]) -> None:
    thread = getattr(arguments[0], "__self__", None)
    if isinstance(thread, threading.Thread):
        _note("threads", thread, _line())


def _born(command: tuple[str, ...] | None) -> None:
    birth = Birth(int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS_PER_S), command, _line())
    for record in _active:
        record.births.append(birth)


def _ran(arguments: tuple[Any, ...]) -> None:
    command = arguments[1]
    _born((os.fsdecode(command),) if isinstance(command, str | bytes) else tuple(map(os.fsdecode, command)))


_HEARD: Final[Mapping[str, Callable[[tuple[Any, ...]], None]]] = {
    "open": _opened,
    "os.mkdir": lambda arguments: _made(os.fsdecode(arguments[0]), _line()),
    "os.rename": lambda arguments: _made(os.fsdecode(arguments[1]), _line()),
    "os.symlink": lambda arguments: _made(os.fsdecode(arguments[1]), _line()),
    "os.link": lambda arguments: _made(os.fsdecode(arguments[1]), _line()),
    "os.truncate": _truncated,
    "socket.__new__": lambda arguments: _note("sockets", arguments[0], _line()),
    "_thread.start_new_thread": _started_thread,
    "_thread.start_joinable_thread": _started_thread,
    "subprocess.Popen": _ran,
    "os.posix_spawn": lambda arguments: _born(tuple(map(os.fsdecode, arguments[1]))),
    "os.fork": lambda _: _born(None),
    "os.forkpty": lambda _: _born(None),
    "os.putenv": lambda arguments: _note("variables", os.fsdecode(arguments[0]), _line()),
}
"""`tempfile` opens or makes what it tells of right after it has told, so its own events say nothing more."""
