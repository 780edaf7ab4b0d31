"""The pool's decisions carried out on real processes: one lock, one thread in the background, and whoever waits.

**The lock** guards the core and every `Port`. User code never runs under it: what a core's method says is to be done to
futures and subscribers is done after it is let go.

**Who reads a worker's answers.** One thread at a time: `Port.read_by` is set under the lock by who takes that part, and
cleared by the same thread. It is a token of this one read, and not the thread's name: what is still to be cleared up
after a thread that an exception tore away is then never taken for what the same thread has begun since. A client that
waits for an operation takes it for the worker that holds it and blocks in the kernel on that very socket, so an answer
wakes the one thread that wants it (whose operation stands behind others looks up now and then: it may be recalled, and
go elsewhere). Otherwise it is the background thread's, by `epoll`, one shot at a time: a port is armed whenever nobody
reads it, and disarmed when a client begins to.

A worker may answer before its client has begun to wait. So that this answer does not wake the background thread in
vain, a client that waited for its last operation is expected to wait for this one: its port stays unarmed, and the
background thread looks every `_TRUST_S` whether somebody came; who did not is not expected again.

**What wakes a client that reads.** Its answer; or the end of the stream, which comes with the worker's death. Where
somebody else still holds the worker's end (a child that user code forked), the background thread, which sees the death
by the pidfd, shuts the socket down. Nothing resolves an operation that a worker holds but that worker's answer or its
death, so no other wake-up is needed; a client whose port is read by another thread waits on its future as usual.

**What wakes the background thread.** Answers, deaths, the forkserver, and `_bell`: rung by who brings its next moment
(`Core.due`) forward, leaves a port of a dead worker, or leaves futures with callbacks to it.
"""

import collections
import contextlib
import fcntl
import gc
import logging
import mmap
import os
import random
import select
import socket
import struct
import termios
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from itertools import chain
from typing import Final

from sessionpool import kernel, payload, progress
from sessionpool.core import (
    RECALL_S,
    WAITING,
    Core,
    Drop,
    Effect,
    Forget,
    Kill,
    PoolBroken,
    Publish,
    Recall,
    Resolve,
    Send,
    Start,
    Stop,
    Task,
)
from sessionpool.errors import MalformedFrame, NotUnpicklable, PoolClosed, SessionPoolError
from sessionpool.events import Event, Snapshot, WorkerInfo
from sessionpool.future import PoolFuture
from sessionpool.nursery import Ended, Forked, Gone, Imported, ImportFailed, NotForked, Nursery, Threads
from sessionpool.settings import Settings
from sessionpool.wire import MARGIN, RECEIVE, TO_POOL, Buffer, Decoder, Frame, Kind, encode, encode_parts

Transport = Callable[[], tuple[socket.socket, socket.socket]]

_log: Final = logging.getLogger("sessionpool")
_clock = time.monotonic

_CALL: Final = int(Kind.CALL)
_OPEN: Final = int(Kind.OPEN)
_FORGET: Final = int(Kind.FORGET)
_RESULT: Final = int(Kind.RESULT)
_FORGOTTEN: Final = int(Kind.FORGOTTEN)
_READY: Final = int(Kind.READY)
_FAILED: Final = int(Kind.FAILED)
_ONCE: Final = (RECEIVE,)
_FLUSHED: Final = 1 << 20
"""How much of a large argument is written at once."""

_MAY_BE_LATE_S: Final = 0.5
"""How long the forkserver's word of how a worker ended may take, after its end was seen."""

_UNTIL_DEAD_S: Final = 0.1
"""How long a worker whose wire is closed may take to end by itself."""

_SAMPLES: Final = 4
"""How often a worker is looked at within `stall_s`."""

_TRUST_S: Final = 0.005
"""How long a client that is expected to wait for an operation is trusted to come."""

_ALERT_S: Final = 0.02
"""How long the background thread keeps looking, after the last such operation."""

_LONGEST_S: Final = 3600.0


class Port:
    """The pool's end of one worker.

    `Runtime`'s lock guards all of it but `decoder`, `inbox` and `is_in_hand`, which are its reader's, whoever that is.
    """

    __slots__ = (
        "armed",
        "awaited_by",
        "awaited_since",
        "bury_at",
        "decoder",
        "exit",
        "fd",
        "inbox",
        "is_dead",
        "is_ended",
        "is_in_hand",
        "is_killed",
        "is_ready",
        "killed_at",
        "number",
        "out",
        "pid",
        "pidfd",
        "read_by",
        "recalled",
        "recalled_at",
        "sock",
        "stat_fd",
        "words",
        "written",
        "written_seen",
    )

    def __init__(self, number: int, sock: socket.socket, words: memoryview, limit: int) -> None:
        self.number = number
        self.sock = sock
        self.fd = sock.fileno()
        self.words = words
        self.written = self.written_seen = 0
        self.decoder = Decoder(number, TO_POOL, limit + MARGIN)
        self.inbox: list[bytes | int] = []
        """What came and is not digested: bytes, or how many were received into the decoder's room."""
        self.is_in_hand = False
        self.out: collections.deque[memoryview] = collections.deque()
        self.armed = 0
        self.pid: int | None = None
        self.pidfd: int | None = None
        self.stat_fd: int | None = None
        self.awaited_by: int | None = None
        """The client that is expected to come and read; it is left unarmed for."""
        self.awaited_since = 0.0
        self.read_by: object | None = None
        """The token of who reads it."""
        self.is_ended = False
        """Whether nothing more comes over the wire."""
        self.is_dead = False
        """Whether the process has surely ended."""
        self.is_killed = False
        self.killed_at = 0.0
        self.is_ready = False
        self.exit: str | None = None
        self.recalled = 0
        """The last sequence number that was ever recalled."""
        self.recalled_at: float | None = None
        self.bury_at: float | None = None
        """Until when the word of its end is waited for; or, where it lives, until when its death is."""


