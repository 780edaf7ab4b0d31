"""The processes that a test started, however they hid, and how those that it left are ended and told of.

A process is the test's if it descends from this one; or if it carries the test's mark: in its environment, which an
orphan that was executed has, or in its memory, which one that was only forked has. Both are there from its first moment
on, so that none is overlooked which has not yet run a line of its own; and the process of the test need not be a
subreaper, which would change what its pools see.
"""

import contextlib
import gc
import mmap
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from poolproof import processes
from poolproof.errors import WaitTimeoutError
from poolproof.isolation.contamination import tolerated
from poolproof.isolation.ending import in_words
from poolproof.processes import Handle, Process
from poolproof.waiting import wait_for

_VARIABLE: Final = "POOLPROOF_TEST_"
_GONE_S: Final = 5.0
_ROUNDS: Final = 10


class Lineage:
    """The processes that were started since it was made."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        token = secrets.token_hex(8)
        self._variable = f"{_VARIABLE}{token.upper()}"
        self._name = f"poolproof-lineage-{token}"
        self._before = {process.identity for process in processes.everyone().values()}
        os.environ[self._variable] = "1"
        # The kernel tells the name of memory that has one, in the maps of each process that has it.
        fd = os.memfd_create(self._name)
        try:
            os.truncate(fd, mmap.PAGESIZE)
            self._memory = mmap.mmap(fd, mmap.PAGESIZE)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Stop keeping it."""
        self._memory.close()
        os.environ.pop(self._variable, None)

    def left(self) -> dict[int, Process]:
        """The processes that were started since, and are still there, zombies too; by pid."""
        everyone = processes.everyone()
        family = processes.descendants(self._owner, everyone)
        new = {
            pid: process
            for pid, process in everyone.items()
            if process.identity not in self._before
            and (pid in family or self._is_marked(pid))
            and not _is_tolerated(process)
        }
        # What is dead is its parent's to reap, whenever that comes to it, where the parent is not the test's.
        return {
            pid: process
            for pid, process in new.items()
            if process.state != "Z" or process.ppid == self._owner or process.ppid in new
        }

    def _is_marked(self, pid: int) -> bool:
        if processes.carries_environment(pid, self._variable):
            return True
        try:
            return self._name.encode() in Path(f"/proc/{pid}/maps").read_bytes()
        except OSError:  # gone, or not ours to look at
            return False

    def end(self, settle_s: float) -> list[str]:
        """End whatever is left; each that had to be ended is a problem.

        Args:
            settle_s: how long what is just ending may take for it.
        """
        left = self.left()
        if not left:
            return []
        _settle(left, settle_s)
        problems: dict[tuple[int, int], str] = {}
        # In rounds: what is killed may just have started another.
        for _ in range(_ROUNDS):
            left = self.left()
            if not left:
                return [*problems.values()]
            for process in left.values():
                problems.setdefault(process.identity, _told(process))
            for identity, how in _end(left).items():
                problems[identity] += how
        stayed = [f"pid {process.pid} ({process.name}) could not be ended" for process in self.left().values()]
        return [*problems.values(), *stayed]


def _settle(left: Mapping[int, Process], settle_s: float) -> None:
    """Give what is just ending, and whoever waits for it, the time for that; nothing is reaped here."""

    def are_gone() -> bool:
        now = [processes.look_up(process.pid) for process in left.values()]
        return not any(process is not None and process.identity == left[process.pid].identity for process in now)

    if settle_s:
        with contextlib.suppress(WaitTimeoutError):  # then they are told of
            wait_for(are_gone, timeout=settle_s)


def _is_tolerated(process: Process) -> bool:
    """Whether a process is there once for all tests, by design, such as multiprocessing's tracker and forkserver.

    To end it would break what the next test shares with others, or starts.
    """
    return process.pid in tolerated.pids() or tolerated.is_own(processes.command_line(process.pid))


def _told(process: Process) -> str:
    if process.state == "Z":
        return f"the zombie pid {process.pid} ({process.name}) was left: nobody had waited for it"
    whose = "" if process.ppid == os.getpid() else f", a child of pid {process.ppid}"
    return (
        f"the process pid {process.pid} was left running and was killed{whose}: "
        f"{processes.command_line(process.pid) or process.name}"
    )


def _end(left: Mapping[int, Process]) -> dict[tuple[int, int], str]:
    """Kill processes, and reap those that are children of this one; what is to be said of each that was reaped."""
    handles = [handle for process in left.values() if (handle := Handle.open(process.pid, process.start_time))]
    for handle in handles:
        handle.send(signal.SIGKILL)
    for handle in handles:
        handle.wait_gone(_GONE_S)
        handle.close()
    _reap_by_owners(left)
    return {process.identity: how for process in left.values() if (how := _reap(process))}


def _reap(process: Process) -> str:
    """Reap a dead child of this process that no owner was found for; what is to be said of that."""
    now = processes.look_up(process.pid)
    if now is None or now.identity != process.identity or now.state != "Z" or now.ppid != os.getpid():
        return ""
    with contextlib.suppress(ChildProcessError):  # another thread of its owner's was faster
        _, status = os.waitpid(process.pid, os.WNOHANG)
        return f"; its status ({in_words(status)}) was taken here, so whoever waits for it later gets none"
    return ""


def _reap_by_owners(left: Mapping[int, Process]) -> None:
    """Have those who started dead processes ask for their status: it is theirs, and they would miss it for ever."""
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None:
        multiprocessing.active_children()  # which waits for each of its own that has ended, by pid
    # It takes a while to look at every object, but only a test that left something behind comes here.
    for owner in gc.get_objects():
        if issubclass(type(owner), subprocess.Popen) and owner.pid in left:
            owner.poll()
