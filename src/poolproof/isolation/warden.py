"""Runs one function in a child of its own, and ends all that comes of it: `warden.py CHANNEL RESULT`.

It stands between the test and the child, and is a subreaper: however the child ends, whatever that started becomes the
warden's. It lies outside the import system, as `poolproof.lab.boot` does: it is run by its path, and takes over the
caller's `sys.path` before anything is imported. Standard library only, but for what the function itself needs, which
the child alone imports.
"""

import contextlib
import ctypes
import faulthandler
import os
import pickle
import select
import signal
import socket
import sys
import time
import traceback
from typing import Any, Final, NamedTuple

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_DUMP: Final = signal.SIGRTMAX - 1
"""Has the child write its stacks; one of the signals that nobody uses."""
_DUMP_S: Final = 1.0
_QUIET_S: Final = 0.1
_END_S: Final = 5.0


class Order(NamedTuple):
    """What is to be run.

    Attributes:
        sys_path: the caller's.
        directory: the caller's working directory, or empty where that is gone.
        reference: of the function.
        arguments: a pickle of them, in a tuple.
        timeout_s: for the function, its imports included.
    """

    sys_path: list[str]
    directory: str
    reference: str
    arguments: bytes
    timeout_s: float


class Outcome(NamedTuple):
    """How the child ended.

    Attributes:
        status: as `waitpid` tells it.
        hung: whether it was killed since its time was up.
        stacks: where it was then.
        stayed: descendants of it that could not be ended.
    """

    status: int
    hung: bool
    stacks: str
    stayed: list[str]


def main(channel_fd: int, result_fd: int) -> None:
    """Carry out the order that the channel brings."""
    channel = socket.socket(fileno=channel_fd)
    order = Order(*pickle.loads(read_message(channel)))
    sys.path[:] = order.sys_path
    os.set_inheritable(result_fd, False)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    reading, writing = os.pipe()
    pid = os.fork()  # of a fresh process with one thread, and nothing of the test's in it
    if pid == 0:
        channel.close()
        os.close(reading)
        _become_the_child(order, result_fd, writing)
    os.close(writing)
    os.close(result_fd)
    pidfd = os.pidfd_open(pid)
    hung, stacks = _outlast(pid, pidfd, channel, reading, order.timeout_s)
    status = os.waitpid(pid, 0)[1]
    outcome = Outcome(status, hung, stacks, _end_descendants())
    with contextlib.suppress(OSError):  # nobody waits for it any more
        send_message(channel, pickle.dumps(tuple(outcome)))
    os._exit(0)


def _outlast(pid: int, pidfd: int, channel: socket.socket, stacks: int, timeout_s: float) -> tuple[bool, str]:
    """Return once the child is dead: by itself, since its time is up, or since the caller is gone."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.register(channel, select.POLLIN)
    ready = dict(poller.poll(timeout_s * 1000))
    if pidfd in ready:
        return False, ""
    told = "" if ready else _stacks(pidfd, stacks)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    return not ready, told


def _stacks(pidfd: int, stacks: int) -> str:
    """Where the child is, as its faulthandler writes it: it needs no answer of the interpreter, which may hang."""
    signal.pidfd_send_signal(pidfd, _DUMP)
    poller = select.poll()
    poller.register(stacks, select.POLLIN)
    found, patience_s = b"", _DUMP_S
    while poller.poll(patience_s * 1000) and (more := os.read(stacks, 65536)):
        found, patience_s = found + more, _QUIET_S
    return found.decode(errors="replace")


def _end_descendants() -> list[str]:
    """Kill and reap whatever the child left; it is the warden's by now. Who stayed, in words."""
    from poolproof import processes

    deadline = time.monotonic() + _END_S
    while left := processes.descendants(os.getpid(), processes.everyone()):
        for process in left.values():
            handle = processes.Handle.open(process.pid, process.start_time)
            if handle is None:
                continue
            handle.send(signal.SIGKILL)
            handle.wait_gone(max(0.0, deadline - time.monotonic()))
            handle.close()
            if process.ppid == os.getpid():
                # Those of others come to this process as they lose their parents: the next round reaps them.
                os.waitpid(process.pid, os.WNOHANG)
        if time.monotonic() > deadline:
            return [f"pid {process.pid} ({process.name})" for process in left.values()]
    return []


# --- the child ------------------------------------------------------------------------------------------------------


def _become_the_child(order: Order, result_fd: int, stacks: int) -> None:
    """Run the function, leave what came of it in the file, and end."""
    os.setsid()
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # without its warden nobody would end what it starts
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # it is not handed down by fork
    faulthandler.register(_DUMP, file=stacks, all_threads=True)
    status = 1
    try:
        if order.directory:
            os.chdir(order.directory)
        answer = _answer(order)
        with open(result_fd, "wb") as file:
            file.write(answer)
        status = 0
    except SystemExit as ending:
        code = ending.code
        status = 0 if code is None else code if isinstance(code, int) else 1
        if status == 1 and code != 1:
            sys.stderr.write(f"{code}\n")
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status & 0xFF)  # threads and exit handlers that the function left must not keep it


def _answer(order: Order) -> bytes:
    """A pickle of `(kind, value, told)`: the value a pickle of its own, and what is told of it in words."""
    from poolproof import references

    try:
        function = references.load(order.reference)
        value = function(*pickle.loads(order.arguments))
    except SystemExit:
        raise
    except BaseException as error:
        told = "".join(traceback.format_exception(error))
        error.add_note(f"in the child:\n{told}")
        return pickle.dumps(("raised", _packed(error)[0], told))
    packed, why = _packed(value)
    return pickle.dumps(("returned", packed, f"{type(value).__name__}: {why}" if why else ""))


def _packed(value: Any) -> tuple[bytes, str]:
    """A pickle, or an empty one and why there is none: some objects pickle, and then don't unpickle."""
    try:
        packed = pickle.dumps(value)
        pickle.loads(packed)
    except Exception as error:
        return b"", f"{type(error).__name__}: {error}"
    return packed, ""


# --- messages -------------------------------------------------------------------------------------------------------


def send_message(channel: socket.socket, message: bytes) -> None:
    """Send a message whole."""
    channel.sendall(len(message).to_bytes(8, "big") + message)


def read_message(channel: socket.socket) -> bytes:
    """Read a message whole.

    Raises:
        EOFError: the other side is gone.
    """
    size = int.from_bytes(_read(channel, 8), "big")
    return _read(channel, size)


def _read(channel: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        more = channel.recv(min(size - len(found), 1 << 20))
        if not more:
            raise EOFError
        found += more
    return bytes(found)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
