"""A worker's side: takes frames, runs what they ask for, and answers each before it looks at the next.

It runs in a process forked by the forkserver, which has imported this already. User code may do here what it likes:
exit, raise anything, fork, close every descriptor; what must not happen is that an answer is given twice, or that an
operation is begun without a trace.
"""

import atexit
import contextlib
import fcntl
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn

from sessionpool import payload, progress
from sessionpool.errors import FrameTooLarge, MalformedFrame, NotPicklable, NotUnpicklable, SessionPoolError
from sessionpool.wire import MARGIN, RECEIVE, TO_WORKER, Buffer, Decoder, Frame, Kind, encode, encode_parts

_CALL: Final = int(Kind.CALL)
_OPEN: Final = int(Kind.OPEN)
_FORGET: Final = int(Kind.FORGET)
_STOP: Final = int(Kind.STOP)
_RESULT: Final = int(Kind.RESULT)
_ERROR: Final = int(Kind.ERROR)

_ABOVE: Final = 256
"""From where on the wire's descriptor is numbered: what user code opens, even after it closed everything, is below."""


def serve(sock: socket.socket, words: memoryview, incarnation: int, limit: int) -> NoReturn:
    """Be a worker until the pool says stop, or is gone; never returns.

    Args:
        sock: the worker's end of its wire.
        words: its progress.
        incarnation: its number.
        limit: the largest result, in bytes.
    """
    signal.signal(signal.SIGINT, _ignore)  # a Ctrl-C is the parent's; a handler, unlike SIG_IGN, ends with an exec
    worker = _Worker(_lift(sock), words, incarnation, limit)
    os.register_at_fork(after_in_child=worker.disown)
    status = 1
    with contextlib.suppress(OSError):  # the wire is gone, by the pool's end or by the user's hand: so is the worker
        status = worker.run()
    if worker.is_disowned:
        os._exit(0)
    _leave(status)


def _ignore(*_: object) -> None:
    pass


def _lift(sock: socket.socket) -> socket.socket:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    with contextlib.suppress(OSError):
        fd = fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, min(_ABOVE, max(0, most - 8)))
        sock.close()
        return socket.socket(fileno=fd)
    return sock


def _leave(status: int) -> NoReturn:
    """The end of a worker as that of any program: its threads are awaited, its exit functions run."""
    try:
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


