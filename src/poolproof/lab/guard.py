"""The keeper of a test process: outlives it, however it dies, for as long as it takes to leave nothing behind.

Standard library only. It is no child of the test process (a test may wait for all children it has) and no subreaper
stands above it: what the test process leaves behind is known by its mark, which everything that it starts carries in
its environment, and its forks, whose environment the kernel shows as it was before, by the end of the channel that they
inherited.

Its state is owned by its one thread; what wakes it is a message of the test process, the end of that process, and the
moment at which a test has hung too long.
"""

import contextlib
import os
import select
import shutil
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from poolproof import processes
from poolproof.lab import boot, sweep
from poolproof.lab.channel import Channel, Message
from poolproof.lab.undo import Stopped

_DUMP_S: Final = 1.0
_SWEEP_S: Final = 5.0
_QUIET_LOOKS: Final = 3
_APART_MS: Final = 10
_HELD_S: Final = 0.5
"""How often is looked whether a process that its user holds goes on."""

_TERMINAL: Final = 4
"""The place of the controlling terminal among the fields of `/proc/PID/stat` after the name; 0 without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Armed:
    """A test that must not go on for longer than this."""

    test: str
    bound_s: float
    grace_s: float
    deadline: float
    was_held: bool = False  # by its user, when its time was up


class Guard:
    """Keeps watch over one test process."""

    def __init__(self, charge: boot.Charge, channel: Channel) -> None:
        self._charge = charge
        self._channel = channel
        self._poller = select.poll()
        self._stopped = Stopped()
        self._folders: dict[str, None] = {}
        self._armed: _Armed | None = None

    def run(self) -> int:
        """Watch until the test process says that it is done, or is gone."""
        caller = processes.Handle.open(self._charge.caller_pid, self._charge.caller_start_time)
        own = os.pidfd_open(os.getpid())
        self._channel.send("watching", (own,), pid=os.getpid())
        os.close(own)
        try:
            is_done = caller is not None and self._watch(caller)
        finally:
            self._stopped.heal()
        if not is_done:
            self._sweep()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
        return 0

    def _watch(self, caller: processes.Handle) -> bool:
        """True when the test process is done, False when it is gone."""
        channel = self._channel.fileno()
        self._poller.register(channel, select.POLLIN)
        self._poller.register(caller.fd, select.POLLIN)
        while True:
            timeout_s = None if self._armed is None else max(0.0, self._armed.deadline - time.monotonic())
            ready = {fd for fd, _ in self._poller.poll(None if timeout_s is None else timeout_s * 1000 + 1)}
            # 1. What it said before it died counts: the end of a test, a process that it was about to stop.
            if channel in ready:
                received = self._channel.receive()
                if received is None:
                    # It lives and says no more: it became another program, or a test closed its descriptors. Nobody
                    # could disarm any more, so nobody is ended; that it leaves nothing behind is still seen to.
                    self._poller.unregister(channel)
                    self._armed = None
                elif received[0]["kind"] == "done":
                    return True
                else:
                    self._hear(*received)
                continue
            # 2. It is gone.
            if caller.fd in ready:
                return False
            # 3. A test has hung too long.
            if self._armed is not None and time.monotonic() >= self._armed.deadline:
                self._end(caller, self._armed)

    def _hear(self, message: Message, fds: list[int]) -> None:
        match message["kind"]:
            case "undo":
                # Held before the harm: whoever stops a process waits for this answer first.
                self._stopped.record(message, fds)
                self._channel.send("recorded", pid=message["pid"], start_time=message["start_time"])
            case "healed":
                self._stopped.forget(message)
            case "folder":
                self._folders[message["path"]] = None
            case "folder-removed":
                self._folders.pop(message["path"], None)
            case "arm":
                self._armed = _Armed(
                    test=message["test"],
                    bound_s=message["bound_s"],
                    grace_s=message["grace_s"],
                    deadline=time.monotonic() + message["bound_s"] + message["grace_s"],
                )
            case "disarm":
                self._armed = None

    # --- the end of a test that hangs ---------------------------------------------------------------------------

    def _end(self, caller: processes.Handle, armed: _Armed) -> None:
        """End the test process; faulthandler, where it is enabled, first writes every thread's stack."""
        now = time.monotonic()
        if _is_held_by_its_user(caller):
            self._armed = replace(armed, deadline=now + _HELD_S, was_held=True)
            return
        if armed.was_held:  # it goes on: it has its whole time anew
            self._armed = replace(armed, deadline=now + armed.bound_s + armed.grace_s, was_held=False)
            return
        self._armed = None
        _say(
            f"\npoolproof: {armed.test} went on for {armed.grace_s:g} s beyond its bound of {armed.bound_s:g} s, and "
            f"nothing within its process ended it: process {self._charge.caller_pid} gets SIGABRT, for its stacks, "
            "then SIGKILL, and everything that it started is ended too\n"
        )
        self._stopped.heal()
        caller.send(signal.SIGCONT)
        caller.send(signal.SIGABRT)
        if not caller.wait_gone(_DUMP_S):
            caller.send(signal.SIGKILL)

    # --- what is left behind ------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """End everything that the test process started, and everything that came of that.

        It is over when several looks in a row, a little apart, found nobody: what has only just become another program
        shows no environment yet, and what forks and ends may have been in neither life when it was looked for.
        """
        deadline = time.monotonic() + 2 * _SWEEP_S
        quiet = 0
        while quiet < _QUIET_LOOKS and time.monotonic() < deadline:
            forks = self._stop_forks()
            ended = sweep.sweep(self._charge.token, forks, bound_s=_SWEEP_S)
            quiet = 0 if forks or ended else quiet + 1
            select.poll().poll(_APART_MS)

    def _stop_forks(self) -> tuple[int, ...]:
        """Stop those that hold the test process's end of the channel, which only a fork of it can; who they are.

        At once, each as it is found: one that forks on would be gone by the time that all are known.
        """
        end, number = self._charge.caller_end, self._charge.caller_fd
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or _link(entry, number) != end:
                continue
            handle = processes.Handle.open(int(entry))
            if handle is None:
                continue
            if _link(entry, number) == end:  # looked at again, since it is held: it is not another one of the same pid
                with contextlib.suppress(PermissionError):
                    handle.send(signal.SIGSTOP)
                found.append(int(entry))
            handle.close()
        return tuple(found)


def _link(pid: str, fd: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/fd/{fd}").readlink())
    except OSError:  # no such descriptor, no such process, or somebody else's
        return ""


def _is_held_by_its_user(caller: processes.Handle) -> bool:
    """Whether a debugger stopped it, or job control at a terminal: then it does not hang, and will be continued."""
    try:
        with open(f"/proc/{caller.process.pid}/stat", "rb") as stat:
            line = stat.read()
    except OSError:
        return False
    fields = line[line.rindex(b")") + 2 :].split()
    return fields[0] == b"t" or (fields[0] == b"T" and fields[_TERMINAL] != b"0")


def _say(text: str) -> None:
    """Write to standard error, unless that would block: a full pipe must not save a hung test."""
    poller = select.poll()
    poller.register(2, select.POLLOUT)
    with contextlib.suppress(OSError):
        if poller.poll(0):
            os.write(2, text.encode()[: select.PIPE_BUF])


def main(charge: boot.Charge, channel_fd: int) -> int:
    """Keep watch over one test process, from a process that is nobody's child."""
    if os.fork():
        os._exit(0)
    os.setsid()
    # It ends with the test process, not with its user's patience: who ends both at once means that one.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The test process may have made descriptors of its own inheritable: a pipe held open here would hang its reader.
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in (0, 1, 2, channel_fd):
            with contextlib.suppress(OSError):
                os.close(fd)
    return Guard(charge, Channel.inherited(channel_fd)).run()