class Runtime:
    """A `Core` with its workers.

    Args:
        settings: what the core goes by.
        preload: what the forkserver imports.
        initializer: a function and its arguments, as a body; empty for none.
        transport: makes the two ends of a worker's wire, the pool's first.

    Raises:
        PreloadError: the forkserver could not import what it should.
    """

    def __init__(
        self, settings: Settings, preload: Sequence[str], initializer: Sequence[Buffer], transport: Transport
    ) -> None:
        self._settings = settings
        self._preload = preload
        self._initializer = initializer
        self._transport = transport
        self._interrupted: collections.deque[tuple[Port | None, object]] = collections.deque()
        """Reads that an exception tore a client out of, by port and token; no port where it was not reading."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._core = Core(settings, random.Random())
        self._ports: dict[int, Port] = {}
        self._by_fd: dict[int, Port] = {}
        self._by_pidfd: dict[int, Port] = {}
        self._wanted: list[int] = []
        """Workers to be forked as soon as there is a forkserver."""
        self._watchers = 0
        self._changes = 0
        self._subscribers: list[Callable[[Event], object]] = []
        self._outbox: collections.deque[Event] = collections.deque()
        self._delivering = threading.Lock()
        self._left: collections.deque[PoolFuture] = collections.deque()
        """Answers to futures with callbacks, found by a client that waits for another one."""
        self._sleeps_until = 0.0
        self._alert_until = 0.0
        self._waiting_clients: set[int] = set()
        """The threads that waited for their last operation."""
        self._awaited: set[Port] = set()
        self._sample_s = min(settings.timing.stall_s / _SAMPLES, 0.5)
        self._sampled_at = 0.0
        self._nursery_stopped_at: float | None = None
        self._close_wanted = False
        self._torn: BaseException | None = None
        self.is_foreign = False
        """Whether this is a copy in a fork of the pool's process."""
        self._nursery: Nursery | None = Nursery(preload)
        self._warn_of(self._nursery.await_imports(settings.timing.start_s))
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # A ring at a number that is somebody else's by then would be a write there. Reentrant, for `shutdown_soon` may
        # come from a garbage collection in the midst of a ring.
        self._ringing = threading.RLock()
        self._epoll.register(self._bell, select.EPOLLIN)
        self._epoll.register(self._nursery.socket, select.EPOLLIN)
        self._over = threading.Event()
        with self._lock:
            self._perform(self._core.open(_clock()))
        self._thread = threading.Thread(target=self._run, name="sessionpool", daemon=True)
        self._thread.start()
        _runtimes.add(self)

    # --- for clients --------------------------------------------------------------------------------------------

    def submit(self, future: PoolFuture, task: Task) -> None:
        """Take an operation in.

        Raises:
            PoolClosed, PoolBroken, PoolSaturated: it was not taken.
        """
        if self.is_foreign:
            self._refuse_foreign()
        future.task = task
        with self._lock:
            if task.has_session:  # a key's own comparison may raise: now, when nothing has been changed
                self._core.look_up(task.key)
            try:
                effects = self._core.submit(_clock(), task)
                later = self._perform(effects) if effects or self._watchers else None
            except SessionPoolError:
                raise
            except BaseException as error:
                self._tear(error)
                raise
            if self._core.due < self._sleeps_until:
                self._ring()
        if later or self._outbox:
            self._resolve(later or ())

    def refuse_if_closed(self) -> None:
        """For what fails before it is taken in: a pool that takes nothing says that first.

        Raises:
            PoolClosed, PoolBroken: the pool takes no operations.
        """
        self._refuse_foreign()
        with self._lock:
            self._core.refuse_if_closed()

    def withdraw(self, future: PoolFuture) -> bool:
        """Take an operation back that no worker was sent; whether it was still here to be taken."""
        task = future.task
        if self.is_foreign or task is None:
            return False
        with self._deciding():
            if future.is_taken or task.state != WAITING:
                return False
            later = self._perform(self._core.withdraw(_clock(), task))
            self._ring()  # it may have been the last thing that a pool in closing waited for
        self._resolve(later)
        return True

    def read_for(self, future: PoolFuture, timeout: float | None) -> float | None:
        """Read the answers of the worker that holds an operation until it is resolved; returns the time that is left.

        Returns early where another thread reads them, or where the worker is gone.
        """
        until = None if timeout is None else _clock() + timeout
        port = None
        client, token = threading.get_ident(), object()
        try:
            with self._lock:
                port = future.port
                if port is None or port.read_by is not None or port.is_ended or port.is_dead or self.is_foreign:
                    return timeout
                port.read_by = token
                port.awaited_by = None
                if client not in self._waiting_clients:
                    self._waiting_clients.add(client)
                if port.armed:
                    self._arm(port)
                task = future.task
                is_first = task is not None and task.sequence <= port.words[progress.ANSWERED] + 1
            while port.read_by is token and future.port is port:
                if (until is not None or not is_first) and not port.inbox:
                    left = _LONGEST_S if until is None else until - _clock()
                    if left <= 0:
                        break
                    # What stands behind another operation may be recalled: then nothing of it comes from here.
                    if not _readable(port.sock, left if is_first else min(left, RECALL_S)):
                        continue
                if not self._receive(port, future):
                    break
            if port.read_by is token:
                with self._lock:
                    self._leave(port)
        except BaseException:
            # Where it struck is anybody's guess: the background thread reads on, and hands out what was decided.
            self._interrupted.append((port, token))
            self._ring()
            raise
        return None if until is None else max(0.0, until - _clock())

    def _leave(self, port: Port) -> None:
        """A client reads no more; the lock is held."""
        port.read_by = None
        if port.out or self._core.is_at_work(port.number):
            self._arm(port)
        if port.is_ended or port.is_dead:
            self._ring()

    def shutdown(self, *, wait: bool, cancel: bool, immediate: bool) -> None:
        """No more operations; returns when all is over, or at once."""
        if self.is_foreign:
            return
        with self._deciding():
            later = self._perform(self._core.shutdown(_clock(), cancel=cancel, immediate=immediate))
            self._ring()
        self._resolve(later)
        if wait and threading.current_thread() is not self._thread:
            self._over.wait()
            self._thread.join()

    def shutdown_soon(self) -> None:
        """As `shutdown` without waiting, from wherever a garbage collection may run: no lock is taken here."""
        self._close_wanted = True
        if not self.is_foreign and not self._over.is_set():
            self._ring()

    def look(self) -> Snapshot:
        """How many there are of what."""
        self._refuse_foreign()
        with self._lock:
            return self._core.snapshot()

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Every worker that is not gone."""
        self._refuse_foreign()
        with self._lock:
            return self._core.workers()

    def wait_for(self, predicate: Callable[[Snapshot], bool], timeout: float | None) -> Snapshot:
        """Wait until a snapshot pleases; it is looked at after every transition.

        Raises:
            TimeoutError: none did in time.
        """
        self._refuse_foreign()
        until = None if timeout is None else _clock() + timeout
        with self._lock:
            self._watchers += 1
        try:
            while True:
                with self._lock:
                    seen = self._changes
                    snapshot = self._core.snapshot()
                if predicate(snapshot):
                    return snapshot
                if self._over.is_set():
                    raise PoolClosed(f"the pool is over, and will not be as awaited: {snapshot}")
                left = None if until is None else until - _clock()
                with self._lock:  # a change since the look is in the count, so it is not slept through
                    if self._changes == seen and not self._changed.wait(left):
                        raise TimeoutError(f"within {timeout:g} s the pool was not as awaited, but {snapshot}")
        finally:
            with self._lock:
                self._watchers -= 1

    def subscribe(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Have every event from now on told, in order; returns what ends it."""
        self._refuse_foreign()
        with self._lock:
            self._subscribers = [*self._subscribers, callback]
            self._core.is_observed = True

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = [it for it in self._subscribers if it is not callback]
                self._core.is_observed = bool(self._subscribers)

        return unsubscribe

    def _refuse_foreign(self) -> None:
        if self.is_foreign:
            raise PoolClosed("the pool belongs to the process that this one was forked from; make one here")

    # --- effects; the lock is held ------------------------------------------------------------------------------

    def _perform(self, effects: Iterable[Effect]) -> list[Resolve | Drop]:
        """Do what is to be done, but for what runs user code: that is returned, to be done without the lock."""
        later: list[Resolve | Drop] = []
        for effect in effects:
            if isinstance(effect, Send):
                self._send(effect)
            elif isinstance(effect, (Resolve, Drop)):
                future = effect.task.payload
                future.port = None
                future.effect = effect
                later.append(effect)
            elif isinstance(effect, Publish):
                self._outbox.append(effect.event)
            elif isinstance(effect, Start):
                later += self._perform(self._start(effect.worker))
            elif isinstance(effect, Forget):
                self._write(self._ports.get(effect.worker), Kind.FORGET, epoch=effect.epoch)
            elif isinstance(effect, Stop):
                self._write(self._ports.get(effect.worker), Kind.STOP)
            elif isinstance(effect, Recall):
                later += self._perform(self._recall(effect))
            elif isinstance(effect, Kill):
                later += self._perform(self._kill(effect.worker))
        if self._watchers:
            self._changes += 1
            self._changed.notify_all()
        return later

    def _send(self, effect: Send) -> None:
        port = self._ports[effect.worker]
        number = port.number
        frames: list[Buffer] = []
        for task in effect.tasks:
            future: PoolFuture = task.payload
            if not future.is_taken:
                future.start()
            future.port = port
            kind = _FORGET if task.closes else _OPEN if task.opens else _CALL
            parts = future.parts
            if len(parts) == 1 and len(parts[0]) < RECEIVE:
                frames.append(encode(kind, number, task.sequence, task.epoch, 0, parts[0]))
            else:
                frames += encode_parts(kind, number, task.sequence, task.epoch, 0, parts)
        if not port.armed and port.read_by is None and port.awaited_by is None:
            self._expect(port)
        self._put(port, frames)

    def _expect(self, port: Port) -> None:
        """Leave a port to the client that is here, where it is one that waits; else have it watched."""
        client = threading.get_ident()
        if client not in self._waiting_clients:
            self._arm(port)
            return
        now = _clock()
        port.awaited_by = client
        port.awaited_since = now
        self._awaited.add(port)
        self._alert_until = now + _ALERT_S
        if self._sleeps_until > now + 2 * _TRUST_S:
            self._ring()

    def _look_for_clients(self, now: float) -> None:
        """Watch what is left to clients that did not come."""
        for port in list(self._awaited):
            if port.awaited_by is None or port.is_ended:
                self._awaited.discard(port)
            elif now - port.awaited_since >= _TRUST_S:
                self._awaited.discard(port)
                self._waiting_clients.discard(port.awaited_by)
                port.awaited_by = None
                self._arm(port)

    def _write(self, port: Port | None, kind: Kind, *, epoch: int = 0) -> None:
        if port is not None:
            self._put(port, [encode(kind, port.number, 0, epoch)])

    def _put(self, port: Port, frames: list[Buffer]) -> None:
        """Write what the kernel takes at once; the rest is written by the background thread, in its order."""
        if port.is_ended or port.is_dead:
            return
        if not port.out:
            if len(frames) > 1 and sum(map(len, frames)) <= RECEIVE:
                frames = [b"".join(frames)]
            while frames:
                try:
                    sent = port.sock.send(frames[0], socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
                except OSError:
                    return  # its end is seen elsewhere
                port.written += sent
                if sent < len(frames[0]):
                    frames[0] = memoryview(frames[0])[sent:]
                else:
                    del frames[0]
        if frames:
            port.out.extend(memoryview(frame).cast("B") for frame in frames if len(frame))
            self._arm(port)

    def _flush(self, port: Port) -> None:
        budget = _FLUSHED  # the lock is held, and others want it
        try:
            while port.out and budget > 0:
                sent = port.sock.send(port.out[0], socket.MSG_DONTWAIT)
                budget -= sent
                port.written += sent
                if sent < len(port.out[0]):
                    port.out[0] = port.out[0][sent:]
                else:
                    port.out.popleft()
        except BlockingIOError:
            pass
        except OSError:
            port.out.clear()

    def _arm(self, port: Port) -> None:
        """Have the background thread woken by what it is to do for a port: by nothing where a client reads it."""
        wanted = 0
        if not port.is_ended:
            wanted = (0 if port.read_by or port.awaited_by else select.EPOLLIN) | (select.EPOLLOUT if port.out else 0)
        if wanted != port.armed:
            self._epoll.modify(port.fd, wanted | select.EPOLLONESHOT)
            port.armed = wanted

    def _start(self, number: int) -> list[Effect]:
        """Ask the forkserver for a worker; where there is none yet, it waits for it."""
        try:
            nursery = self._nursery or self._raise_nursery()
            if not nursery.is_ready:
                self._wanted.append(number)
                return []
            mine, theirs = self._transport()
        except Exception as error:  # a transport may be the user's own
            return self._core.start_failed(_clock(), number, f"no worker could be started: {error}")
        words_fd = -1
        try:
            words_fd = progress.make()
            port = Port(number, mine, progress.open_words(words_fd), self._settings.max_frame_bytes)
            nursery.fork(number, self._settings.max_frame_bytes, theirs.fileno(), words_fd)
            self._epoll.register(port.fd, select.EPOLLONESHOT)
        except OSError as error:
            mine.close()
            return self._core.start_failed(_clock(), number, f"no worker could be started: {error}")
        finally:
            theirs.close()
            if words_fd >= 0:
                os.close(words_fd)
        self._ports[number] = self._by_fd[port.fd] = port
        self._arm(port)
        self._put(port, encode_parts(Kind.INIT, number, 0, 0, 0, self._initializer))
        return []

    def _raise_nursery(self) -> Nursery:
        nursery = self._nursery = Nursery(self._preload)
        self._nursery_stopped_at = None
        self._epoll.register(nursery.socket, select.EPOLLIN)
        return nursery

    def _recall(self, effect: Recall) -> list[Effect]:
        now = _clock()
        port = self._ports.get(effect.worker)
        if port is None or not port.recalled <= port.words[progress.BEGUN] < effect.first:
            # It is us who are late: it has long begun what is to be recalled, and its answers lie in its socket. Or it
            # has not yet passed what was recalled before, which is all that the one word can say.
            return self._core.recalled(now, effect.worker, effect.last)
        port.recalled = effect.last
        port.words[progress.RECALLED] = progress.span(effect.first, effect.last)
        port.recalled_at = now
        return []

    def _kill(self, number: int) -> list[Effect]:
        port = self._ports.get(number)
        if port is not None:
            port.is_killed = True
            port.killed_at = _clock()
            if port.pidfd is not None:
                kernel.kill(port.pidfd)
            # Where it has no process yet, it is killed when it gets one.
        elif number in self._wanted:
            self._wanted.remove(number)
            if self._nursery is not None:  # it has imported for longer than a worker may take: so would the next ones
                self._nursery.kill()
            return self._core.exited(_clock(), number, started=0, exit="it was never forked")
        return []

    # --- answers ------------------------------------------------------------------------------------------------

    def _receive(self, port: Port, mine: PoolFuture | None) -> bool:
        """Take what a worker has sent, which its reader alone does; blocks for a client, and not for the thread.

        Returns:
            Whether there can be more.
        """
        flags = 0 if mine is not None else socket.MSG_DONTWAIT
        inbox, decoder, token = port.inbox, port.decoder, port.read_by
        if not inbox:
            try:
                # One call from the socket into the list: were it two, a signal's handler could raise between them (as
                # Ctrl-C does), and what the kernel has handed over would be lost. So it is found here the next time.
                room = decoder.room()
                if room is None:
                    inbox.extend(map(port.sock.recv, _ONCE, (flags,)))
                else:
                    with room:
                        inbox.extend(map(port.sock.recv_into, (room,), (0,), (flags,)))
            except BlockingIOError:
                return False
            except OSError:
                inbox.append(b"")  # a wire that fails has come to its end
        came = inbox[0]
        if not came:
            with self._lock:
                port.is_ended = True
            return False
        frames: list[Frame] = []
        torn = ""
        try:
            port.is_in_hand = True
            try:
                frames.extend(decoder.feed(came) if isinstance(came, bytes) else decoder.received(came))
            except MalformedFrame as error:
                torn = f"it sent a {error}"
            except OSError as error:  # no memory for a large one
                torn = f"what it sent could not be received: {error}"
            if frames:
                self._digest(port, frames, mine)
            else:
                self._put_down(port)
        except BaseException:
            # Only while it is ours to read: what is in hand after that is in another reader's.
            if port.is_in_hand and port.read_by is token:
                port.is_in_hand = False
                self._distrust(port, "its reader was interrupted while it took an answer")
            raise
        if torn:
            self._distrust(port, torn)
        return not torn

    @staticmethod
    def _put_down(port: Port) -> None:
        """What was received is taken; its reader does so before it is none, or the next one would take it again."""
        port.inbox.clear()
        port.is_in_hand = False

    def _digest(self, port: Port, frames: list[Frame], mine: PoolFuture | None) -> None:
        number = port.number
        with self._lock:
            try:
                now = _clock()
                if frames[0].sequence == 0 or frames[-1].sequence == 0:
                    later = []
                    for frame in frames:
                        later += self._perform(self._told(now, number, frame))
                else:
                    later = self._perform(self._core.replied(now, number, frames))
            except BaseException as error:
                self._tear(error)
                raise
            self._put_down(port)
            if mine is not None and mine.port is not port:
                self._leave(port)
            if self._core.due < self._sleeps_until:
                self._ring()
        # User code may run from here on, and use the pool: this thread reads no more, unless it waits for another.
        self._resolve(later, mine)

    def _clear_up(self) -> None:
        """After clients that an exception tore away: read on where they read, and hand out what was decided."""
        while self._interrupted:
            port, token = self._interrupted.popleft()
            if port is None or port.number not in self._ports:
                continue
            with self._lock:
                is_free = port.read_by is None or port.read_by is token
                if is_free:
                    port.read_by = object()
            if is_free:
                if port.inbox:
                    self._receive(port, None)
                with self._lock:
                    port.read_by = None
                    port.armed = -1  # whatever it was: it may have been changed by half
                    self._arm(port)
        for future in self._unresolved():
            self._settle_again(future)

    def _unresolved(self) -> list[PoolFuture]:
        """Every future of this pool that is not resolved, whatever the core knows of it: nobody shall wait for ever.

        Asked of the garbage collector, for it is wanted only when all goes wrong; to keep a list would cost each time.
        """
        found = [it for it in gc.get_objects() if type(it) is PoolFuture and it.runtime is self]
        return [it for it in found if it._state in ("PENDING", "RUNNING")]

    def _settle_left(self) -> None:
        while self._left:
            with contextlib.suppress(IndexError):  # another thread took it
                self._settle_again(self._left.popleft())

    def _settle_again(self, future: PoolFuture) -> None:
        effect = future.effect
        if effect is not None and effect.task.payload is not None:
            self._settle(effect, future)

    @contextlib.contextmanager
    def _deciding(self) -> Iterator[None]:
        """Hold the lock, and have it known where an exception tears what is decided under it."""
        with self._lock:
            try:
                yield
            except BaseException as error:
                self._tear(error)
                raise

    def _tear(self, error: BaseException) -> None:
        """An exception came in the midst of the pool's decisions (a Ctrl-C, most likely): they cannot be trusted now.

        Everybody is told so by the background thread, rather than that somebody waits for what nobody will bring.
        """
        self._torn = error
        self._ring()

    def _told(self, now: float, number: int, frame: Frame) -> list[Effect]:
        if frame.kind == _READY:
            port = self._ports[number]
            port.is_ready = True  # the forkserver's word of its process may be still on the way, and comes first
            return self._core.ready(now, number) if port.pid is not None else []
        if frame.kind == _FAILED:
            words = bytes(frame.body).decode(errors="replace")
            starting = self._core.start_failed(now, number, words)
            return starting or self._core.doom(now, number, words)
        return self._core.replied(now, number, [frame])

    def _distrust(self, port: Port, reason: str) -> None:
        with self._lock:
            port.is_ended = True
            later = self._perform(self._core.doom(_clock(), port.number, reason))
        self._resolve(later)

    # --- futures and subscribers; the lock is not held ----------------------------------------------------------

    def _resolve(self, later: Sequence[Resolve | Drop], mine: PoolFuture | None = None) -> None:
        try:
            for effect in later:
                future: PoolFuture = effect.task.payload
                # A client that waits for one of them leaves the callbacks of others to the background thread.
                if mine is not None and future is not mine and future.has_callbacks:
                    self._left.append(future)
                    self._ring()
                    if self._over.is_set():  # the thread that it was left to has ended
                        self._settle_left()
                else:
                    self._settle(effect, future)
            if self._outbox:
                self._deliver()
        except BaseException:
            self._interrupted.append((None, None))
            self._ring()
            raise

    def _settle(self, effect: Resolve | Drop, future: PoolFuture) -> None:
        """Hand an operation's end to its client, unless another thread has done so."""
        try:
            if isinstance(effect, Drop):
                self._drop(future)
            elif future.is_taken or future.set_running_or_notify_cancel():
                answer = effect.answer
                if isinstance(answer, Frame) and answer.kind == _RESULT:
                    try:
                        result = payload.load(answer.body, "the result")
                    except NotUnpicklable as error:
                        future.set_exception(error)
                    else:
                        future.set_result(result)
                elif answer is None or (isinstance(answer, Frame) and answer.kind == _FORGOTTEN):
                    future.set_result(None)
                else:
                    error_ = answer if isinstance(answer, SessionPoolError) else payload.load_error(answer.body)
                    future.set_exception(error_)
        except InvalidStateError:
            pass  # by another thread
        # Only now: were it interrupted before, the background thread would do it again.
        future.parts = ()
        future.effect = None  # with it goes all that was received with the answer
        future.task = effect.task.payload = None  # they hold each other, and a deadline may hold the task for long

    def _drop(self, future: PoolFuture) -> None:
        if future.is_taken:
            future.set_exception(PoolClosed("the pool was shut down before the operation, interrupted once, went on"))
        elif Future.cancel(future):
            future.set_running_or_notify_cancel()

    def _deliver(self) -> None:
        """Tell the subscribers, one thread at a time; who finds another at it leaves it to that one.

        It looks again after it has let go: what was put there between its last look and then had found it at work.
        """
        while self._outbox and self._delivering.acquire(blocking=False):
            try:
                while self._outbox:
                    event = self._outbox.popleft()
                    for callback in self._subscribers:
                        try:
                            callback(event)
                        except Exception:
                            _log.exception("a subscriber failed on %s", event)
            finally:
                self._delivering.release()

    # --- the background thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:  # a defect of the pool: everybody is told, nobody waits for ever
            _log.exception("the pool's background thread failed")
            self._abandon(error)
        finally:
            self._close()

    def _turn(self) -> bool:
        with self._lock:
            now = _clock()
            if self._core.is_over and not self._ports:
                return False
            until = min(self._core.due, self._sampled_at + self._sample_s if self._ports else now + _LONGEST_S)
            for it in self._ports.values():
                if it.bury_at is not None:
                    until = min(until, it.bury_at)
                if it.recalled_at is not None:
                    until = min(until, it.recalled_at + progress.SETTLE_S)
            self._sleeps_until = until
            if self._awaited or now < self._alert_until:
                self._look_for_clients(now)
                self._sleeps_until = min(until, now + _TRUST_S)
        events = self._epoll.poll(max(0.0, min(self._sleeps_until - now, _LONGEST_S)))
        if not events and _clock() < until:
            return True
        for fd, mask in events:
            port = self._by_fd.get(fd)
            if port is not None:
                self._serve(port, mask)
            elif fd in self._by_pidfd:
                self._see_death(self._by_pidfd[fd])
            elif fd == self._bell:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._bell)
            elif self._nursery is not None and fd == self._nursery.socket.fileno():
                self._hear()
        self._settle_left()
        self._tidy()
        return True

    def _serve(self, port: Port, mask: int) -> None:
        with self._lock:
            port.armed = 0
            if port.number not in self._ports:
                return
            if mask & select.EPOLLOUT:
                self._flush(port)
            reads = bool(mask & ~select.EPOLLOUT) and port.read_by is None and not port.is_ended
            if reads:
                port.read_by = object()
        if reads:
            try:
                self._receive(port, None)
            finally:
                with self._lock:
                    port.read_by = None
                    self._arm(port)
        else:
            with self._lock:
                self._arm(port)

    def _see_death(self, port: Port) -> None:
        with self._lock:
            if port.pidfd is None or not kernel.is_dead(port.pidfd):
                return  # the number was another descriptor's when the event came
            port.is_dead = True
            self._epoll.unregister(port.pidfd)
            del self._by_pidfd[port.pidfd]
            port.bury_at = _clock() + (_MAY_BE_LATE_S if self._nursery is not None else 0.0)
            self._wake_reader(port)

    def _wake_reader(self, port: Port) -> None:
        if port.read_by is not None:  # where a child of the worker holds its end, the client would wait for that child
            with contextlib.suppress(OSError):
                port.sock.shutdown(socket.SHUT_RDWR)

    def _hear(self) -> None:
        """Take what the forkserver has to tell."""
        nursery = self._nursery
        assert nursery is not None  # noqa: S101 - by its socket it was called
        while (message := nursery.receive()) is not None:
            with self._lock:
                now = _clock()
                later = self._perform(self._heard(now, message))
            self._resolve(later)
            if isinstance(message, ImportFailed | Gone):
                return

    def _heard(self, now: float, message: object) -> list[Effect]:
        match message:
            case Imported():
                wanted, self._wanted = self._wanted, []
                return list(chain.from_iterable(self._start(number) for number in wanted))
            case Threads(names):
                _log.warning("the pool's new forkserver has threads: %s", names)
            case Forked(worker, pid, pidfd):
                port = self._ports.get(worker)
                if port is None:
                    os.close(pidfd)
                    return []
                port.pid, port.pidfd = pid, pidfd
                with contextlib.suppress(OSError):  # it may be gone already
                    port.stat_fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
                self._by_pidfd[pidfd] = port
                self._epoll.register(pidfd, select.EPOLLIN)
                if port.is_killed:
                    kernel.kill(pidfd)
                effects = self._core.forked(now, worker, pid)
                return [*effects, *self._core.ready(now, worker)] if port.is_ready else effects
            case NotForked(worker, words):
                port = self._ports.get(worker)
                if port is not None:
                    self._discard(port)
                return self._core.start_failed(now, worker, words)
            case Ended(worker, exit_):
                port = self._ports.get(worker)
                if port is not None:
                    port.exit = exit_
                    if not port.is_dead:
                        port.is_dead = True
                        self._wake_reader(port)
                    port.bury_at = now
            case ImportFailed(module, words):
                return self._lose_nursery(now, f"preloading {module!r} failed:\n{words}")
            case Gone():
                return self._lose_nursery(now, "the pool's forkserver died")
        return []

    def _lose_nursery(self, now: float, words: str) -> list[Effect]:
        """The forkserver is gone, and with it all its workers, whose deaths are seen by themselves."""
        nursery, self._nursery = self._nursery, None
        if nursery is not None:
            self._epoll.unregister(nursery.socket)
            nursery.close(kill=True)
        effects: list[Effect] = []
        for port in self._ports.values():
            port.exit = port.exit or "how it ended is not known, for the pool's forkserver died too"
        unborn = [port for port in self._ports.values() if port.pidfd is None and not port.is_dead]
        for port in unborn:
            self._discard(port)
        wanted, self._wanted = self._wanted, []
        for number in (*(port.number for port in unborn), *wanted):
            effects += self._core.start_failed(now, number, words)
        return effects

    def _tidy(self) -> None:
        """Bury the dead, let time pass, and look at the workers now and then."""
        if self._torn is not None:
            raise self._torn
        if self._interrupted:
            self._clear_up()
        if self._close_wanted:
            self._close_wanted = False
            self.shutdown(wait=False, cancel=False, immediate=False)
        for port in list(self._ports.values()):
            if port.recalled_at is not None:
                self._look_at_recall(port)
            if port.is_dead and (port.exit is not None or self._has_waited(port)) and self._takes(port):
                self._bury(port)
            elif port.is_ended and not port.is_dead:
                self._await_death(port)
        with self._lock:
            now = _clock()
            later = self._perform(self._core.tick(now)) if now >= self._core.due else []
            samples = now - self._sampled_at >= self._sample_s
        self._resolve(later)
        if samples:
            self._sample()

    def _look_at_recall(self, port: Port) -> None:
        """Once the worker surely sees what was recalled, see what of it was begun nevertheless."""
        with self._lock:
            now = _clock()
            if port.recalled_at is None or now < port.recalled_at + progress.SETTLE_S:
                return
            port.recalled_at = None
            begun = port.words[progress.BEGUN]
            later = self._perform(self._core.recalled(now, port.number, begun))
        self._resolve(later)

    def _takes(self, port: Port) -> bool:
        """Become a port's reader, where it has none."""
        with self._lock:
            if port.read_by is not None:
                return False
            port.read_by = object()
            return True

    def _has_waited(self, port: Port) -> bool:
        return self._nursery is None or (port.bury_at is not None and _clock() >= port.bury_at)

    def _await_death(self, port: Port) -> None:
        """Its wire is closed, which is not yet death: user code may have closed it. Either way it is of no more use."""
        now = _clock()
        if port.bury_at is None:
            port.bury_at = now + _UNTIL_DEAD_S
        elif now >= port.bury_at:
            port.bury_at = now + _LONGEST_S
            with self._lock:
                later = self._perform(self._core.doom(now, port.number, "its wire was closed"))
            self._resolve(later)

    def _bury(self, port: Port) -> None:
        """A worker is surely gone: first the answers that it left, and only then how far it had come."""
        if port.pidfd is not None:
            kernel.kill(port.pidfd)  # or it might go on with what is given to another one now
        while not port.is_ended and self._receive(port, None):
            pass
        with self._lock:
            self._discard(port)
            begun = port.words[progress.BEGUN]
            ended = port.exit or "how it ended is not known"
            later = self._perform(self._core.exited(_clock(), port.number, started=begun, exit=ended))
        self._resolve(later)

    def _discard(self, port: Port) -> None:
        del self._ports[port.number]
        del self._by_fd[port.fd]
        self._epoll.unregister(port.fd)
        port.sock.close()
        port.out.clear()
        port.is_ended = True
        # A copy, which says what the worker left: the mapping holds a descriptor, and whoever keeps an error of this
        # pool, with the frames of its traceback, would keep that open as well. Not released: a client may be reading.
        port.words = memoryview(bytearray(port.words)).cast("Q")
        if port.pidfd is not None:
            if self._by_pidfd.pop(port.pidfd, None) is not None:
                self._epoll.unregister(port.pidfd)
            os.close(port.pidfd)
        if port.stat_fd is not None:
            os.close(port.stat_fd)

    def _sample(self) -> None:
        """Look at each worker from outside: what stands still does not say so."""
        later: list[Resolve | Drop] = []
        with self._lock:
            now = self._sampled_at = _clock()
            for port in list(self._ports.values()):
                if port.stat_fd is None or port.is_dead:
                    continue
                is_stopped, memory = _look_at(port.stat_fd)
                words = (port.words[progress.BEGUN], port.words[progress.ANSWERED])
                # A large argument on its way is progress, though the worker has not begun with it.
                is_silent = port.is_ended or not (_unread(port.fd) or port.written != port.written_seen)
                port.written_seen = port.written
                effects = self._core.observed(
                    now, port.number, is_stopped=is_stopped, memory=memory, progress=words, is_silent=is_silent
                )
                later += self._perform(effects)
            self._look_at_nursery(now)
        self._resolve(later)

    def _look_at_nursery(self, now: float) -> None:
        """A forkserver that is stopped makes no workers; another one can."""
        nursery = self._nursery
        if nursery is None:
            return
        is_stopped, _ = _look_at(nursery.stat_fd)
        stall_s = self._settings.timing.stall_s
        is_stopped |= any(
            port.is_killed and port.pidfd is None and now - port.killed_at > stall_s for port in self._ports.values()
        )  # it has not even forked what was given up since
        if not is_stopped:
            self._nursery_stopped_at = None
        elif self._nursery_stopped_at is None:
            self._nursery_stopped_at = now
        elif now - self._nursery_stopped_at >= stall_s:
            nursery.kill()

    def _abandon(self, error: BaseException) -> None:
        why = "was interrupted while it decided" if isinstance(error, KeyboardInterrupt) else "has failed by a defect"
        broken = PoolBroken(f"the pool itself {why}, and cannot be trusted any more: make a new one", (repr(error),))
        with self._lock:
            try:
                later = self._perform(self._core.give_up(_clock(), broken))
            except Exception:  # what is torn may fail again
                _log.exception("the pool's decisions are torn")
                later = []
        self._resolve(later)
        for future in self._unresolved():
            self._settle_again(future)
            if not future.done():
                future.set_exception(broken)

    def _close(self) -> None:
        nursery, self._nursery = self._nursery, None
        try:
            if nursery is not None:
                nursery.close()
            with self._lock:
                for port in list(self._ports.values()):
                    self._discard(port)
                self._epoll.close()
        finally:
            with self._lock:
                self._over.set()
                self._changes += 1  # or who has looked before this, and not slept yet, would sleep for ever
                self._changed.notify_all()
            with self._ringing:
                os.close(self._bell)
                self._bell = -1
            self._settle_left()
            _runtimes.discard(self)

    def _ring(self) -> None:
        with self._ringing:
            if self._bell >= 0:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_write(self._bell, 1)

    @staticmethod
    def _warn_of(threads: str) -> None:
        if threads:
            warnings.warn(
                f"preloading has left threads in the pool's forkserver ({threads}): a worker forked while one of them "
                "holds a lock inherits that lock, closed for ever. Let the initializer start them",
                RuntimeWarning,
                stacklevel=5,
            )

    # --- in a fork of this process ------------------------------------------------------------------------------

    def disown(self) -> None:
        """The pool is the parent's: nothing here may touch it, nor wait for it."""
        self.is_foreign = True
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        for future in self._unresolved():
            future._condition._at_fork_reinit()  # type: ignore[attr-defined] # another thread may have held it
            future._done_callbacks.clear()  # they are the parent's to run: an event loop's, for example
            future._waiters.clear()
            future.set_exception(PoolClosed("the pool belongs to the process that this one was forked from"))
        for port in self._ports.values():
            port.sock.close()
            for fd in (port.pidfd, port.stat_fd):
                if fd is not None:
                    os.close(fd)
        self._epoll.close()
        os.close(self._bell)
        if self._nursery is not None:
            self._nursery.disown()


def _readable(sock: socket.socket, within_s: float) -> bool:
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(max(0.0, within_s * 1000)))


def _unread(fd: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0])


def _look_at(stat_fd: int) -> tuple[bool, int]:
    """Whether a process is stopped, and its resident size in bytes, from its /proc/…/stat."""
    try:
        fields = os.pread(stat_fd, 1024, 0).rpartition(b") ")[2].split()
        return fields[0] == b"T", int(fields[21]) * mmap.PAGESIZE
    except (OSError, IndexError):
        return False, 0


# --- the end of the process, and forks of it --------------------------------------------------------------------

_runtimes: "weakref.WeakSet[Runtime]" = weakref.WeakSet()


def _at_exit() -> None:
    for runtime in list(_runtimes):
        runtime.shutdown(wait=True, cancel=False, immediate=False)


def _in_child() -> None:
    for runtime in list(_runtimes):
        runtime.disown()
    _runtimes.clear()


# As for the pools of the standard library: before the threads of the program are awaited, so that a pool whose work is
# done by then does not keep it alive.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
os.register_at_fork(after_in_child=_in_child)
