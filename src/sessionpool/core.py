"""The pool's decisions, without any I/O: what happened goes in with its time, and what is to be done comes out.

A `Core` holds no thread, no lock, no clock and no descriptor, and no source of chance but the one it is handed; whoever
drives it, production or simulation, calls one method at a time and carries out the effects in their order.

An operation waits in one of two places. What belongs to no session, and the first operation of a session that has no
worker, stands in the pool's queue; what belongs to a session with a worker stands in that worker's own, ordered by its
number. A worker takes the older of the two heads, so nobody is passed over.

What a worker was sent and has not answered is `sent`, in the order of its sequence numbers. When the worker is gone its
progress word says how far it had come: what lies behind the word had surely not begun and goes elsewhere, what lies
before it may have had effects and fails, or runs again where it is idempotent.
"""

import math
import random
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from concurrent.futures import BrokenExecutor
from heapq import heapify, heappop, heappush
from typing import Any, Final, Literal, NamedTuple

from sessionpool.errors import (
    DeadlineExceeded,
    PoolClosed,
    PoolSaturated,
    SessionExpired,
    SessionLost,
    SessionPoolError,
    SessionUnknown,
    WorkerDied,
)
from sessionpool.events import Event, Snapshot, Subject, WorkerInfo
from sessionpool.settings import Affinity, Settings
from sessionpool.wire import Frame, Kind

PREFETCH_S: Final = 0.001
"""How much work a worker may hold in advance, by what its kind took before."""

RECALL_S: Final = 0.02
"""How long a worker may be at one operation before what it holds in advance is recalled: the estimate was wrong."""

_PREFETCH_MOST: Final = 256
_PREFETCH_SIZE: Final = 1 << 14
_OVERHEAD_S: Final = 5e-6
"""What an operation costs a worker beside its own time."""

_FADE: Final = 0.9
_ESTIMATES: Final = 1024
_GRAVES: Final = 100_000
"""How many sessions are remembered as lost or expired, the youngest ones."""

_NEVER: Final = math.inf

_REFUSED: Final = int(Kind.REFUSED)
_RETURNED: Final = int(Kind.RETURNED)

State = Literal["starting", "ready", "busy", "stalled", "stopping"]
Phase = Literal["open", "closing", "broken"]


class PoolBroken(SessionPoolError, BrokenExecutor):  # noqa: N818 - it says what happened, as those in `errors` do
    """No worker could be brought up any more, so the pool gave up.

    Attributes:
        last_words: what the last workers left behind: how they ended, and the traceback where there is one.
    """

    __module__ = "sessionpool.errors"  # where it is found, and by which pickles and records know it

    def __init__(self, reason: str, last_words: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join((reason, *last_words)))
        self.reason = reason
        self.last_words = last_words


class Task:
    """One operation on its way, or the closing of a session.

    Attributes:
        payload: what the driver hangs on it; the core never looks at it.
        size: of what is sent, in bytes.
        cost: what tells operations apart that take as long as each other.
        key: of its session, where `has_session`.
        existing: whether it must not open a session.
        closes: whether it is the end of its session.
        deadline_s: within how many seconds of `since` it must have ended, or None.
        number: its place in the order of submission.
        sequence: its number within its worker's life, once it is sent.
        epoch: the binding of its session that it was sent under; 0 where it belongs to none.
        opens: whether it is the first of its epoch.
    """

    __slots__ = (
        "affinity",
        "attempts",
        "closes",
        "cost",
        "deadline_at",
        "deadline_s",
        "epoch",
        "estimate",
        "existing",
        "has_session",
        "idempotent",
        "key",
        "number",
        "opens",
        "payload",
        "sequence",
        "session",
        "since",
        "size",
        "state",
    )

    def __init__(
        self,
        payload: Any,
        *,
        size: int = 0,
        cost: Hashable = None,
        has_session: bool = False,
        key: Hashable = None,
        affinity: Affinity | None = None,
        existing: bool = False,
        closes: bool = False,
        deadline_s: float | None = None,
        idempotent: bool = False,
    ) -> None:
        self.payload = payload
        self.size = size
        self.cost = cost
        self.has_session = has_session
        self.key = key
        self.affinity = affinity
        self.existing = existing
        self.closes = closes
        self.deadline_s = deadline_s
        self.idempotent = idempotent
        self.number = 0
        self.state = WAITING
        self.since = 0.0
        self.deadline_at = _NEVER
        self.session: _Session | None = None
        self.sequence = 0
        self.epoch = 0
        self.attempts = 0
        self.opens = False
        self.estimate = _NEVER

    def __lt__(self, other: "Task") -> bool:
        return self.number < other.number


WAITING: Final = 0
SENT: Final = 1
DONE: Final = 2


class _Session:
    __slots__ = (
        "affinity",
        "epoch",
        "grave",
        "is_open",
        "key",
        "pending",
        "pid",
        "sent",
        "used_at",
        "waiting",
        "worker",
    )

    def __init__(self, key: Hashable, affinity: Affinity) -> None:
        self.key = key
        self.affinity = affinity
        self.epoch = 0
        self.is_open = False
        """Whether the operation that makes its worker open the epoch has been sent."""
        self.worker: _Worker | None = None
        self.pid: int | None = None
        self.waiting: list[Task] = []
        """No deque: there may be 100,000 of them, and most are empty."""
        self.pending = 0
        """How many of its operations are not resolved."""
        self.sent = 0
        """How many of those its worker holds."""
        self.used_at = 0.0
        self.grave: _Grave | None = None
        """What became of it, once it is lost; a worker may hold operations of it still."""


class _Worker:
    __slots__ = (
        "born_at",
        "doom",
        "head_at",
        "is_draining",
        "is_old",
        "load_s",
        "number",
        "operations",
        "pid",
        "progress_at",
        "progress_seen",
        "recalled",
        "recalling",
        "seen_at",
        "sent",
        "sequence",
        "sessions",
        "since",
        "state",
        "stopped_at",
        "waiting",
        "why_leaving",
    )

    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self.pid: int | None = None
        self.state: State = "starting"
        self.since = self.born_at = now
        self.sent: deque[Task] = deque()
        self.load_s = 0.0
        self.head_at = now
        """Since when it is at the first of those."""
        self.recalling: tuple[int, int] | None = None
        self.recalled = 0
        """The last sequence number that was ever recalled."""
        self.sequence = 0
        self.waiting: list[tuple[int, Task]] = []
        self.sessions: dict[int, _Session] = {}
        self.operations = 0
        self.is_old = False
        """Whether it is to be recycled once no session would be lost by it; it takes no new ones."""
        self.is_draining = False
        """Whether it takes nothing more, and stops when it has answered what it holds."""
        self.why_leaving = ""
        self.doom: tuple[str, Task | None] | None = None
        """Why it was killed, and by whose deadline."""
        self.seen_at = now
        self.stopped_at: float | None = None
        self.progress_at = now
        self.progress_seen = (0, 0)


