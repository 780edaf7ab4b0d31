"""The few calls of Linux that Python does not offer, or not whole: deaths that are seen, and deaths that follow."""

import array
import contextlib
import ctypes
import os
import select
import signal
import socket
from collections.abc import Sequence
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_prctl: Final = ctypes.CDLL(None, use_errno=True).prctl
_FD_SIZE: Final = array.array("i").itemsize
_MOST_FDS: Final = 8


def die_with_parent(parent: int) -> None:
    """Have this process killed when the one that forked it dies; it may have died already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def kill(pidfd: int) -> None:
    """End a process for certain; one that has ended already is as good."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def is_dead(pidfd: int, *, within_s: float = 0.0) -> bool:
    """Whether a process has ended, or does so in time; that it is reaped is not needed."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(within_s * 1000))


def in_words(status: int) -> str:
    """A status of `waitpid`, for people."""
    if os.WIFSIGNALED(status):
        try:
            return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
        except ValueError:
            return f"signal {os.WTERMSIG(status)}"
    return f"exit status {os.WEXITSTATUS(status)}"


def send_with_fds(sock: socket.socket, message: bytes, fds: Sequence[int]) -> None:
    """One message with descriptors; the receiver gets its own copies."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([message], ancillary)


def receive_with_fds(sock: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """One message and the descriptors that came with it; an empty message is the end of the stream."""
    room = socket.CMSG_SPACE(_MOST_FDS * _FD_SIZE)
    message, ancillary, _, _ = sock.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % _FD_SIZE])
    return message, list(fds)
