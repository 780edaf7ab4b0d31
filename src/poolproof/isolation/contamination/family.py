"""Processes that a test started: those that live, those that nobody waited for, and orphans.

An orphan's parent is dead and the kernel has given it to another, so no list of children leads to it. It is found among
the pids that are new since the test began, which are few, by what it inherited: one that ran a new program has the
test's variable in its environment; one that was only forked has a mapping of memory that this process made for it to
have, and which it cannot close as it can a descriptor.
"""

import ctypes
import mmap
import os
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from poolproof import processes
from poolproof.errors import PlatformError
from poolproof.isolation.contamination import tolerated
from poolproof.isolation.contamination.audit import Record, born_at
from poolproof.isolation.contamination.findings import Finding
from poolproof.isolation.lines import origin, shortened
from poolproof.processes import Process


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """A process of the test's."""

    process: Process
    command: str = ""
    parent: int | None = None
    started: str = ""
    until: Callable[[float], object] | None = field(default=None, compare=False)


def find(before: Set[int], after: Mapping[int, Relative], *, own_pid: int) -> list[Finding]:
    """The processes of `after` that were not there before.

    Args:
        before: the pids of those that were; no pid is given out again before all others have been.
        after: what is there now, by pid; the parent is None where it is dead.
        own_pid: of the process that the test runs in.
    """
    found = []
    for pid, relative in after.items():
        if pid in before:
            continue
        process = relative.process
        whose = {None: "an orphan, whose parent is gone", own_pid: "a child of the test's process"}.get(
            relative.parent, f"a child of process {relative.parent}"
        )
        named = f"process {pid} {shortened(relative.command or process.name)!r}, {whose}"
        started = origin("started", relative.started)
        if process.state == "Z":
            line = f"zombie: {named}, has ended and was not waited for{started}"
            found.append(Finding(kind="zombies", line=line))
        else:
            line = f"{named}, is still running{started}"
            found.append(Finding(kind="processes", line=line, until=relative.until))
    return found


class Family:
    """All descendants of this process."""

    what = "processes"
    kinds = ("processes", "zombies")

    def __init__(self, record: Record, variable: str) -> None:
        self._record = record
        self._variable = variable
        self._before: _Census | None = None

    def begin(self) -> None:
        if self._before is None:
            _mark_what_is_forked()
            self._before = _census()

    def living(self) -> list[int]:
        """The pids of what the test started and still lives."""
        _, kin = self._kin()
        return [process.pid for process in kin.values() if process.state != "Z"]

    def beyond(self) -> list[Finding]:
        family, kin = self._kin()
        spared = tolerated.pids()
        seen: dict[int, Relative] = {}
        for process in kin.values():
            command = processes.command_line(process.pid)
            if process.pid in spared or tolerated.is_own(command):
                continue
            if process.state == "Z" and process.ppid != os.getpid() and process.ppid not in kin:
                continue  # it is for its parent to wait for it, who was there before
            oldest = process
            while oldest.ppid in kin and oldest.ppid not in spared:
                oldest = kin[oldest.ppid]
            # A forkserver that was there before counts as a parent as this process does.
            is_child = oldest.ppid == os.getpid() or oldest.ppid in family
            seen[process.pid] = Relative(
                process=process,
                command=command,
                parent=process.ppid if is_child or oldest is not process else None,
                # Of what a child of ours started there is no record: it is told where that child was.
                started=born_at(
                    self._record.births,
                    oldest.start_time,
                    command if oldest is process else processes.command_line(oldest.pid),
                    is_child=is_child,
                ),
                until=_Ending(process),
            )
        return find(frozenset() if self._before is None else self._before.family, seen, own_pid=os.getpid())

    def _kin(self) -> tuple[frozenset[int], dict[int, Process]]:
        """The pids of this process's descendants; and who of them and of its orphans is new, by pid."""
        before = self._before
        if before is None or (before.last is not None and before.last == _last_pid()):
            return frozenset(), {}  # nobody at all has come to this machine
        family, mine = descendants(), os.getuid()
        new = {pid: process for pid in family - before.family if (process := processes.look_up(pid)) is not None}
        for entry in set(os.listdir("/proc")) - before.pids:
            if not entry.isdigit() or int(entry) in family:
                continue
            process = _newcomer(int(entry), mine)
            # A child that came while the walk was under way is known by its parent.
            if process is not None and (
                process.ppid == os.getpid()
                or process.ppid in family
                or processes.carries_environment(process.pid, self._variable)
                or _was_forked_from_here(process.pid)
            ):
                new[process.pid] = process
        return family, new


