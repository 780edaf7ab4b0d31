"""What a test learns of its workers without asking the pool: whom it meets, what it is told, what was written down."""

import contextlib
import itertools
import os
import secrets
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeVar

from poolproof import processes
from poolproof.isolation.contamination import tolerated

LONG_S: Final = 15.0
"""Longer than anything here may take: what is waited for comes before, or the test fails with the reason."""

_E = TypeVar("_E", bound=BaseException)
_T = TypeVar("_T")


def failure(future: "Future[Any]", kind: type[_E]) -> _E:
    """What an operation failed with, which must be exactly of this kind."""
    error = future.exception(LONG_S)
    assert type(error) is kind, f"{error!r} instead of {kind.__name__}"
    return error


def outcome(future: "Future[Any]") -> Any:
    """The result, or the type of the failure: something came of it."""
    error = future.exception(LONG_S)
    return future.result() if error is None else type(error)


def bounded(call: Callable[[], _T], within_s: float = LONG_S) -> _T:
    """Call something that may hang; if it does, that is a failure which tells where, and the suite goes on."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        return future.result(within_s)
    except TimeoutError:
        if future.done():
            raise
        stacks = "\n".join(
            f"--- {key}\n{''.join(traceback.format_stack(frame))}" for key, frame in sys._current_frames().items()
        )
        raise AssertionError(f"it hung for {within_s} s\n{stacks}") from None


def until(holds: Callable[[], object], within_s: float = LONG_S) -> bool:
    """Look until something holds of which nobody is told; whether it came to hold in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.002)
    return True


# --- processes --------------------------------------------------------------------------------------------------


def hold_of(pid: int | None) -> processes.Handle:
    assert pid is not None
    handle = processes.Handle.open(pid)
    assert handle is not None, f"process {pid} is gone"
    return handle


def send(pid: int | None, number: signal.Signals) -> None:
    """Send a signal to a process that is there."""
    handle = hold_of(pid)
    handle.send(number)
    handle.close()


def kill(pid: int | None) -> None:
    """Return once the process is dead: it does nothing any more."""
    handle = hold_of(pid)
    handle.send(signal.SIGKILL)
    assert handle.wait_gone(LONG_S)
    handle.close()


def stop(pid: int | None) -> None:
    """Return once the process stands still."""
    handle = hold_of(pid)
    handle.send(signal.SIGSTOP)
    assert handle.wait_stopped(LONG_S)
    handle.close()


def is_gone(pid: int | None, within_s: float = LONG_S) -> bool:
    assert pid is not None
    handle = processes.Handle.open(pid)
    if handle is None:
        return True
    gone = handle.wait_gone(within_s)
    handle.close()
    return gone


def children() -> list[processes.Process]:
    """The live children of this process, but those that every process has once: of one pool, that is its forkserver."""
    return [
        each
        for each in processes.offspring(os.getpid()).values()
        if each.ppid == os.getpid() and each.state not in "ZX" and each.pid not in tolerated.pids()
    ]


class Mark:
    """Tells the processes that a test started from all others, whoever their parent is by now: a variable of theirs."""

    def __init__(self) -> None:
        self.name = f"SESSIONPOOL_TEST_{secrets.token_hex(8)}"

    def everyone(self) -> list[processes.Process]:
        """All of them, zombies included, and whatever else descends from this process."""
        among = processes.everyone()
        marked = processes.tagged(self.name, among.values())
        found = {**marked, **processes.descendants(os.getpid(), among)}
        return [each for pid, each in found.items() if pid != os.getpid() and pid not in tolerated.pids()]

    def left(self) -> list[processes.Process]:
        """Those that live, and zombies that are ours to reap."""
        return [each for each in self.everyone() if each.state not in "ZX" or each.ppid == os.getpid()]

    def left_after(self, bound_s: float) -> list[processes.Process]:
        """Those that are still there when so much time has passed."""
        deadline = time.monotonic() + bound_s
        while (left := self.left()) and (remaining := deadline - time.monotonic()) > 0:
            handle = processes.Handle.open(*left[0].identity)
            if handle is not None and handle.process.state not in "ZX":
                handle.wait_gone(remaining)
            else:
                select.select([], [], [], 0.002)
            if handle is not None:
                handle.close()
        return left


# --- whom one meets ---------------------------------------------------------------------------------------------


class Guest:
    """A `deeds.meet` under way: it has begun, and ends when it is released."""

    def __init__(self, line: socket.socket) -> None:
        line.settimeout(LONG_S)
        self._line = line
        pid, self.word = line.makefile("r").readline().rstrip("\n").split(" ", 1)
        self.pid = int(pid)

    def release(self, answer: str = "go") -> None:
        with contextlib.suppress(OSError):  # it is gone, or was released before
            self._line.sendall(answer.encode())
        self._line.close()

    def is_there(self) -> bool:
        return not select.select([self._line], [], [], 0)[0]


