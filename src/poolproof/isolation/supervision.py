"""The mode `supervision_testing`: supervised worker processes without a pool, with their monitor."""

import contextlib
import dataclasses
import importlib.util
import os
import random
import select
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from poolproof import processes
from poolproof.clock import SECOND_NS, now_ns
from poolproof.errors import UsageError
from poolproof.isolation import supervised
from poolproof.isolation.scene import Scene
from poolproof.isolation.supervisor import (
    Deed,
    Kill,
    Policy,
    Start,
    State,
    Stop,
    Strategy,
    Supervisor,
    Tell,
    is_number,
    is_whole,
)
from poolproof.rig.keeper import guardian
from poolproof.rig.watch import ProcessWatch, in_words
from poolproof.waiting import Event, EventStream, wait_for

_SOURCE: Final = "supervisor"
_STOP_S: Final = 20.0
"""How long all workers together may take to stop at the end, before all of them are killed at once."""

_KILLED_S: Final = 2.0
_TEARDOWN_S: Final = _STOP_S + 3 * _KILLED_S
_DEFAULT: Final = Policy()
_TAKEN: Final = "unknown: somebody else waited for it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be asked of this mode.

    Attributes:
        workers: how many are started at once, `worker-0` and so on; they are ready when the test begins.
        strategy: who is restarted when a worker ends: `one_for_one`, `one_for_all` or `rest_for_one`.
        backoff_s: the delay before the restart after a first failure; it doubles with each further one in a row.
        max_backoff_s: no delay is longer.
        max_restarts: how many failures within `within_s` are met with a restart; one more, and the supervisor gives up.
        within_s: the time in which these are counted.
        start_s: how long a worker may take until it is ready, before it is killed.
        stop_s: how long a worker may take to stop, before it is killed.
    """

    workers: int = 0
    strategy: Strategy = _DEFAULT.strategy
    backoff_s: float = _DEFAULT.backoff_s
    max_backoff_s: float = _DEFAULT.max_backoff_s
    max_restarts: int = _DEFAULT.max_restarts
    within_s: float = _DEFAULT.within_s
    start_s: float = _DEFAULT.start_s
    stop_s: float = _DEFAULT.stop_s

    @property
    def policy(self) -> Policy:
        """What of them is for the supervisor."""
        return Policy(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Policy)})

    def problems(self) -> list[str]:
        """Everything in them that makes no sense."""
        found = []
        if not is_whole(self.workers) or self.workers < 0:
            found.append(f"workers = {self.workers!r}: expected a number of 0 or more")
        return found + self.policy.problems()


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a supervised worker does.

    Attributes:
        exits: the status with which it exits by itself; without one, it runs until it is told to end.
        after_ms: how long after it is ready (or was started, if it is never ready) it exits.
        ready_after_ms: how long it takes until it is ready; None if it never is.
        ignores_sigterm: whether only SIGKILL ends it.
        call: `module:function`, a function of your own that it runs once it is ready; where that returns, it exits with
            status 0, and where it raises, with 1.
    """

    exits: int | None = None
    after_ms: float = 0.0
    ready_after_ms: float | None = 0.0
    ignores_sigterm: bool = False
    call: str = ""

    def problems(self) -> list[str]:
        """Everything in it that makes no sense."""
        found = []
        if self.exits is not None and not (is_whole(self.exits) and 0 <= self.exits <= 255):
            found.append(f"exits = {self.exits!r}: expected a status between 0 and 255")
        if not is_number(self.after_ms) or self.after_ms < 0:
            found.append(f"after_ms = {self.after_ms!r}: expected a time of 0 or more, in milliseconds")
        if self.ready_after_ms is not None and (not is_number(self.ready_after_ms) or self.ready_after_ms < 0):
            found.append(f"ready_after_ms = {self.ready_after_ms!r}: expected a time of 0 or more, in milliseconds")
        if self.call and self.exits is not None:
            found.append("call and exits: a worker either runs your function or exits by itself")
        if self.call:
            found += _problems_of_call(self.call)
        return found


