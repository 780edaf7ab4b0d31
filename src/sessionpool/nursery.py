"""The pool's side of its forkserver: one process, brought up with what it shall import, and asked for workers."""

import contextlib
import fcntl
import os
import pickle
import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import current_process, spawn
from pathlib import Path
from typing import Any, Final, NamedTuple

from sessionpool import kernel
from sessionpool.errors import PreloadError
from sessionpool.forkserver import FORK, LARGEST, NUMBER

_ROOT: Final = str(Path(__file__).parent.parent)
_PROGRAM: Final = (
    "import gc, sys; gc.disable(); sys.path.insert(0, {root!r}); "
    "from sessionpool import forkserver; forkserver.main{fds!r}"
)
_UNTIL_GONE_S: Final = 2.0


class Imported(NamedTuple):
    """Its imports are done."""


class Threads(NamedTuple):
    """The imports have left threads behind, by these names: a fork among them can inherit a lock that nobody opens."""

    names: str


class ImportFailed(NamedTuple):
    """One of its imports failed; it has ended."""

    module: str
    words: str


class Forked(NamedTuple):
    """A worker has a process, which this descriptor names."""

    worker: int
    pid: int
    pidfd: int


class NotForked(NamedTuple):
    """A worker could not be forked."""

    worker: int
    words: str


class Ended(NamedTuple):
    """A worker's process has ended and is reaped."""

    worker: int
    exit: str


class Gone(NamedTuple):
    """The forkserver itself is gone."""


Message = Imported | Threads | ImportFailed | Forked | NotForked | Ended | Gone


def main_of_this_process() -> dict[str, Any]:
    """How `__main__` can be imported elsewhere, as multiprocessing's spawn does it; empty where it cannot."""
    data = spawn.get_preparation_data("sessionpool")
    if not os.path.isfile(data.get("init_main_from_path", __file__)):
        return {}  # it was typed, or piped in
    return {key: data[key] for key in ("init_main_from_name", "init_main_from_path") if key in data}


class Nursery:
    """One forkserver process, from its start to its end.

    Args:
        preload: the modules that it imports.
    """

    def __init__(self, preload: Sequence[str]) -> None:
        self.is_ready = False
        config = {
            "sys_path": spawn.get_preparation_data("sessionpool")["sys_path"],
            "sys_argv": sys.argv,
            "main": main_of_this_process(),
            "preload": list(preload),
            "authkey": bytes(current_process().authkey),
        }
        config_fd = os.memfd_create("sessionpool-config")
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        me = os.pidfd_open(os.getpid())
        fds: list[int] = []
        try:
            with open(config_fd, "wb", closefd=False) as file:
                pickle.dump(config, file)
            os.lseek(config_fd, 0, os.SEEK_SET)
            # Above the standard streams: where those are closed, these would have their places, and be overwritten.
            fds += (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (theirs.fileno(), me, config_fd))
            flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined] # as multiprocessing does
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-c", _PROGRAM.format(root=_ROOT, fds=tuple(fds))],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
            )
        except BaseException:
            mine.close()
            raise
        finally:
            theirs.close()
            for fd in (me, config_fd, *fds):
                os.close(fd)
        self.socket = mine
        self.pid = self._process.pid
        self.pidfd = -1
        try:
            self.pidfd = os.pidfd_open(self.pid)
            self.stat_fd = os.open(f"/proc/{self.pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            mine.close()  # it ends by that
            self._process.wait()
            if self.pidfd >= 0:
                os.close(self.pidfd)
            raise

    def fork(self, worker: int, limit: int, wire_fd: int, words_fd: int) -> None:
        """Ask for a worker; `Forked` or `NotForked` will tell."""
        kernel.send_with_fds(self.socket, FORK.pack(b"F", worker, limit), (wire_fd, words_fd))

    def receive(self, *, wait_s: float | None = 0.0) -> Message | None:
        """The next thing that it has to tell; None where there is nothing (in time)."""
        poller = select.poll()
        poller.register(self.socket, select.POLLIN)
        if not poller.poll(None if wait_s is None else max(0.0, wait_s * 1000)):
            return None
        try:
            message, fds = kernel.receive_with_fds(self.socket, LARGEST)
        except OSError:
            return Gone()
        letter = message[:1]
        if letter == b"R":
            self.is_ready = True
            return Imported()
        if letter == b"W":
            return Threads(message[1:].decode())
        if letter == b"X":
            return ImportFailed(*pickle.loads(message[1:]))
        if letter == b"F":
            _, worker, pid = FORK.unpack(message)
            if not fds:  # the worker will find its wire closed, and end
                return NotForked(worker, "this process has no descriptor left for a worker")
            return Forked(worker, pid, fds[0])
        if letter == b"N":
            return NotForked(NUMBER.unpack_from(message)[1], message[NUMBER.size :].decode(errors="replace"))
        if letter == b"E":
            _, worker, status = FORK.unpack(message)
            return Ended(worker, kernel.in_words(status))
        return Gone()

    def await_imports(self, within_s: float) -> str:
        """Wait until its imports are done; returns the names of the threads that they left.

        Raises:
            PreloadError: an import failed, or it took longer than it may.
        """
        threads = ""
        while True:
            message = self.receive(wait_s=within_s)
            if isinstance(message, Imported):
                return threads
            if isinstance(message, Threads):
                threads = message.names
                continue
            self.close(kill=True)
            if isinstance(message, ImportFailed):
                raise PreloadError(message.module, message.words)
            if message is None:
                raise PreloadError("", f"the pool's forkserver had not imported what it should within {within_s:g} s")
            ended = self._process.returncode
            raise PreloadError("", f"the pool's forkserver ended by itself with status {ended}; its stderr may say why")

    def kill(self) -> None:
        """End it, and with it all its workers."""
        kernel.kill(self.pidfd)

    def close(self, *, kill: bool = False) -> None:
        """Let it end, and see that it does."""
        self.socket.close()
        if kill:
            self.kill()
        if not kernel.is_dead(self.pidfd, within_s=_UNTIL_GONE_S):  # Popen would sleep, and look, and sleep for longer
            self.kill()
        self._process.wait()
        os.close(self.pidfd)
        os.close(self.stat_fd)

    def disown(self) -> None:
        """In a fork of the pool's process: it is the parent's."""
        os.close(self.pidfd)
        os.close(self.stat_fd)
        self._process.returncode = 0  # or Popen would look after a child that is not ours
        with contextlib.suppress(OSError):
            self.socket.close()
