"""Processes of this machine: who lives, who descends from whom, and signals that can't hit a stranger.

Standard library only, for the keeper, which must stay small. A process is named by its pid *and* its start time, so
that a recycled pid is never mistaken for the process that had it before.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from poolproof.errors import PlatformError

_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One life of a pid, as `/proc/PID/stat` tells it.

    Attributes:
        start_time: clock ticks after boot; with `pid` it names this life and no other.
        state: the kernel's letter: R, S, D running or waiting, T stopped, Z zombie.
        threads: how many threads it had.
        cpu_ticks: user and system time spent so far, in clock ticks.
    """

    pid: int
    ppid: int
    start_time: int
    state: str
    name: str
    threads: int
    cpu_ticks: int

    @property
    def identity(self) -> tuple[int, int]:
        """What stays the same for this life: pid and start time."""
        return (self.pid, self.start_time)


def parse_stat(text: bytes) -> Process:
    """Read one line of `/proc/PID/stat`; the name stands in parentheses and may itself hold any byte."""
    opening, closing = text.index(b"("), text.rindex(b")")
    fields = text[closing + 2 :].split()
    return Process(
        pid=int(text[:opening]),
        name=text[opening + 1 : closing].decode(errors="replace"),
        state=fields[0].decode(),
        ppid=int(fields[1]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        threads=int(fields[17]),
        start_time=int(fields[19]),
    )


def look_up(pid: int) -> Process | None:
    """The process that has `pid` now, zombies included; None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return parse_stat(stat.read())
    except OSError:  # gone, or hidden from us
        return None


def everyone() -> dict[int, Process]:
    """All processes that this one can see, by pid."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (process := look_up(int(entry))) is not None:
            found[process.pid] = process
    return found


def descendants(root_pid: int, among: Mapping[int, Process]) -> dict[int, Process]:
    """Children of `root_pid`, their children and so on, by pid; the root itself is not among them."""
    children: dict[int, list[Process]] = {}
    for process in among.values():
        children.setdefault(process.ppid, []).append(process)
    found: dict[int, Process] = {}
    pending = [root_pid]
    while pending:
        for child in children.get(pending.pop(), ()):
            if child.pid not in found:
                found[child.pid] = child
                pending.append(child.pid)
    return found


def children(pid: int) -> list[int]:
    """The children of a process, zombies included, without a look at anybody else; empty when it is gone.

    Raises:
        PlatformError: this kernel does not list them (it was built without CONFIG_PROC_CHILDREN).
    """
    found: list[int] = []
    tasks = f"/proc/{pid}/task"
    try:
        threads = os.listdir(tasks)
    except OSError:
        return found
    for thread in threads:
        try:
            with open(f"{tasks}/{thread}/children", "rb") as listed:
                found += map(int, listed.read().split())
        except FileNotFoundError:
            # The file is missing where the thread has ended meanwhile, or where there is no such file at all.
            if os.path.exists(f"{tasks}/{thread}"):
                raise PlatformError(
                    f"this kernel does not tell the children of a process: no {tasks}/N/children"
                ) from None
        except ProcessLookupError:
            continue
    return found


def offspring(root_pid: int) -> dict[int, Process]:
    """As `descendants`, of the processes there are now, by the kernel's own lists of children.

    A tenth of the cost of looking at everyone; where the kernel keeps no such lists, everyone is looked at.
    """
    found: dict[int, Process] = {}
    pending = [root_pid]
    while pending:
        try:
            listed = children(pending.pop())
        except PlatformError:
            return descendants(root_pid, everyone())
        for pid in listed:
            if pid not in found and (child := look_up(pid)) is not None:
                found[pid] = child
                pending.append(pid)
    return found


def command_line(pid: int) -> str:
    """The command line of a process, or an empty text when it is gone."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def carries_environment(pid: int, variable: str) -> bool:
    """Whether the process was started with `variable` in its environment: orphans stay attributable by it."""
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return any(entry.startswith(variable.encode() + b"=") for entry in environment.split(b"\0"))


def tagged(variable: str, among: Iterable[Process]) -> dict[int, Process]:
    """Those of `among` that carry `variable` in their environment, by pid."""
    return {process.pid: process for process in among if carries_environment(process.pid, variable)}


def memory_bytes(pid: int) -> int:
    """Resident memory of a process in bytes, shared pages included; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def open_files(pid: int | str = "self") -> dict[int, str]:
    """The file descriptors of a process and what each points to; empty when it is gone."""
    found: dict[int, str] = {}
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for entry in os.listdir(folder):
            with contextlib.suppress(OSError):
                found[int(entry)] = os.readlink(f"{folder}/{entry}")
    return found


def shared_mappings(pid: int | str = "self") -> dict[int, str]:
    """What a process has mapped of /dev/shm, by inode; empty when it is gone, or not ours to look at.

    A path that ends in ` (deleted)` has no name any more: multiprocessing takes its semaphores' at once.
    """
    try:
        with open(f"/proc/{pid}/maps", "rb") as maps:
            text = maps.read()
    except OSError:
        if pid == "self":
            raise  # that one can always be read; where not, nothing can be said
        return {}
    found: dict[int, str] = {}
    if b" /dev/shm/" in text:
        for line in text.splitlines():
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and fields[5].startswith(b"/dev/shm/"):
                found[int(fields[4])] = os.fsdecode(fields[5])
    return found


class Handle:
    """A hold on one life of a process, by pidfd: what it signals is that process or nothing.

    Attributes:
        process: the process as it was when the handle was opened.
        fd: the pidfd, readable once the process has exited.
    """

    def __init__(self, process: Process, fd: int) -> None:
        self.process = process
        self.fd = fd

    @classmethod
    def open(cls, pid: int, start_time: int | None = None) -> "Handle | None":
        """Take hold of `pid`; None where it is gone, or where it is no longer the life that began at `start_time`."""
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        # Looked up after the pidfd is open: if the pid had been recycled before, the start time betrays it.
        process = look_up(pid)
        if process is None or (start_time is not None and process.start_time != start_time):
            os.close(fd)
            return None
        return cls(process, fd)

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; False where the process is gone already."""
        try:
            signal.pidfd_send_signal(self.fd, number)
        except ProcessLookupError:
            return False
        return True

    def wait_gone(self, timeout_s: float) -> bool:
        """Wait until the process has exited (it may stay a zombie); False when `timeout_s` passed first."""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        return bool(poller.poll(max(0.0, timeout_s) * 1000))

    @property
    def gone(self) -> bool:
        """Whether the process has exited."""
        return self.wait_gone(0)

    def wait_stopped(self, timeout_s: float) -> bool:
        """Wait until a stop signal has taken hold; False when `timeout_s` passed first.

        Only a parent is told of a stop by the kernel, so this one has to look; it takes well under a millisecond.
        """
        deadline = time.monotonic() + timeout_s
        while (state := self.state()) not in ("X", "Z") and not self._every_thread_stopped():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.0002)
        return state not in ("X", "Z")

    def _every_thread_stopped(self) -> bool:
        """Whether all its threads are stopped: the process shows T as soon as the first of them is."""
        tasks = f"/proc/{self.process.pid}/task"
        try:
            states = [parse_stat(Path(tasks, task, "stat").read_bytes()).state for task in os.listdir(tasks)]
        except OSError:
            return False
        return bool(states) and all(state == "T" for state in states)

    def state(self) -> str:
        """The kernel's letter for its state now, or X when it is gone."""
        process = look_up(self.process.pid)
        if process is None or process.start_time != self.process.start_time:
            return "X"
        return process.state

    def close(self) -> None:
        """Let go of the process; it is not signalled."""
        os.close(self.fd)
