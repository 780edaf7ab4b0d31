"""The watch over processes: tells of each that appears, and of each that is gone, as it happens.

It reaps nobody and handles no signal: whose child a process is does not matter, and what a test does about its children
and signals is not disturbed.
"""

import contextlib
import errno
import fcntl
import os
import re
import select
import signal
import struct
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from poolproof import processes
from poolproof.clock import now_ns
from poolproof.errors import UsageError
from poolproof.rig.notices import Notices
from poolproof.waiting import Event, EventStream

_LOOK_S: Final = 0.05
"""How often is looked where nothing tells: the folder without inotify, and what could not be held for want of fds."""

_CLOSE_S: Final = 2.0
_RECORDS: Final = re.compile(r"([1-9]\d*)-(\d+)\.bin")

_UNSEEN: Final = "unknown: it had ended before it could be watched"

_Identity = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """The end of one process.

    Attributes:
        pid: the process, with `start_time` one life of it.
        start_time: clock ticks after boot.
        at_ns: when it was noticed, on CLOCK_MONOTONIC.
        how: its status or signal, in words; `unknown`, with the reason, where the kernel tells us neither.
    """

    pid: int
    start_time: int
    at_ns: int
    how: str


class ProcessWatch:
    """Watches processes by pidfd, and a folder of execution records for more of them.

    One daemon thread waits in epoll on the pidfds, on inotify, and on an eventfd that `close` rings. What wakes whom:
    the kernel wakes the thread, the thread publishes, the stream wakes whoever waits there.

    Shared state: `_known`, `_held`, `_living`, `_gone` and `_is_closing` are guarded by `_lock`, which is never held
    while something is published: a callback may use the watch. Only the thread unregisters and closes descriptors, so
    none that it waits on can be closed, and given to somebody else, beneath it. State changes before its event is
    published: who looks again upon the event sees it.
    """

    def __init__(self, stream: EventStream, source: str) -> None:
        self._stream = stream
        self._source = source
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._known: set[_Identity] = set()
        self._held: dict[int, tuple[processes.Handle, Hashable]] = {}
        self._living: dict[_Identity, processes.Process] = {}
        self._gone: list[Departure] = []
        self._is_closing = False
        self._has_ended = False
        # Owned by whoever opens, until the thread starts, and by the thread from then on.
        self._folder: Path | None = None
        self._notices: Notices | None = None
        self._unwatched: set[_Identity] = set()
        self._epoll = select.epoll()
        try:
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError:
            self._epoll.close()
            raise
        self._epoll.register(self._bell, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="poolproof watch", daemon=True)

    @classmethod
    def open(cls, stream: EventStream, *, folder: Path | None = None, source: str = "watch") -> "ProcessWatch":
        """A watch that is under way.

        Args:
            stream: where it publishes: subject `process`, what `appeared` or `gone`, the latter with how as its detail.
            folder: an existing one of record files, each named `<pid>-<start_time>.bin` by the process that writes it;
                whoever has one there is watched, also who had it before, but never the calling process itself.
            source: names the watch in its events.

        Raises:
            OSError: the folder cannot be read, or there are too few descriptors left.
        """
        watch = cls(stream, source)
        try:
            if folder is not None:
                watch._folder = folder
                # The kernel's notice first, then the look: a file that comes between is found by both, and counts once.
                watch._notices = Notices.of(folder)
                if watch._notices is not None:
                    watch._epoll.register(watch._notices, select.EPOLLIN)
                watch._list(folder)
            watch._thread.start()
        except BaseException:
            watch._end()
            raise
        return watch

    def add(self, pid: int, start_time: int, *, who: Hashable = None) -> bool:
        """Watch a process from now on; False where that life is over, or the watch is.

        Args:
            pid: of the process.
            start_time: when that life of the pid began, in clock ticks after boot.
            who: what its events call it.

        Raises:
            UsageError: this is a process that was forked from the watch's own.
            OSError: there are too few descriptors left.
        """
        self._check_owner()
        return self._take((pid, start_time), who, was_found=False)

    def living(self) -> tuple[processes.Process, ...]:
        """Those that are watched and not known to be gone, in the order in which they appeared."""
        with self._lock:
            return tuple(self._living.values())

    def gone(self) -> tuple[Departure, ...]:
        """Those whose end was seen, in its order."""
        with self._lock:
            return tuple(self._gone)

    def close(self, timeout_s: float = _CLOSE_S) -> bool:
        """Tell of whoever is gone by now, then end the thread and close every descriptor. May be called again.

        False where the thread did not end in time, since a subscriber of the stream hangs; it closes them once it can.
        """
        if os.getpid() != self._owner:  # a fork has no thread to end, and would ring its parent's
            return True
        with self._lock:
            self._is_closing = True
            if not self._has_ended:  # under the lock, for `_end` closes the bell
                os.eventfd_write(self._bell, 1)
        if threading.current_thread() is self._thread:  # a subscriber closes it: the thread ends after this event
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def __enter__(self) -> "ProcessWatch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._is_closing else "open"
        return f"<ProcessWatch {self._source}: {state}, {len(self._living)} living, {len(self._gone)} gone>"

    # --- taking hold --------------------------------------------------------------------------------------------

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise UsageError(f"this watch is of process {self._owner}: open one in process {os.getpid()}, its fork")

    def _take(self, identity: _Identity, who: Hashable, *, was_found: bool) -> bool:
        """Hold a process and tell of it; one that was found in the folder is told of even if it is over."""
        with self._lock:
            if self._is_closing and not was_found:
                return False
            if identity in self._known:
                return identity in self._living
            self._known.add(identity)  # at once: of two who add the same, one tells of it
        try:
            handle = processes.Handle.open(*identity)
        except OSError:
            with self._lock:
                self._known.discard(identity)
            raise
        if handle is not None and handle.gone and not was_found:
            handle.close()
            handle = None
        if handle is None:
            return self._miss(identity, was_found=was_found)
        with self._lock:
            if self._has_ended:  # meanwhile: nobody would close it
                handle.close()
                return False
            self._held[handle.fd] = handle, who
            self._living[identity] = handle.process
        self._publish("appeared", handle.process.pid, who, handle.process.name)
        # Registered only after it was told of: its end must not be told before.
        with self._lock:
            if handle.fd in self._held:
                self._epoll.register(handle.fd, select.EPOLLIN)
        return True

    def _miss(self, identity: _Identity, *, was_found: bool) -> bool:
        with self._lock:
            if not was_found:
                self._known.discard(identity)
                return False
            departure = Departure(pid=identity[0], start_time=identity[1], at_ns=now_ns(), how=_UNSEEN)
            self._gone.append(departure)
        self._publish("appeared", identity[0], None, "")
        self._publish("gone", identity[0], None, _UNSEEN)
        return False

    def _publish(self, what: str, pid: int, who: Hashable, detail: str) -> None:
        event = Event(
            at_ns=now_ns(), source=self._source, subject="process", what=what, who=who, pid=pid, detail=detail
        )
        self._stream.publish(event)

    # --- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._is_closing:
                has_to_look = bool(self._unwatched) or (self._folder is not None and self._notices is None)
                self._hear(_LOOK_S if has_to_look else -1)
                if has_to_look:
                    self._look()
            # Whoever died, or came, before `close` was called is told of.
            self._look()
            while self._hear(0):
                pass
        finally:
            self._end()

    def _hear(self, timeout_s: float) -> bool:
        """Wait for what the kernel tells, and pass it on; whether there was anything but the bell."""
        heard = [fd for fd, _ in self._epoll.poll(timeout_s) if fd != self._bell]
        for fd in heard:
            if self._notices is not None and fd == self._notices.fileno():
                self._read(self._notices)
            else:
                self._let_go(fd)
        return bool(heard)

    def _read(self, notices: Notices) -> None:
        for name in notices.read():
            if name is None:  # the kernel's queue ran over: what it would have told is in the folder
                self._look()
            else:
                self._find(name)

    def _look(self) -> None:
        """Look for record files, and once more for what could not be held."""
        unwatched, self._unwatched = self._unwatched, set()
        for identity in unwatched:
            self._found(identity)
        if self._folder is not None:
            with contextlib.suppress(FileNotFoundError):  # the test has removed it, and tells nothing there any more
                self._list(self._folder)

    def _list(self, folder: Path) -> None:
        for name in os.listdir(folder):
            self._find(name)

    def _find(self, name: str) -> None:
        match = _RECORDS.fullmatch(name)
        if match is not None and int(match[1]) != self._owner:
            self._found((int(match[1]), int(match[2])))

    def _found(self, identity: _Identity) -> None:
        try:
            self._take(identity, None, was_found=True)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise
            self._unwatched.add(
                identity
            )  # the test has used up the descriptors: it is looked for again until it is held

    def _let_go(self, fd: int) -> None:
        with self._lock:
            handle, who = self._held[fd]
        process = handle.process
        departure = Departure(pid=process.pid, start_time=process.start_time, at_ns=now_ns(), how=how_it_ended(handle))
        # By hand: a fork of this process may hold a copy, and epoll would go on telling of it after ours is closed.
        self._epoll.unregister(fd)
        with self._lock:
            del self._held[fd]
            del self._living[process.identity]
            self._gone.append(departure)
        handle.close()
        self._publish("gone", process.pid, who, departure.how)

    def _end(self) -> None:
        with self._lock:
            self._is_closing = self._has_ended = True
            for handle, _ in self._held.values():
                handle.close()
            self._held.clear()
            self._epoll.close()  # before the notices, which are kept: it must not go on telling of them
            os.close(self._bell)
            if self._notices is not None:
                self._notices.close()