class Meeting:
    """Where workers come that run `deeds.meet`, and stay until they are released."""

    def __init__(self) -> None:
        self.address = f"sessionpool-meeting-{secrets.token_hex(8)}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"\0{self.address}")
        self._listener.listen(256)
        self._guests: list[Guest] = []

    def guest(self, within_s: float = LONG_S) -> Guest:
        """The next one to come."""
        self._listener.settimeout(within_s)
        try:
            line = self._listener.accept()[0]
        except TimeoutError:
            raise AssertionError(f"nobody came within {within_s} s") from None
        self._guests.append(Guest(line))
        return self._guests[-1]

    def guests(self, count: int) -> list[Guest]:
        """So many, by their words: all of them are there at once."""
        return sorted((self.guest() for _ in range(count)), key=lambda guest: guest.word)

    def is_empty_for(self, seconds: float) -> bool:
        """Whether nobody comes for so long."""
        return not select.select([self._listener], [], [], seconds)[0]

    def release_all_who_come(self, after_s: float = 0.0) -> None:
        """From now on, nobody has to wait, or only for so long; one after the other."""

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    guest = Guest(self._listener.accept()[0])
                    threading.Event().wait(after_s)
                    guest.release()

        self._listener.settimeout(None)
        threading.Thread(target=serve, daemon=True).start()

    def close(self) -> None:
        for guest in self._guests:
            guest.release()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Ear:
    """Hears what `deeds.tell` says, from whichever process, dying ones included."""

    def __init__(self) -> None:
        self.address = f"sessionpool-ear-{secrets.token_hex(8)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{self.address}")

    def hear(self, within_s: float = LONG_S) -> str:
        self._socket.settimeout(within_s)
        try:
            return self._socket.recv(1 << 10).decode()
        except TimeoutError:
            raise AssertionError(f"nothing was heard within {within_s} s") from None

    def is_silent_for(self, seconds: float) -> bool:
        return not select.select([self._socket], [], [], seconds)[0]

    def close(self) -> None:
        self._socket.close()


class Diary:
    """What `deeds.note` wrote down: side effects, in their order, each as often as it happened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.path = str(path)

    def lines(self) -> list[str]:
        return self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []

    def at_most_once(self) -> bool:
        lines = self.lines()
        return len(lines) == len(set(lines))


# --- what stands between ----------------------------------------------------------------------------------------


class Interposer:
    """A factory of socket pairs with somebody in the middle, who can hold a stream up, or change a byte of it.

    Everything passes at once until `hold_up` or `damage` has said otherwise for one direction. Both count the bytes of
    one direction together, over all of its pairs, from when they are called.
    """

    def __init__(self) -> None:
        self.held = threading.Event()
        self._go_on = threading.Event()
        self._lock = threading.Lock()
        self._hold_after: dict[str, int] = {}
        self._damage_at: dict[str, int] = {}
        self._threads: list[threading.Thread] = []
        self.pairs = itertools.count()

    def __call__(self) -> tuple[socket.socket, socket.socket]:
        next(self.pairs)
        pool, near = socket.socketpair()
        far, worker = socket.socketpair()
        # Two threads share the two inner ends; each shuts down what it alone writes to, and the last closes both.
        ends = _Shared(near, far)
        for direction, source, sink in (("to-worker", near, far), ("to-pool", far, near)):
            thread = threading.Thread(target=self._pump, args=(direction, source, sink, ends), daemon=True)
            thread.start()
            self._threads.append(thread)
        return pool, worker

    def hold_up(self, direction: str, after_bytes: int) -> None:
        """Let so many more bytes pass that way, then none until `go_on`."""
        with self._lock:
            self._hold_after[direction] = after_bytes

    def let_others_pass(self) -> None:
        """What is held up stays so; every other stream is free again."""
        with self._lock:
            self._hold_after.clear()

    def go_on(self) -> None:
        with self._lock:
            self._hold_after.clear()
        self._go_on.set()

    def damage(self, direction: str, after_bytes: int) -> None:
        """Turn over the bits of one byte that passes that way, after so many others."""
        with self._lock:
            self._damage_at[direction] = after_bytes

    def close(self) -> None:
        """To be called after the pools are shut down, which ends every stream."""
        self.go_on()
        for thread in self._threads:
            thread.join(LONG_S)

    def _pump(self, direction: str, source: socket.socket, sink: socket.socket, ends: "_Shared") -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                for piece in self._pieces(direction, data):
                    sink.sendall(piece)
        # One end is gone, and the other is told.
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        ends.release()

    def _pieces(self, direction: str, data: bytes) -> Iterator[bytes]:
        with self._lock:
            at = self._damage_at.pop(direction, None)
            if at is not None and at < len(data):
                data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
            elif at is not None:
                self._damage_at[direction] = at - len(data)
            left = self._hold_after.get(direction)
            if left is None:
                first, rest = data, b""
            else:
                first, rest = data[:left], data[left:]
                self._hold_after[direction] = left - len(first)
        yield first
        if rest:
            self.held.set()
            self._go_on.wait()
            yield rest


class _Shared:
    """Two sockets that are closed once both of their users are done."""

    def __init__(self, *sockets: socket.socket) -> None:
        self._sockets = sockets
        self._users = 2
        self._lock = threading.Lock()

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            for each in self._sockets:
                each.close()


def submitted_at_once(count: int, submit: Callable[[int], Iterable[_T]]) -> list[_T]:
    """Call `submit(0)`, `submit(1)`, … in so many threads that begin together; what they gave, one after the other."""
    barrier = threading.Barrier(count)
    given: list[list[_T]] = [[] for _ in range(count)]

    def run(number: int) -> None:
        barrier.wait(LONG_S)
        given[number].extend(submit(number))

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
        assert not thread.is_alive(), "submitting hung"
    return [each for every in given for each in every]