class _Worker:
    def __init__(self, sock: socket.socket, words: memoryview, incarnation: int, limit: int) -> None:
        self._sock = sock
        self._words = words
        self._incarnation = incarnation
        self._limit = limit
        self._decoder = Decoder(incarnation, TO_WORKER, limit + MARGIN)
        self._states: dict[int, dict[str, Any]] = {}
        self.is_disowned = False
        """Whether this is a fork that user code has made of the worker: it must not answer in its name."""

    def disown(self) -> None:
        """In a fork of the worker: let go of its wire, or nobody would see the worker's end."""
        self.is_disowned = True
        with contextlib.suppress(OSError):
            self._sock.close()

    def run(self) -> int:
        """Take frame after frame; returns the exit status."""
        try:
            while (frames := self._receive()) is not None:
                for frame in frames:
                    kind = frame.kind
                    if kind in (_CALL, _OPEN):
                        self._carry_out(frame)
                    elif kind == _FORGET:
                        self._forget(frame)
                    elif kind == _STOP:
                        return 0
                    elif not self._initialise(frame.body):
                        return 1
                    if self.is_disowned:
                        return 0
        except MalformedFrame as error:
            self._send(Kind.FAILED, 0, 0, 0, (f"it was sent a {error}".encode(),))
            return 1
        return 0

    def _receive(self) -> Iterable[Frame] | None:
        """The frames that are whole with what comes next; None at the end of the stream."""
        decoder = self._decoder
        room = decoder.room()
        if room is None:
            data = self._sock.recv(RECEIVE)
            return decoder.feed(data) if data else None
        with room:
            size = self._sock.recv_into(room)
        return decoder.received(size) if size else None

    def _initialise(self, body: Buffer) -> bool:
        try:
            if len(body):
                function, args = payload.load(body, "the initializer")
                function(*args)
        except BaseException:  # whatever it was, the worker cannot be used
            self._send(Kind.FAILED, 0, 0, 0, (f"its initializer failed\n{traceback.format_exc()}".encode(),))
            return False
        self._send(Kind.READY, 0, 0, 0, ())
        return True

    def _forget(self, frame: Frame) -> None:
        if frame.sequence:
            self._words[progress.BEGUN] = frame.sequence
        state = self._states.pop(frame.epoch, None)
        if state is not None:
            state.clear()
        if frame.sequence:
            self._send(Kind.FORGOTTEN, frame.sequence, frame.epoch, 0, ())
            self._words[progress.ANSWERED] = frame.sequence

    def _carry_out(self, frame: Frame) -> None:
        sequence, epoch = frame.sequence, frame.epoch
        words = self._words
        if sequence <= words[progress.BEGUN]:  # whatever stands between may have sent a frame twice, and it is whole
            raise MalformedFrame(f"frame of operation {sequence}, which it has begun already")
        # Before anything of the operation is touched: unpickling it runs user code already.
        words[progress.BEGUN] = sequence
        recalled = words[progress.RECALLED]  # after the line above, never before it
        if recalled and progress.is_in(sequence, recalled):
            self._answer(Kind.RETURNED, sequence, epoch, 0, ())
            return
        if epoch:
            if frame.kind == _OPEN:
                self._states[epoch] = {}
            elif epoch not in self._states:
                self._answer(Kind.REFUSED, sequence, epoch, 0, ())
                return
        begun_ns = time.monotonic_ns()
        try:
            function, args, kwargs = payload.load_call(frame.body)
        except NotUnpicklable as error:
            if not self.is_disowned:
                self._answer(Kind.UNREADABLE, sequence, epoch, 0, _own_error(error))
            return
        kind, value = _RESULT, None
        try:
            value = function(self._states[epoch], *args, **kwargs) if epoch else function(*args, **kwargs)
        except BaseException as error:  # SystemExit and its like are the operation's own, and the worker goes on
            kind, value = _ERROR, error
        took_ns = time.monotonic_ns() - begun_ns
        if self.is_disowned:
            return
        try:
            parts = payload.dump(value, "the result") if kind == _RESULT else payload.dump_error(value)
        except NotPicklable as error:
            kind, parts = int(Kind.UNSENDABLE), _own_error(error)
        except BaseException as error:  # KeyboardInterrupt or SystemExit out of a class's own `__reduce__`
            failed = NotPicklable(f"what the operation ended with does not pickle: {type(error).__name__}: {error}")
            kind, parts = int(Kind.UNSENDABLE), _own_error(failed)
        size = len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
        if size > self._limit:
            kind, parts = int(Kind.UNSENDABLE), _own_error(FrameTooLarge("result", size, self._limit))
        if len(parts) == 1 and size < RECEIVE:
            self._sock.sendall(encode(kind, self._incarnation, sequence, epoch, took_ns, parts[0]))
            words[progress.ANSWERED] = sequence
        else:
            self._answer(kind, sequence, epoch, took_ns, parts)

    def _answer(self, kind: int, sequence: int, epoch: int, note: int, parts: Sequence[Buffer]) -> None:
        self._send(kind, sequence, epoch, note, parts)
        self._words[progress.ANSWERED] = sequence

    def _send(self, kind: int, sequence: int, epoch: int, note: int, parts: Sequence[Buffer]) -> None:
        for piece in encode_parts(kind, self._incarnation, sequence, epoch, note, parts):
            self._sock.sendall(piece)


def _own_error(error: SessionPoolError) -> tuple[Buffer, ...]:
    """An error of the pool's own as a body; its cause crosses as text, for it may be what does not pickle."""
    error.__cause__ = None
    return payload.dump_error(error)