# --- how it ended -----------------------------------------------------------------------------------------------

_EXIT_CODE: Final = 49
"""Its place among the fields of `/proc/PID/stat` after the name; true of a zombie only."""

_PIDFD_GET_INFO: Final = 0xC040FF0B
_PIDFD_INFO_EXIT: Final = 1 << 3
_INFO: Final = struct.Struct("=Q52xi")
"""`struct pidfd_info` of the kernel's include/uapi/linux/pidfd.h: the mask first, the exit code last."""


def how_it_ended(handle: processes.Handle) -> str:
    """How a process ended whose end its pidfd has told of, in words; nobody is reaped.

    A child of ours is asked for, and left to be waited for. Of somebody else's the kernel tells while it is a zombie,
    in /proc, and once it is reaped through the pidfd (Linux 6.15 and later).
    """
    with contextlib.suppress(ChildProcessError):
        ended = os.waitid(os.P_PIDFD, handle.fd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            return in_words(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)
    # In this order: between the two looks it may be reaped, and never the reverse.
    for source in (_of_zombie, _of_reaped):
        status = source(handle)
        if status is not None:
            return in_words(os.waitstatus_to_exitcode(status))
    return "unknown: its parent had reaped it, and this kernel does not tell others"


def in_words(code: int) -> str:
    """An exit code in words: the status, or, where it is below 0, the signal."""
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # most real-time signals have no name of their own
        return f"was killed by signal {-code}"


def _of_zombie(handle: processes.Handle) -> int | None:
    try:
        with open(f"/proc/{handle.process.pid}/stat", "rb") as stat:
            line = stat.read()
    except OSError:
        return None
    process = processes.parse_stat(line)
    # The pidfd outlives the pid, which may be somebody else's by now.
    if process.state != "Z" or process.identity != handle.process.identity:
        return None
    fields = line[line.rindex(b")") + 2 :].split()
    return int(fields[_EXIT_CODE])


def _of_reaped(handle: processes.Handle) -> int | None:
    try:
        answer = fcntl.ioctl(handle.fd, _PIDFD_GET_INFO, _INFO.pack(_PIDFD_INFO_EXIT, 0))
    except OSError:
        return None
    mask, status = _INFO.unpack(answer)
    return int(status) if mask & _PIDFD_INFO_EXIT else None