class _Grave(NamedTuple):
    kind: type[SessionLost]
    reason: str
    pid: int | None
    epoch: int


# --- effects ----------------------------------------------------------------------------------------------------


class Start(NamedTuple):
    """Bring up a worker under this number; then tell `forked`, `ready`, `exited`."""

    worker: int


class Send(NamedTuple):
    """Send these to a worker, in this order."""

    worker: int
    tasks: list[Task]


class Forget(NamedTuple):
    """Tell a worker that an epoch is over."""

    worker: int
    epoch: int


class Stop(NamedTuple):
    """Ask a worker to leave; then tell `exited`."""

    worker: int


class Kill(NamedTuple):
    """End a worker; then tell `exited`."""

    worker: int


class Recall(NamedTuple):
    """Have a worker not begin what has these sequence numbers; once it surely sees that, tell `recalled`."""

    worker: int
    first: int
    last: int


class Resolve(NamedTuple):
    """An operation is over: the frame that answers it, or the error that it ends with; None for a session closed."""

    task: Task
    answer: Frame | SessionPoolError | None


class Drop(NamedTuple):
    """An operation is cancelled by a shutdown."""

    task: Task


class Publish(NamedTuple):
    """Tell the subscribers."""

    event: Event


_NOTHING: Final[list["Effect"]] = []
"""Shared by all that have nothing to be done; most do."""

Effect = Start | Send | Forget | Stop | Kill | Recall | Resolve | Drop | Publish