def _newcomer(pid: int, uid: int) -> Process | None:
    """A process of this user that lives; another's dead are another's to wait for."""
    try:
        if Path(f"/proc/{pid}").stat().st_uid != uid:
            return None
    except FileNotFoundError:  # gone again
        return None
    process = processes.look_up(pid)
    is_dead = process is None or (process.state in ("Z", "X") and process.ppid != os.getpid())
    return None if is_dead or pid == os.getpid() else process


def descendants() -> frozenset[int]:
    """The pids of all descendants of this process; what it costs grows with them, not with the machine."""
    found: set[int] = set()
    pending = [os.getpid()]
    try:
        while pending:
            new = set(processes.children(pending.pop())) - found
            found |= new
            pending += new
    except PlatformError:
        return frozenset(processes.descendants(os.getpid(), processes.everyone()))
    return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Census:
    """Who was there.

    Attributes:
        own_pid: of the process that looked.
        last: the pid that the kernel gave out last; None where it does not tell.
        family: the pids of the descendants.
        pids: the names of all processes in `/proc`, and what else is there.
    """

    own_pid: int
    last: bytes | None
    family: frozenset[int]
    pids: frozenset[str]


_taken: _Census | None = None


def _census() -> _Census:
    """Who is there; the census of the last test still holds as long as the kernel has given out no pid since."""
    global _taken
    last = _last_pid()  # before the look: who comes during it makes the next look differ
    if _taken is None or last is None or (_taken.own_pid, _taken.last) != (os.getpid(), last):
        pids = frozenset(os.listdir("/proc"))
        _taken = _Census(own_pid=os.getpid(), last=last, family=descendants(), pids=pids)
    return _taken


def _last_pid() -> bytes | None:
    try:
        # Not `/proc/loadavg`, which has it too: in a container that file may be an imitation, seconds old.
        with open("/proc/sys/kernel/ns_last_pid", "rb", buffering=0) as last:
            return last.read()
    except OSError:
        return None


class _Ending:
    """Waits for a process to exit."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def __call__(self, timeout_s: float) -> None:
        handle = processes.Handle.open(*self._process.identity)
        if handle is not None:
            handle.wait_gone(timeout_s)
            handle.close()


# --- the mark that a fork inherits -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Mark:
    """Shared memory that only this process and what was forked from it has: the kernel numbers it as it does files."""

    pid: int
    memory: mmap.mmap

    def number(self) -> int:
        """Its inode, as `/proc/PID/maps` has it."""
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        with open("/proc/self/maps", "rb") as maps:
            for line in maps:
                span, _, _, _, inode, *_ = line.split(maxsplit=5)
                first, _, end = span.partition(b"-")
                if int(first, 16) <= address < int(end, 16):
                    return int(inode)
        raise PlatformError("/proc/self/maps does not list memory that this process has: orphans cannot be found")


_mark: _Mark | None = None
_number: Final[dict[int, int]] = {}


def _mark_what_is_forked() -> None:
    global _mark
    if _mark is None or _mark.pid != os.getpid():  # a fork that has tests of its own has inherited its parent's
        _mark = _Mark(os.getpid(), mmap.mmap(-1, mmap.PAGESIZE))


def _was_forked_from_here(pid: int) -> bool:
    # The maps of a stranger cost half a millisecond; whoever runs another program has its code elsewhere.
    if _mark is None or _code_of(pid) != _code_of(os.getpid()):
        return False
    if _mark.pid not in _number:
        _number[_mark.pid] = _mark.number()
    sought = b" %d " % _number[_mark.pid]
    try:
        with open(f"/proc/{pid}/maps", "rb") as maps:
            return any(sought in line and b"/dev/zero" in line for line in maps)
    except OSError:  # gone, or not ours to look at
        return False


def _code_of(pid: int) -> list[bytes]:
    """Where a process has its code and its stack: at random addresses, which a fork inherits."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as status:
            return status.read().rpartition(b")")[2].split()[23:26]
    except OSError:
        return []