def _problems_of_call(call: object) -> list[str]:
    module, colon, name = call.partition(":") if isinstance(call, str) else ("", "", "")
    if not (colon and name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        return [f"call = {call!r}: expected module:function"]
    try:
        is_there = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        is_there = False
    return [] if is_there else [f"call = {call!r}: there is no module {module}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A supervised worker as it was at one moment.

    Attributes:
        life: the number of its present life, or its last; the first is 1, and 0 stands for none yet.
        pid: of that life's process; None where there is none.
        start_time: of that process, in clock ticks after boot.
    """

    name: str
    state: State
    life: int
    pid: int | None
    start_time: int | None

    @property
    def restarts(self) -> int:
        """How often it was restarted."""
        return max(0, self.life - 1)


@dataclass(slots=True, eq=False)
class _Life:
    """One process of a worker. Owned by the supervisor's thread, but for `handle`, which `_lock` guards."""

    name: str
    number: int
    pid: int
    start_time: int
    handle: processes.Handle | None
    line: socket.socket


class Supervision:
    """Supervised workers, their monitor, and everything that happened to them, as `events`.

    One daemon thread, `poolproof supervisor`, owns the decisions (`Supervisor`) and the workers' lines, and is the only
    one to publish: so the events stand in the order of what happened. It is started with the first worker. What wakes
    it: its eventfd, which is rung after something was put in its inbox (`deque.append` is atomic; the bell is read
    before the inbox is emptied, so what is put there later leaves it rung), a worker's word on its line, and its next
    moment. The death of a worker comes from a `ProcessWatch`, whose thread puts it in the inbox. SIGCHLD stays what it
    is, and each worker is waited for by its own pid.

    `_lock` guards which workers there are, their lives and the handles of these, through which any thread may signal: a
    handle is closed under the lock, so no signal goes to a descriptor that is somebody else's by then. Nothing is
    published under it.

    Attributes:
        events: subject `worker` with what `starting`, `ready`, `exited` (unasked, with how), `restarting` (with the
            delay and who else), `stopping` and `gone` (after it was asked to stop, with how); subject `supervisor` with
            what `gave-up`, `stopping` and, when all workers are gone, `gone`.
    """

    def __init__(self, scene: Scene, policy: Policy) -> None:
        self.events = EventStream()
        self._scene = scene
        self._policy = policy
        self._owner = os.getpid()
        self._machine = Supervisor(policy, random.Random(f"poolproof supervision {scene.seed} {scene.test}"))
        self._behaviours: dict[str, Behaviour] = {}
        self._lock = threading.Lock()
        self._lives: dict[str, list[_Life]] = {}
        self._handed: dict[str, int] = {}  # the life of each that a test was last given; its own thread's
        self._inbox: deque[Callable[[], list[Deed]]] = deque()
        self._thread: threading.Thread | None = None
        self._failure = ""
        self._is_closed = False

    # --- what a test does ---------------------------------------------------------------------------------------

    def start(self, name: str, behaviour: Behaviour | None = None) -> None:
        """Have one more worker supervised; returns at once.

        Args:
            name: of the worker; its place in the order is after all others.
            behaviour: what it does; without one it runs until it is told to end.

        Raises:
            UsageError: there is one of this name, the behaviour makes no sense, or the supervision is over.
        """
        behaviour = behaviour or Behaviour()
        found = behaviour.problems()
        with self._lock:
            if name in self._behaviours:
                found.append("there is a worker of this name already")
            if self._is_closed or self._machine.state != "running":
                found.append(f"the supervisor is {self.state}: it starts nobody any more")
            if found:
                raise UsageError(f"supervised worker {name!r}: {'; '.join(found)}")
            self._begin()
            self._behaviours[name] = behaviour
            self._lives[name] = []
        self._post(partial(self._add, name))

    def stop(self, name: str) -> None:
        """Stop one worker for good; returns at once."""
        self._known(name)
        self._post(lambda: self._machine.halt(name, _now()))

    def exit(self, name: str, status: int = 0) -> None:
        """Tell a worker to exit with a status, as if of its own accord; returns at once."""
        self._known(name)
        self._post(lambda: self._tell(name, f"exit {status}"))

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> bool:
        """Send a worker's present life a signal; False where it is gone already."""
        self._known(name)
        with self._lock:
            lives = self._lives[name]
            handle = lives[-1].handle if lives else None
            return handle is not None and handle.send(number)

    @property
    def state(self) -> str:
        """`running`, `gave-up`, `stopping` or `stopped`."""
        return self._machine.state

    def worker(self, name: str) -> Worker:
        """One worker as it is now; the next `wait_for_restart` waits for a later life than this one."""
        found = self._look(name)
        self._handed[name] = found.life
        return found

    def workers(self) -> tuple[Worker, ...]:
        """All of them as they are now, in their order."""
        return tuple(self._look(name) for name in tuple(self._behaviours))

    def wait_for_ready(self, name: str | None = None, *, timeout: float) -> tuple[Worker, ...]:
        """Return when a worker, or without a name each of them, has answered in its present life.

        Raises:
            WaitTimeoutError: that took longer.
        """
        names = tuple(self._behaviours) if name is None else (self._known(name),)
        self._wait(
            lambda: all(self._look(each).state == "ready" for each in names),
            timeout,
            f"{name or 'every supervised worker'} to be ready",
        )
        return tuple(self.worker(each) for each in names)

    def wait_for_restart(self, name: str, timeout: float) -> Worker:
        """Return when a worker is ready in a later life than the one that the test was last given.

        That is the one that `worker`, or a wait, last returned, and the first life where none did: a restart that was
        over before this is called is not missed, and none is waited for twice.

        Raises:
            WaitTimeoutError: that took longer.
        """
        self._known(name)
        seen = self._handed.get(name, 1)

        def has_come_back() -> Worker | None:
            found = self._look(name)
            return found if found.state == "ready" and found.life > seen else None

        found: Worker = self._wait(has_come_back, timeout, f"a restart of {name} after its life {seen}")
        self._handed[name] = found.life
        return found

    def wait_for_gave_up(self, timeout: float) -> None:
        """Return when the supervisor has given up, and every worker is gone.

        Raises:
            WaitTimeoutError: that took longer.
        """
        self._wait(
            lambda: self._machine.state == "gave-up" and self._machine.is_over, timeout, "the supervisor to give up"
        )

    def monitor(self, folder: Path, stream: EventStream) -> ProcessWatch:
        """Watch whoever keeps execution records in a folder, a pool's workers; closed with this mode.

        Args:
            folder: an existing one.
            stream: where the watch publishes.
        """
        watch = ProcessWatch.open(stream, folder=folder, source="monitor")

        def close() -> list[str]:
            if watch.close():
                return []
            return [f"the monitor of {folder} could not be closed: a subscriber of its events hangs"]

        self._scene.teardown.push(f"closing the monitor of {folder.name}", close, bound_s=_KILLED_S * 2)
        return watch

    def __repr__(self) -> str:
        told = ", ".join(f"{it.name} {it.state} (life {it.life})" for it in self.workers())
        return f"<Supervision {self.state}: {told or 'no workers'}>"

    def _known(self, name: str) -> str:
        if name not in self._behaviours:
            raise UsageError(f"no supervised worker {name!r}: there are {', '.join(self._behaviours) or 'none'}")
        return name

    def _look(self, name: str) -> Worker:
        self._known(name)
        with self._lock:
            last = self._lives[name][-1] if self._lives[name] else None
            state: State = self._machine.worker_state(name)
            if last is None:
                return Worker(name=name, state=state, life=0, pid=None, start_time=None)
            is_alive = last.handle is not None
            return Worker(
                name=name,
                state=state,
                life=last.number,
                pid=last.pid if is_alive else None,
                start_time=last.start_time if is_alive else None,
            )

    def _wait(self, condition: Callable[[], Any], timeout: float, what: str) -> Any:
        return wait_for(condition, timeout=timeout, on=self.events, what=what, seen=lambda: repr(self))

    # --- the thread ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Start what it takes to have workers, at the first of them."""
        if self._thread is not None:
            return
        guardian().start(stderr_fd=self._scene.faulthandler_fd)
        deaths = EventStream()
        deaths.subscribe(self._hear_of_death)
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poller = select.epoll()
        self._poller.register(self._bell, select.EPOLLIN)
        self._lines: dict[int, _Life] = {}
        self._watch = ProcessWatch.open(deaths, source=_SOURCE)
        self._thread = threading.Thread(target=self._run, name="poolproof supervisor", daemon=True)
        self._thread.start()

    def _post(self, act: Callable[[], list[Deed]]) -> None:
        self._inbox.append(act)
        with self._lock:
            if not self._is_closed:
                os.eventfd_write(self._bell, 1)

    def _hear_of_death(self, event: Event) -> None:
        if event.what == "gone":
            self._post(partial(self._end, event.who, event.detail))

    def _run(self) -> None:
        try:
            self._supervise()
        except Exception as error:
            self._failure = f"the supervisor failed: {type(error).__name__}: {error}"

    def _supervise(self) -> None:
        while not self._machine.is_over or self._inbox:
            due = self._machine.due()
            timeout_s = -1 if due == float("inf") else max(0.0, due - _now())
            for fd, _ in self._poller.poll(0 if self._inbox else timeout_s):
                if fd == self._bell:
                    with contextlib.suppress(BlockingIOError):
                        os.eventfd_read(self._bell)
                elif fd in self._lines:
                    self._carry_out(self._hear(self._lines[fd]))
            while self._inbox:
                self._carry_out(self._inbox.popleft()())
            self._carry_out(self._machine.tick(_now()))

    def _carry_out(self, deeds: list[Deed]) -> None:
        for deed in deeds:
            match deed:
                case Start(name, life):
                    self._spawn(name, life)
                case Stop(name):
                    self.kill(name, signal.SIGTERM)
                case Kill(name):
                    self.kill(name)
                case Tell():
                    self._publish(deed)

    def _publish(self, told: Tell) -> None:
        life = self._life(told.name, told.life) if told.name is not None else None
        self.events.publish(
            Event(
                at_ns=now_ns(),
                source=_SOURCE,
                subject="supervisor" if told.name is None else "worker",
                what=told.what,
                who=told.name,
                pid=None if life is None else life.pid,
                detail=told.detail,
            )
        )

    # --- one life -----------------------------------------------------------------------------------------------

    def _add(self, name: str) -> list[Deed]:
        if self._machine.state != "running":  # it gave up between the call and now
            return []
        return self._machine.add(name, _now())

    def _life(self, name: str, number: int) -> _Life | None:
        return next((it for it in reversed(self._lives[name]) if it.number == number), None)

    def _spawn(self, name: str, number: int) -> None:
        """Start a life; one that could not be started ends at once."""
        try:
            life = self._started(name, number)
        except OSError as error:
            why = f"could not be started: {error}"
            self._inbox.append(lambda: self._machine.exited(name, number, why, _now()))
            return
        with self._lock:
            self._lives[name].append(life)
        self._lines[life.line.fileno()] = life
        self._poller.register(life.line, select.EPOLLIN)
        try:
            is_watched = self._watch.add(life.pid, life.start_time, who=life)
        except OSError:  # no descriptor is left, and nobody would tell of its end
            self.kill(name)
            is_watched = False
        if not is_watched:
            self._inbox.append(partial(self._end, life, _TAKEN))

    def _started(self, name: str, number: int) -> _Life:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                ours.setblocking(False)
                pid = os.posix_spawn(
                    sys.executable,
                    _command(self._behaviours[name]),
                    os.environ,
                    # As its standard input, and not as an inheritable descriptor: nobody else is to inherit it.
                    file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)],
                    setsid=True,  # a Ctrl-C of the terminal is the test's alone
                )
            except BaseException:
                ours.close()
                raise
        try:
            handle = processes.Handle.open(pid)
            if handle is None:
                raise OSError(_TAKEN)
        except OSError:
            ours.close()  # upon which it ends, if it has not ended
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            raise
        return _Life(name, number, pid, handle.process.start_time, handle, ours)

    def _tell(self, name: str, word: str) -> list[Deed]:
        for life in self._lives[name][-1:]:
            with contextlib.suppress(OSError):  # it is gone, which is told elsewhere
                life.line.send(word.encode())
        return []

    def _hear(self, life: _Life) -> list[Deed]:
        """Read a worker's line."""
        try:
            word = life.line.recv(64)
        except BlockingIOError:
            return []
        except OSError:
            word = b""
        if not word:  # its end is told by its pidfd, not by this
            self._hang_up(life)
            return []
        return self._machine.ready(life.name, life.number, _now()) if word == b"ready" else []

    def _hang_up(self, life: _Life) -> None:
        if self._lines.pop(life.line.fileno(), None) is not None:
            self._poller.unregister(life.line)
        life.line.close()

    def _end(self, life: Any, how: str) -> list[Deed]:
        """A life is over: hear what it said last, wait for it by its pid, and let go."""
        if life.handle is None:  # it was ended by force
            return []
        deeds = []
        if life.line.fileno() in self._lines:
            deeds += self._hear(life)
            self._hang_up(life)
        how = self._wait_for(life) or how
        return deeds + self._machine.exited(life.name, life.number, how, _now())

    def _wait_for(self, life: _Life) -> str:
        """Reap a worker that is gone, and no other child; how it ended, where nobody else reaped it."""
        how = ""
        with contextlib.suppress(ChildProcessError):
            how = in_words(os.waitstatus_to_exitcode(os.waitpid(life.pid, 0)[1]))
        with self._lock:
            if life.handle is not None:
                life.handle.close()
                life.handle = None
        return how

    # --- the end ------------------------------------------------------------------------------------------------

    def close(self) -> list[str]:
        """Stop every worker, the last first, and prove that each is gone and was waited for, and its end told.

        Returns what is wrong. May be called again.
        """
        with self._lock:
            was_begun = self._thread is not None and not self._is_closed
        if self._thread is None or not was_begun or os.getpid() != self._owner:
            self._is_closed = True
            return []
        self._post(lambda: self._machine.stop(_now()))
        alive = [life for lives in self._lives.values() for life in lives if life.handle is not None]
        self._thread.join(min(_STOP_S, len(alive) * self._policy.stop_s + _KILLED_S))
        problems = []
        if not self._machine.is_over:
            problems.append(self._failure or f"the workers did not stop: {self!r}")
            problems += self._end_by_force()
        if not self._watch.close():
            problems.append("the supervisor's watch could not be closed")
        problems += self._unaccounted()
        with self._lock:
            self._is_closed = True
            if not self._thread.is_alive():
                for life in [life for lives in self._lives.values() for life in lives]:
                    life.line.close()  # where the thread failed, it did not
                self._poller.close()
                os.close(self._bell)
        return problems

    def _end_by_force(self) -> list[str]:
        """Kill every worker at once, for the supervisor's thread does not stop them, or they do not stop for it."""
        for life in [life for lives in self._lives.values() for life in lives]:
            with self._lock:
                is_there = life.handle is not None and life.handle.send(signal.SIGKILL)
            if is_there and life.handle is not None and life.handle.wait_gone(_KILLED_S):
                self._wait_for(life)
        if self._thread is not None:
            self._thread.join(_KILLED_S)
            if self._thread.is_alive():
                return ["the supervisor's thread does not end: a subscriber of its events hangs"]
        return []

    def _unaccounted(self) -> list[str]:
        """Which processes are not gone, not waited for, or not told of."""
        events = self.events.since()
        told = {event.pid for event in events if event.what in ("exited", "gone") and event.subject == "worker"}
        problems = []
        for life in [life for lives in self._lives.values() for life in lives]:
            who = f"supervised worker {life.name!r}, life {life.number} (pid {life.pid})"
            process = processes.look_up(life.pid)
            if process is not None and process.start_time == life.start_time:
                state = "was not waited for" if process.state == "Z" else f"is still there, in state {process.state}"
                problems.append(f"{who} {state}")
            elif life.pid not in told and not self.events.forgotten:
                problems.append(f"{who} ended, and no event told of it")
        return problems + [
            f"a subscriber of the supervisor's events raised {type(error).__name__}: {error}"
            for error in self.events.raised
        ]


def _now() -> float:
    return now_ns() / SECOND_NS


def _command(behaviour: Behaviour) -> list[str]:
    def given(value: object) -> str:
        return "-" if value is None or value == "" else str(value)

    # A function of the user's own needs what the user's interpreter has; all others start quicker without.
    how = [] if behaviour.call else ["-I", "-S"]
    path = [str(Path.cwd()) if entry == "" else entry for entry in sys.path] if behaviour.call else []
    return [
        sys.executable,
        *how,
        supervised.__file__,
        given(behaviour.exits),
        given(behaviour.after_ms),
        given(behaviour.ready_after_ms),
        "1" if behaviour.ignores_sigterm else "0",
        given(behaviour.call),
        *path,
    ]


def enter(scene: Scene, options: Options) -> Supervision:
    """Set the mode up: the workers that were asked for are ready."""
    supervision = Supervision(scene, options.policy)
    scene.teardown.push("stopping the supervised workers", supervision.close, bound_s=_TEARDOWN_S)
    for number in range(options.workers):
        supervision.start(f"worker-{number}")
    if options.workers:
        supervision.wait_for_ready(timeout=options.start_s * options.workers)
    return supervision