class Core:
    """The pool as a state machine.

    Every method takes the time `now` (seconds of a clock that does not go back) and returns what is to be done.
    `due` is when `tick` is wanted next; any method may bring it forward.

    Args:
        settings: what the pool goes by.
        chance: where the jitter of waits comes from.
    """

    def __init__(self, settings: Settings, chance: random.Random) -> None:
        self.settings = settings
        self.due = _NEVER
        self.is_observed = False
        """Whether events are wanted; they cost their making."""
        self._chance = chance
        self._least = settings.min_workers
        self._most_queued = settings.max_queue
        self._most_operations = settings.recycling.operations
        self._phase: Phase = "open"
        self._broken: PoolBroken | None = None
        self._effects: list[Effect] = []
        self._workers: dict[int, _Worker] = {}
        self._idle: dict[int, _Worker] = {}
        """Those that are ready and hold nothing, the latest to become so last."""
        self._queue: deque[Task] = deque()
        self._hinting: dict[_Session, None] = {}
        """Sessions that wait for a busy worker and would as soon have another one."""
        self._deadlines: list[tuple[float, int, Task]] = []
        self._sessions: OrderedDict[Hashable, _Session] = OrderedDict()
        """By their keys, the longest unused first."""
        self._graves: OrderedDict[Hashable, _Grave] = OrderedDict()
        self._estimates: dict[Hashable, float] = {}
        self._queued = 0
        self._unresolved = 0
        self._numbers = 0
        self._incarnations = 0
        self._epochs = 0
        self._restarts = 0
        self._failures = 0
        """How many rounds of starts have failed in a row."""
        self._round = -_NEVER
        """When the first of the round that failed last was started."""
        self._not_before = 0.0
        """Until when no worker is started, after a start that failed."""
        self._last_words: deque[str] = deque(maxlen=5)

    # --- what happens -------------------------------------------------------------------------------------------

    def open(self, now: float) -> list[Effect]:
        """The pool begins: its smallest number of workers is started, all at once."""
        self._top_up(now)
        return self._done()

    def submit(self, now: float, task: Task) -> list[Effect]:
        """An operation comes in.

        Raises:
            PoolClosed, PoolBroken, PoolSaturated: it was not taken, and nothing has changed.
        """
        if self._phase != "open":
            self.refuse_if_closed()
        session = None
        limit = self._most_queued
        if limit is not None and self._queued >= limit and not task.closes and not self._could_take(task):
            raise PoolSaturated("queue", limit)
        if task.has_session:
            if task.closes and task.key not in self._sessions:
                self._graves.pop(task.key, None)  # it may begin anew
                self._effects.append(Resolve(task, None))
                return self._done()
            found = self._admit(now, task)
            if isinstance(found, SessionPoolError):
                self._effects.append(Resolve(task, found))
                return self._done()
            session = found
            if task.closes and session.worker is None and not session.pending:
                del self._sessions[task.key]
                self._effects.append(Resolve(task, None))
                return self._done()
        worker = self._free_worker(session, task) if self._idle else None
        self._numbers += 1
        task.number = self._numbers
        task.since = now
        self._unresolved += 1
        if session is not None:
            task.session = session
            session.pending += 1
            if task.closes:
                self._sessions.pop(session.key, None)
        if task.deadline_s is not None:
            task.deadline_at = now + task.deadline_s
            heappush(self._deadlines, (task.deadline_at, task.number, task))
            self._wake(task.deadline_at)
        if worker is not None:
            self._hand(now, worker, task)
            self._effects.append(Send(worker.number, [task]))
        else:
            self._wait(now, task)
        return self._done()

    def refuse_if_closed(self) -> None:
        """Whether operations are taken at all.

        Raises:
            PoolClosed, PoolBroken: they are not.
        """
        if self._phase != "open":
            if self._broken is not None:
                raise PoolBroken(self._broken.reason, self._broken.last_words)
            raise PoolClosed("the pool was shut down and takes no more operations")

    def look_up(self, key: Hashable) -> bool:
        """Whether there is a session of this key, or was; raises what the key's own comparison does."""
        return key in self._sessions or key in self._graves

    def withdraw(self, now: float, task: Task) -> list[Effect]:
        """Its client has cancelled an operation; nothing happens where it is sent already."""
        if task.state == WAITING and task.number and not task.closes:
            self._settle(task)
            self._tell(now, "operation", "withdrawn", task=task)
            self._maybe_finish(now)
        return self._done()

    def forked(self, now: float, worker: int, pid: int) -> list[Effect]:
        """A worker has a process now."""
        if worker in self._workers:
            self._workers[worker].pid = pid
        return self._done()

    def ready(self, now: float, worker: int) -> list[Effect]:
        """A worker can be given operations."""
        it = self._workers.get(worker)
        if it is not None and it.state == "starting" and it.doom is None:
            self._failures = 0
            self._last_words.clear()
            if self.settings.recycling.age_s is not None:
                self._wake(it.born_at + self.settings.recycling.age_s)
            self._turn(now, it, "ready")
            self._serve(now, it)
        return self._done()

    def replied(self, now: float, worker: int, frames: Iterable[Frame]) -> list[Effect]:
        """A worker has answered; frames that answer nothing it was sent are the end of it."""
        it = self._workers.get(worker)
        if it is None:
            return self._done()
        sent = it.sent
        it.head_at = now
        came_back = False
        for frame in frames:
            # 1. It is due.
            if sent and sent[0].sequence == frame.sequence and sent[0].epoch == frame.epoch:
                task = sent.popleft()
            # 2. It was recalled, and taken back already.
            elif frame.kind == _RETURNED:
                continue
            # 3. It answers nothing.
            else:
                self._doom(now, it, f"it answered operation {frame.sequence}, which it was not at")
                break
            if frame.kind == _RETURNED:
                came_back = True
                self._take_back(now, it, [task])
                continue
            if not sent:
                it.load_s = 0.0
            elif task.estimate != _NEVER:
                it.load_s -= task.estimate
            it.operations += 1
            self._learn(task.cost, frame.note)
            session = task.session
            if session is not None:
                session.sent -= 1
                # The end of a session comes back, too, where operations did that are to run before it.
                if frame.kind == _REFUSED or (task.closes and _first(session) is not None):
                    came_back = True
                    self._refused(now, it, task)
                    continue
                session.pending -= 1
                self._touch(now, session)
                if task.closes:
                    self._unbind(session)
                    self._tell(now, "session", "closed", it, key=task.key)
            task.state = DONE
            self._unresolved -= 1
            self._effects.append(Resolve(task, frame))
            if self.is_observed:
                self._tell(now, "operation", "resolved", it, task=task, detail=Kind(frame.kind).name.lower())
        if it.doom is None:
            if self._most_operations is not None and it.operations >= self._most_operations:
                self._age(now, it)
            if it.state == "stalled":
                self._turn(now, it, "busy")
            if it.state == "busy":
                self._serve(now, it)
        if came_back:  # only now: an idle worker is sent work in advance where no other one idles, as this one may
            self._refill(now)
        if self._phase != "open":
            self._maybe_finish(now)
        return self._done()

    def exited(self, now: float, worker: int, *, started: int, exit: str) -> list[Effect]:  # noqa: A002 - the term
        """A worker is surely gone, and every answer of it that was left has been told.

        Args:
            now: the time.
            worker: its number.
            started: the sequence number of the operation that it last may have begun.
            exit: how it ended, in words.
        """
        it = self._workers.pop(worker, None)
        if it is None:
            return self._done()
        self._idle.pop(worker, None)
        reason, culprit = it.doom or ("it died", None)
        self._tell(now, "worker", "gone", it, detail=f"{reason}: {exit}")
        if it.state != "stopping":
            self._restarts += 1
        # 1. It never was ready: the start has failed, and the next one has to wait; one that was ended, is counted.
        if it.state == "starting" and it.doom is None and self._wants_workers:
            self._start_failed(now, it, f"worker {it.pid} did not become ready: {reason} ({exit})")
        # 2. What it held and had surely not begun goes elsewhere; the rest fails, or runs again.
        again: list[Task] = []
        theirs = [task.session for task in it.sent if task.session is not None]
        for task in it.sent:
            if task.session is not None:
                task.session.sent -= 1
            if task is culprit or task.deadline_at <= now:
                self._fail_late(now, task, started=task.sequence <= started or task.attempts > 1, pid=it.pid)
            elif task.sequence > started:
                task.attempts -= 1
                again.append(task)
                self._tell(now, "operation", "again", it, task=task, detail="it was not begun")
            elif task.closes:
                again.append(task)  # the state is gone with its worker, which is all that was asked for
            elif task.idempotent and task.attempts <= self.settings.restarts.max_retries:
                again.append(task)
                self._tell(now, "operation", "again", it, task=task, detail=reason)
            else:
                error = WorkerDied(reason, pid=it.pid, exit=exit, attempts=task.attempts, idempotent=task.idempotent)
                self._fail(now, task, error)
        it.sent.clear()
        # 3. Its sessions are lost, or go on elsewhere with a fresh state.
        self._give_back(again)
        self._bereave(now, it, f"its worker {it.pid} is gone: {reason} ({exit})", theirs)
        self._make_up(now)
        return self._done()

    def doom(self, now: float, worker: int, reason: str) -> list[Effect]:
        """A worker cannot be trusted any more, for example since its wire is torn."""
        it = self._workers.get(worker)
        if it is not None:
            self._doom(now, it, reason)
        return self._done()

    def recalled(self, now: float, worker: int, begun: int) -> list[Effect]:
        """A worker surely sees what was recalled; what it had not begun by now, it never will.

        Args:
            now: the time.
            worker: its number.
            begun: the sequence number of the operation that it last began.
        """
        it = self._workers.get(worker)
        if it is not None and it.recalling is not None:
            (first, last), it.recalling = it.recalling, None
            back: list[Task] = []
            while it.sent and first <= it.sent[-1].sequence <= last and it.sent[-1].sequence > begun:
                back.insert(0, it.sent.pop())
            self._take_back(now, it, back)
            if it.state == "busy" and not it.sent:  # the first one was answered meanwhile, and all others came back
                self._serve(now, it)
            self._refill(now)
        return self._done()

    def start_failed(self, now: float, worker: int, words: str) -> list[Effect]:
        """A worker could not be forked, or tells that its initializer failed; if it has a process, `exited` follows."""
        it = self._workers.get(worker)
        if it is not None and it.state == "starting":
            if it.pid is None:
                del self._workers[worker]
                self._tell(now, "worker", "gone", it, detail=words)
                if self._wants_workers:
                    self._start_failed(now, it, words)
                self._make_up(now)
            else:
                self._doom(now, it, words)
        return self._done()

    def observed(
        self, now: float, worker: int, *, is_stopped: bool, memory: int, progress: tuple[int, int], is_silent: bool
    ) -> list[Effect]:
        """What is seen of a worker from outside, a few times within `stall_s`.

        Args:
            now: the time.
            worker: its number.
            is_stopped: whether its process is stopped.
            memory: its resident size in bytes.
            progress: the sequence numbers of the operations that it last began, and last answered.
            is_silent: whether nothing of it is left to be read.
        """
        it = self._workers.get(worker)
        if it is None or it.doom is not None:
            return self._done()
        stall_s = self.settings.timing.stall_s
        # 0. Nobody looked for long (this whole process stood still, most likely): what was seen before says nothing.
        if now - it.seen_at > stall_s:
            it.progress_at = now
            it.stopped_at = now if is_stopped else None
        it.seen_at = now
        # 1. Stopped: nothing can be expected of it, whatever it was at.
        if not is_stopped:
            it.stopped_at = None
            if it.state == "stalled":
                self._turn(now, it, "busy")
                self._serve(now, it)
        elif it.stopped_at is None or progress != it.progress_seen:  # it has gone on since the last look
            it.stopped_at = now
        elif now - it.stopped_at >= stall_s:
            self._doom(now, it, f"it was stopped for {now - it.stopped_at:.1f} s")
            return self._done()
        elif it.state in ("ready", "busy"):
            self._turn(now, it, "stalled")
        # 2. It has something to take up and is at nothing; or has answered and the answer does not come.
        if progress != it.progress_seen or not is_silent or not it.sent or is_stopped:
            it.progress_seen = progress
            it.progress_at = now
        elif progress[0] == progress[1] and now - max(it.progress_at, it.since) >= stall_s:
            lost = it.sent[0].sequence <= progress[1]
            what = "its answer did not arrive" if lost else "it did not take up what it was sent"
            self._doom(now, it, f"{what} for {stall_s:g} s")
            return self._done()
        # 3. Too large: it goes at its next pause.
        limit = self.settings.recycling.memory_bytes
        if limit is not None and memory > limit and not it.is_draining and it.state != "starting":
            self._drain(now, it, f"it had grown to {memory >> 20} MiB")
        return self._done()

    def tick(self, now: float) -> list[Effect]:
        """Time has passed."""
        self.due = _NEVER
        self._expire_operations(now)
        for it in list(self._workers.values()):
            self._look_after(now, it)
        self._expire_sessions(now)
        self._top_up(now)
        self._grow(now)
        self._shrink(now)
        self._maybe_finish(now)
        return self._done()

    def shutdown(self, now: float, *, cancel: bool = False, immediate: bool = False) -> list[Effect]:
        """No more operations come; the workers stop when all are resolved.

        Args:
            now: the time.
            cancel: cancel what waits.
            immediate: fail what runs, and kill the workers.
        """
        if self._phase == "open":
            self._phase = "closing"
            self._tell(now, "pool", "closing")
        if cancel or immediate:
            for task in self._all_waiting():
                self._settle(task)
                self._effects.append(Drop(task))
        if immediate:
            for it in self._workers.values():
                for task in it.sent:
                    self._fail(now, task, PoolClosed("the pool was shut down at once while the operation was running"))
                it.sent.clear()
                self._doom(now, it, "the pool was shut down at once")
        self._maybe_finish(now)
        return self._done()

    def give_up(self, now: float, error: PoolBroken) -> list[Effect]:
        """The driver cannot go on: whatever is not resolved fails with this error, and the workers are killed."""
        self._break(now, error)
        for it in self._workers.values():
            for task in it.sent:
                self._fail(now, task, error)
            it.sent.clear()
            self._doom(now, it, "the pool is broken")
        return self._done()

    # --- what can be seen ---------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether it was shut down, or broke, and no worker is left."""
        return self._phase != "open" and not self._workers

    def is_at_work(self, worker: int) -> bool:
        """Whether a worker holds operations."""
        it = self._workers.get(worker)
        return it is not None and bool(it.sent)

    def snapshot(self) -> Snapshot:
        """How many there are of what."""
        states = [_seen(it) for it in self._workers.values()]
        return Snapshot(
            starting=states.count("starting"),
            ready=states.count("ready"),
            busy=states.count("busy"),
            stalled=states.count("stalled"),
            stopping=states.count("stopping"),
            queued=self._queued,
            running=self._unresolved - self._queued,
            sessions=len(self._sessions),
            restarts=self._restarts,
            broken=self._broken is not None,
            closed=self._phase != "open",
        )

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Every worker that is not gone."""
        return tuple(
            WorkerInfo(
                number=it.number, pid=it.pid, state=_seen(it), sessions=len(it.sessions), operations=it.operations
            )
            for it in self._workers.values()
        )

    # --- operations: where they wait, who takes them --------------------------------------------------------------

    def _free_worker(self, session: _Session | None, task: Task) -> _Worker | None:
        """Who of the idle ones may take it at once."""
        # 1. Of no session: whoever became idle last, so that the longest idle can leave.
        if session is None:
            return self._idle[next(reversed(self._idle))]
        # 2. Its session has earlier ones: behind them.
        if session.pending > session.sent:
            return None
        home = session.worker
        # 3. A new session, or one whose worker is gone: where the fewest live.
        if home is None:
            takers = [it for it in self._idle.values() if self._takes_sessions(it)]
            return min(takers, key=lambda it: len(it.sessions), default=None)
        # 4. Its worker; where that is busy with others and it is only preferred, an idle one.
        if home.number in self._idle:
            return home
        affinity = task.affinity or self.settings.sessions.affinity  # from this operation on: it may yet be refused
        if affinity == "hint" and not session.sent and not task.closes:
            return min(self._idle.values(), key=lambda it: len(it.sessions))
        return None

    def _could_take(self, task: Task) -> bool:
        """Whether some worker would take an operation at once, were it submitted; nothing is changed by asking."""
        if not self._idle:
            return False
        if not task.has_session:
            return True
        session = self._sessions.get(task.key)
        if session is None:
            session = _Session(task.key, task.affinity or self.settings.sessions.affinity)
        return self._free_worker(session, task) is not None

    def _wait(self, now: float, task: Task) -> None:
        self._queued += 1
        session = task.session
        if session is None:
            self._queue.append(task)
            self._want_growth(task.since)
        else:
            session.waiting.append(task)
            if session.worker is not None:
                heappush(session.worker.waiting, (task.number, task))
                if session.affinity == "hint":
                    self._hinting[session] = None
            elif _first(session) is task and not session.sent:
                self._queue.append(task)
                self._want_growth(task.since)
        if self.is_observed:
            self._tell(now, "operation", "queued", task=task)

    def _next(self, it: _Worker) -> Task | None:
        """The oldest operation that a worker may take; it stays where it is."""
        own = it.waiting
        while own and not (own[0][1].state == WAITING and _home(own[0][1]) is it):
            heappop(own)
        head = self._head(it)
        if own and (head is None or own[0][0] < head.number):
            return own[0][1]
        if head is not None or own:
            return head
        return None if it.sent else self._stray(it)

    def _head(self, it: _Worker) -> Task | None:
        """The oldest of the queue that a worker may take."""
        task = self._prune()
        if task is None or task.session is None or self._takes_sessions(it):
            return task
        return next((one for one in self._queue if one.session is None and one.state == WAITING), None)

    def _prune(self) -> Task | None:
        """The oldest of the queue, after what stands before it and does not wait there any more is let go."""
        queue = self._queue
        while queue:
            task = queue[0]
            session = task.session
            if session is None:
                if task.state == WAITING:
                    return task
            elif session.worker is None and not session.sent:
                # The first of its session may have been withdrawn, or failed: the next one stands in its place.
                first = _first(session)
                if first is not None:
                    queue[0] = first
                    return first
            queue.popleft()
        return None

    def _takes_sessions(self, it: _Worker) -> bool:
        """An old worker takes no new ones, unless there are only old ones."""
        return not it.is_old or all(one.is_old for one in self._workers.values() if not one.is_draining)

    def _stray(self, it: _Worker) -> Task | None:
        """An operation that waits for another worker, which its session only prefers."""
        found: Task | None = None
        for session in list(self._hinting):
            first = _first(session)
            if first is None or session.worker is None:
                del self._hinting[session]
            elif session.worker is not it and not session.sent and not first.closes:
                found = first if found is None else min(found, first)
        return found

    def _serve(self, now: float, it: _Worker) -> None:
        """Give a worker what it may take: one operation where it is idle, more where they are short."""
        if it.doom is not None:
            return
        if it.is_draining:
            if not it.sent and it.state != "stopping":
                self._stop(now, it, it.why_leaving)
            return
        if self._deadlines and self._deadlines[0][0] <= now:
            self._expire_operations(now)  # nothing is begun after its deadline because the tick is late
        if not (self._queue or it.waiting or self._hinting):
            if not it.sent and it.state != "ready":
                self._turn(now, it, "ready")
            return
        batch: list[Task] = []
        if it.load_s <= PREFETCH_S / 2:
            share = 1 + self._queued // max(1, len(self._workers))
            while (task := self._next(it)) is not None:
                if it.sent and not (len(batch) < share and self._may_prefetch(it, task)):
                    break
                self._take(now, it, task)
                self._hand(now, it, task)
                batch.append(task)
        if batch:
            self._effects.append(Send(it.number, batch))
            if len(it.sent) > 1:
                self._wake(it.head_at + RECALL_S)
        elif not it.sent and it.state != "ready":
            self._turn(now, it, "ready")

    def _may_prefetch(self, it: _Worker, task: Task) -> bool:
        if task.deadline_at != _NEVER or self._idle or len(it.sent) >= _PREFETCH_MOST or task.size > _PREFETCH_SIZE:
            return False
        if it.sent[-1].sequence <= it.recalled:
            return False  # that may come back yet, and what was sent behind it would run before it
        if it.sent[0].estimate == _NEVER:
            return False  # nobody knows how long it is at that
        return it.load_s + self._estimates.get(task.cost, _NEVER) <= PREFETCH_S

    def _take(self, now: float, it: _Worker, task: Task) -> None:
        """Out of where it waits; `_next` has said that it is the first there."""
        self._queued -= 1
        session = task.session
        if session is None:
            if self._queue[0] is task:
                self._queue.popleft()
            else:
                self._queue.remove(task)
            return
        _first(session)
        del session.waiting[0]
        if session.worker is None:
            self._queue.popleft()
        elif session.worker is it:
            heappop(it.waiting)

    def _hand(self, now: float, it: _Worker, task: Task) -> None:
        """From here on a worker holds it."""
        session = task.session
        if session is not None:
            if session.worker is not it:
                self._bind(now, session, it)
            task.opens = not session.is_open
            session.is_open = True
            session.sent += 1
            task.epoch = session.epoch
        it.sequence += 1
        task.sequence = it.sequence
        task.state = SENT
        task.attempts += 1
        task.estimate = self._estimates.get(task.cost, _NEVER)
        if task.estimate != _NEVER:
            it.load_s += task.estimate
        if not it.sent:
            it.head_at = now
        it.sent.append(task)
        if it.state == "ready":
            self._turn(now, it, "busy")
        if self.is_observed:
            self._tell(now, "operation", "sent", it, task=task)

    def _refill(self, now: float) -> None:
        """Work came back, or a session came free: idle workers may take it."""
        for it in list(self._idle.values()):
            if it.state == "ready":
                self._serve(now, it)

    def _take_back(self, now: float, it: _Worker, tasks: list[Task]) -> None:
        """What a living worker was sent, and will not begin, waits again."""
        for task in tasks:
            task.attempts -= 1
            if task.estimate != _NEVER:
                it.load_s -= task.estimate
            if task.session is not None:
                task.session.sent -= 1
                if task.opens:
                    task.session.is_open = False  # the worker never came to open it
                if task.session.worker is it:
                    heappush(it.waiting, (task.number, task))
        self._give_back(tasks)
        for task in tasks:
            if task.session is not None and task.session.worker is None:  # refused since: nothing else sees to it
                self._seek(now, task.session, _not_held(it))

    def _recall(self, now: float, it: _Worker) -> None:
        """An operation takes longer than what was sent behind it can wait."""
        at = it.head_at + RECALL_S
        if now < at:
            self._wake(at)
        elif it.recalling is None:
            it.recalling = (it.sent[1].sequence, it.sent[-1].sequence)
            it.recalled = it.sent[-1].sequence
            self._effects.append(Recall(it.number, *it.recalling))
            self._wake(now + RECALL_S)

    def _give_back(self, tasks: list[Task]) -> None:
        """Back to where they waited, at the place that their numbers give them; who belongs to a session, in that."""
        is_sorted = True
        for task in reversed(tasks):
            task.state = WAITING
            self._queued += 1
            if task.session is None:
                self._queue.appendleft(task)
                is_sorted &= len(self._queue) == 1 or task.number < self._queue[1].number
                self._want_growth(task.since)
            else:
                task.session.waiting.insert(0, task)
                task.session.waiting.sort()
        if not is_sorted:
            self._queue = deque(sorted(self._queue))

    def _settle(self, task: Task) -> None:
        """It is resolved, whatever the outcome."""
        if task.state == WAITING:
            self._queued -= 1
        task.state = DONE
        self._unresolved -= 1
        session = task.session
        if session is not None:
            session.pending -= 1
            if not session.pending and not session.epoch and not self._is_closing(session):
                del self._sessions[session.key]  # none of its operations ever ran: it has not begun

    def _fail(self, now: float, task: Task, error: SessionPoolError) -> None:
        self._settle(task)
        if task.session is not None:
            self._touch(now, task.session)
        self._effects.append(Resolve(task, error))
        self._tell(now, "operation", "resolved", task=task, detail=type(error).__name__)

    def _fail_late(self, now: float, task: Task, *, started: bool, pid: int | None) -> None:
        assert task.deadline_s is not None  # noqa: S101 - it has passed
        self._fail(now, task, DeadlineExceeded(deadline_s=task.deadline_s, started=started, pid=pid))

    def _learn(self, cost: Hashable, took_ns: int) -> None:
        """A kind is as long as its latest longest was; what was long once is forgotten slowly."""
        estimates = self._estimates
        if len(estimates) > _ESTIMATES:
            estimates.clear()
        took = took_ns * 1e-9 + _OVERHEAD_S
        before = estimates.get(cost, took)
        estimates[cost] = took if took >= before else _FADE * before + (1 - _FADE) * took

    def _all_waiting(self) -> list[Task]:
        found: dict[int, Task] = {task.number: task for task in self._queue if task.state == WAITING}
        for task in self._queue:
            if task.session is not None:
                found.update((one.number, one) for one in task.session.waiting if one.state == WAITING)
        for it in self._workers.values():
            found.update((number, task) for number, task in it.waiting if task.state == WAITING)
            for task in it.sent:  # a session whose operations are being refused waits nowhere else
                if task.session is not None:
                    found.update((one.number, one) for one in task.session.waiting if one.state == WAITING)
        return [found[number] for number in sorted(found)]

    # --- sessions -----------------------------------------------------------------------------------------------

    def _admit(self, now: float, task: Task) -> _Session | SessionPoolError:
        """The session that an operation belongs to, opened where it may be."""
        key = task.key
        affinity = task.affinity or self.settings.sessions.affinity
        session = self._sessions.get(key)
        if session is not None and self._is_astray(session):
            self._unbind(session)
            if affinity == "strict" and not task.closes:
                self._lose(now, session, SessionLost, f"its worker {session.pid} is not there any more")
                session = None
        if session is not None:
            if not task.closes:
                session.affinity = affinity
            self._touch(now, session)
            return session
        grave = self._graves.get(key)
        if grave is not None and (affinity == "strict" or task.existing):
            return grave.kind(key, grave.reason, pid=grave.pid, epoch=grave.epoch)
        if task.existing:
            return SessionUnknown(key, "there is none, and this operation must not open it")
        limit = self.settings.sessions.max_count
        if limit is not None and len(self._sessions) >= limit:
            raise PoolSaturated("sessions", limit)
        self._graves.pop(key, None)
        session = self._sessions[key] = _Session(key, affinity)
        self._touch(now, session)
        return session

    def _touch(self, now: float, session: _Session) -> None:
        session.used_at = now
        ttl_s = self.settings.sessions.ttl_s
        if ttl_s is not None and self._sessions.get(session.key) is session:
            self._sessions.move_to_end(session.key)
            self._wake(now + ttl_s)

    def _bind(self, now: float, session: _Session, it: _Worker) -> None:
        """A new epoch of a session begins in a worker; what it still has waiting goes there with it."""
        what = "opened"
        if session.worker is not None:
            self._effects.append(Forget(session.worker.number, session.epoch))
            self._unbind(session)
            what = "moved"
        self._epochs += 1
        session.epoch = self._epochs
        session.is_open = False
        session.worker = it
        session.pid = it.pid
        it.sessions[session.epoch] = session
        for task in session.waiting:
            if task.state == WAITING:
                heappush(it.waiting, (task.number, task))
                if session.affinity == "hint":
                    self._hinting[session] = None
        self._tell(now, "session", what, it, key=session.key)

    def _unbind(self, session: _Session) -> None:
        if session.worker is not None:
            session.worker.sessions.pop(session.epoch, None)
            session.worker = None
            self._hinting.pop(session, None)

    def _bereave(self, now: float, it: _Worker, reason: str, others: Iterable[_Session] = ()) -> None:
        """The sessions of a worker that is gone, or goes: each gets what it is owed.

        Those of operations that it held are among them, though it may have refused them before.
        """
        homeless = []
        # A table may be corrupted: who waits here is bereft, be it there or not, and who lives elsewhere is not.
        guests = [task.session for _, task in it.waiting if task.session is not None and task.state == WAITING]
        it.waiting.clear()
        theirs = dict.fromkeys(
            one for one in (*it.sessions.values(), *others, *guests) if one.worker is it or one.worker is None
        )
        for session in theirs:
            self._unbind(session)
            first = self._displace(now, session, reason)
            if first is not None:
                homeless.append(first)
        for first in sorted(homeless, reverse=True):
            self._queue.appendleft(first)
            self._want_growth(first.since)

    def _displace(self, now: float, session: _Session, reason: str) -> Task | None:
        """A session has no worker any more: it is over, or goes on elsewhere, with the operation that is returned."""
        first = _first(session)
        if session.grave is not None:
            self._lose(now, session, session.grave.kind, session.grave.reason)
        elif first is not None and first.closes:
            session.waiting.clear()
            self._settle(first)
            self._effects.append(Resolve(first, None))
        elif session.affinity == "strict":
            self._lose(now, session, SessionLost, reason)
        else:
            return first
        return None

    def _seek(self, now: float, session: _Session, reason: str) -> None:
        """The same while its worker lives, and may hold more of it: nothing goes out until all that is back."""
        first = self._displace(now, session, reason)
        if first is not None and not session.sent:
            self._queue.appendleft(first)
            self._want_growth(first.since)

    def _is_astray(self, session: _Session) -> bool:
        """Whether its entry names a worker that there is not: nobody would ever take what waited for that one."""
        home = session.worker
        return home is not None and self._workers.get(home.number) is not home

    def _is_closing(self, session: _Session) -> bool:
        return self._sessions.get(session.key) is not session

    def _lose(self, now: float, session: _Session, kind: type[SessionLost], reason: str) -> None:
        """A session is over without having been closed: what still waits for it fails, and its key is remembered."""
        waiting = [task for task in session.waiting if task.state == WAITING]
        session.waiting.clear()
        if session.grave is None:
            session.grave = _Grave(kind, reason, session.pid, session.epoch)
            what = "expired" if kind is SessionExpired else "lost"
            self._tell(now, "session", what, key=session.key, detail=reason)
        if not self._is_closing(session):
            del self._sessions[session.key]
            self._graves[session.key] = session.grave
            if len(self._graves) > _GRAVES:
                self._graves.popitem(last=False)
        for task in waiting:
            if task.closes:
                self._settle(task)
                self._effects.append(Resolve(task, None))
            else:
                self._fail(now, task, kind(session.key, reason, pid=session.pid, epoch=session.epoch))

    def _refused(self, now: float, it: _Worker, task: Task) -> None:
        """A worker does not hold the epoch that an operation was sent under, and has not run it.

        It will refuse what else it was sent under that epoch, or return it.
        """
        session = task.session
        assert session is not None  # noqa: S101 - only an epoch is refused
        if session.worker is it and session.epoch == task.epoch:
            self._unbind(session)
        task.attempts -= 1
        if task.deadline_at <= now:
            self._fail_late(now, task, started=task.attempts > 0, pid=None)
        else:
            self._give_back([task])
        self._seek(now, session, _not_held(it))

    # --- workers ------------------------------------------------------------------------------------------------

    def _turn(self, now: float, it: _Worker, state: State) -> None:
        it.state = state
        it.since = now
        if state == "ready":
            self._idle[it.number] = it
            if len(self._workers) > self._least:
                self._wake(now + self.settings.timing.shrink_s)
        elif it.number in self._idle:
            del self._idle[it.number]
        if self.is_observed:
            self._tell(now, "worker", state, it)

    def _top_up(self, now: float) -> None:
        """As many workers as there must be at least; none where nothing is left to do."""
        if not self._wants_workers:
            return
        missing = self.settings.min_workers - self._living()
        if missing <= 0:
            return
        if now < self._not_before:
            self._wake(self._not_before)
            return
        for _ in range(missing):
            self._start(now)

    def _make_up(self, now: float) -> None:
        """For a worker that is gone: idle ones take what it held, and others are started."""
        self._refill(now)
        self._top_up(now)
        head = self._prune()
        if head is not None:
            self._want_growth(head.since)  # there is room now; while there was none, nobody was to look again
        self._maybe_finish(now)

    @property
    def _wants_workers(self) -> bool:
        return self._phase == "open" or (self._phase == "closing" and self._unresolved > 0)

    def _living(self) -> int:
        return sum(it.doom is None and not it.is_draining and it.state != "stopping" for it in self._workers.values())

    def _start(self, now: float) -> None:
        self._incarnations += 1
        it = self._workers[self._incarnations] = _Worker(self._incarnations, now)
        self._effects.append(Start(it.number))
        self._wake(now + self.settings.timing.start_s)
        if self.settings.recycling.age_s is not None:
            self._wake(now + self.settings.recycling.age_s)
        self._tell(now, "worker", "starting", it)

    def _start_failed(self, now: float, it: _Worker, words: str) -> None:
        """Wait before the next start; workers that were started together fail together, and count once."""
        restarts = self.settings.restarts
        self._last_words.append(words)
        if it.born_at <= self._round + restarts.backoff_s / 2:  # the next round waits for longer than that
            return
        self._round = it.born_at
        self._failures += 1
        wait_s = min(restarts.max_backoff_s, restarts.backoff_s * 2 ** min(self._failures - 1, 32))
        self._not_before = now + wait_s * self._chance.uniform(0.5, 1.5)
        self._wake(self._not_before)
        alone = all(it.state in ("starting", "stopping") for it in self._workers.values())
        if self._failures >= restarts.max_failures and alone:
            error = PoolBroken(
                f"workers were started {self._failures} times in a row and none became ready, and no other is left. "
                "The last ones:",
                tuple(self._last_words),
            )
            self._break(now, error)
            for it in self._workers.values():
                self._doom(now, it, "the pool is broken")

    def _break(self, now: float, error: PoolBroken) -> None:
        if self._broken is not None:
            return
        self._broken = error
        self._phase = "broken"
        self._tell(now, "pool", "broken", detail=str(error))
        for task in self._all_waiting():
            self._fail(now, task, error)

    def _doom(self, now: float, it: _Worker, reason: str, culprit: Task | None = None) -> None:
        """End a worker; what it held is seen to when it is surely gone."""
        if it.doom is not None:
            return
        it.doom = (reason, culprit)
        self._idle.pop(it.number, None)
        self._effects.append(Kill(it.number))
        # Counted now, and not when it is surely gone: others would be started in its place before that, without a wait.
        if it.state == "starting" and self._wants_workers:
            self._start_failed(now, it, f"worker {it.pid} did not become ready: {reason}")

    def _age(self, now: float, it: _Worker) -> None:
        """It has served its time: it goes once no session would be lost by it."""
        it.is_old = True
        if not it.is_draining and not any(one.affinity == "strict" for one in it.sessions.values()):
            self._drain(now, it, "it has served its time")

    def _drain(self, now: float, it: _Worker, why: str) -> None:
        """It takes nothing more, and stops when it has answered; another one takes its place at once."""
        it.is_draining = True
        it.why_leaving = why
        if not it.sent:
            self._stop(now, it, why)
        self._top_up(now)

    def _stop(self, now: float, it: _Worker, why: str) -> None:
        it.is_draining = True
        self._turn(now, it, "stopping")
        self._bereave(now, it, f"its worker {it.pid} was replaced: {why}")
        self._effects.append(Stop(it.number))
        self._wake(now + self.settings.timing.stop_s)
        self._refill(now)

    # --- time ---------------------------------------------------------------------------------------------------

    def _wake(self, at: float) -> None:
        if at < self.due:
            self.due = at

    def _expire_operations(self, now: float) -> None:
        deadlines = self._deadlines
        if len(deadlines) > 64 and len(deadlines) > 4 * self._unresolved:
            deadlines[:] = [entry for entry in deadlines if entry[2].state != DONE]
            heapify(deadlines)
        while deadlines and (deadlines[0][0] <= now or deadlines[0][2].state == DONE):
            task = heappop(deadlines)[2]
            if task.state == WAITING:
                self._fail_late(now, task, started=task.attempts > 0, pid=None)
            elif task.state == SENT:
                holder = next(it for it in self._workers.values() if task in it.sent)
                self._doom(now, holder, "an operation passed its deadline", task)
        if deadlines:
            self._wake(deadlines[0][0])

    def _look_after(self, now: float, it: _Worker) -> None:
        timing = self.settings.timing
        if it.doom is not None:
            return
        if it.state == "starting":
            if now >= it.since + timing.start_s:
                self._doom(now, it, f"it was not ready within {timing.start_s:g} s")
            else:
                self._wake(it.since + timing.start_s)
                age_s = self.settings.recycling.age_s
                if age_s is not None and it.born_at + age_s > now:
                    self._wake(it.born_at + age_s)
        elif it.state == "stopping":
            if now >= it.since + timing.stop_s:
                self._doom(now, it, f"it had not left within {timing.stop_s:g} s")
            else:
                self._wake(it.since + timing.stop_s)
        elif self.settings.recycling.age_s is not None and not it.is_draining:
            if now >= it.born_at + self.settings.recycling.age_s:
                self._age(now, it)
            else:
                self._wake(it.born_at + self.settings.recycling.age_s)
        if len(it.sent) > 1:
            self._recall(now, it)
        if it.is_old and not it.is_draining:
            self._age(now, it)
            self._wake(now + timing.stall_s)

    def _expire_sessions(self, now: float) -> None:
        ttl_s = self.settings.sessions.ttl_s
        if ttl_s is None:
            return
        while self._sessions:  # the longest unused comes first; each that is seen leaves, or goes to the end
            session = next(iter(self._sessions.values()))
            if session.used_at + ttl_s > now:
                self._wake(session.used_at + ttl_s)
                break
            if session.pending:  # it is in use, however long that takes
                self._touch(now, session)
                continue
            if session.worker is not None:
                self._effects.append(Forget(session.worker.number, session.epoch))
                self._unbind(session)
            self._lose(now, session, SessionExpired, f"it was unused for {ttl_s:g} s")

    def _want_growth(self, since: float) -> None:
        if self.settings.min_workers < self.settings.max_workers:
            self._wake(since + self.settings.timing.grow_s)

    def _grow(self, now: float) -> None:
        """More workers while work waits for one, up to as many as wait."""
        room = self.settings.max_workers - self._living()
        if self._phase == "broken" or room <= 0 or self._prune() is None:
            return
        grow_s = self.settings.timing.grow_s
        if now < self._queue[0].since + grow_s:
            self._wake(self._queue[0].since + grow_s)
            return
        starting = sum(it.state == "starting" for it in self._workers.values())
        wanted = min(room, min(len(self._queue), self._queued) - starting)
        if wanted > 0 and now >= self._not_before:
            self._tell(now, "pool", "growing", detail=f"by {wanted}")
            for _ in range(wanted):
                self._start(now)
        self._wake(max(now + max(grow_s, 0.01), self._not_before))

    def _shrink(self, now: float) -> None:
        """Those beyond the smallest number that have idled for long, and hold no session, leave."""
        spare = self._living() - self.settings.min_workers
        if spare <= 0:
            return
        for it in list(self._idle.values()):
            at = it.since + self.settings.timing.shrink_s
            if at > now:
                self._wake(at)
                break
            if spare > 0 and not it.sessions:
                spare -= 1
                self._tell(now, "pool", "shrinking")
                self._stop(now, it, "it had nothing to do")
            else:
                self._wake(now + self.settings.timing.shrink_s)

    def _maybe_finish(self, now: float) -> None:
        """Once the pool is closing and nothing is left to resolve, every worker is asked to leave."""
        if self._phase != "open" and not self._unresolved:
            if self._phase == "closing":  # its sessions end with it: none is lost
                for session in self._sessions.values():
                    self._unbind(session)
                self._sessions.clear()
            for it in list(self._workers.values()):
                if it.doom is None and it.state != "stopping":
                    if it.state == "starting":
                        self._doom(now, it, "the pool is closing")
                    else:
                        self._stop(now, it, "the pool is closing")

    # --- effects ------------------------------------------------------------------------------------------------

    def _done(self) -> list[Effect]:
        effects = self._effects
        if effects:
            self._effects = []
            return effects
        return _NOTHING

    def _tell(
        self,
        now: float,
        subject: Subject,
        what: str,
        it: _Worker | None = None,
        *,
        task: Task | None = None,
        key: Hashable = None,
        detail: str = "",
    ) -> None:
        if self.is_observed:
            event = Event(
                at_s=now,
                subject=subject,
                what=what,
                worker=0 if it is None else it.number,
                pid=None if it is None else it.pid,
                key=key if task is None else task.key,
                operation=0 if task is None else task.number,
                detail=detail,
            )
            self._effects.append(Publish(event))


def _seen(it: _Worker) -> State:
    """Whoever is doomed is on its way out, whatever it was at."""
    return it.state if it.doom is None else "stopping"


def _not_held(it: _Worker) -> str:
    return f"its worker {it.pid} does not hold its state"


def _home(task: Task) -> _Worker | None:
    return None if task.session is None else task.session.worker


def _first(session: _Session) -> Task | None:
    """The first of a session that still waits; those that do not any more are let go."""
    waiting = session.waiting
    while waiting and waiting[0].state != WAITING:
        del waiting[0]
    return waiting[0] if waiting else None
