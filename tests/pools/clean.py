"""A small process pool that keeps every promise: the pool on which each check has to stay silent.

Each worker process is owned by one thread of the parent, which starts it, feeds it one operation at a time, reads its
answer, and replaces it where it died; the other owners go on meanwhile. What waits is served in the order in which it
was submitted; what is more than may wait is refused at once. A session stays with one owner, whose worker holds its
state; when that worker dies, the session goes on in the next one with a fresh state. What passes its deadline fails
then: it never runs where it waited, and where it ran its worker is killed.

`Habits` names the seams where pools go wrong; mutants change one of them.
"""

import contextlib
import ctypes
import math
import multiprocessing
import os
import pickle
import select
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum, auto
from multiprocessing.connection import Connection
from typing import Any, Final

from poolproof.plan import IMPLIED, PROMISES, Claim, Claims, Operation
from poolproof.probe import Call

_STOP: Final = b""
_TAKEN: Final = b"taken"
_NEVER: Final = math.inf
_SECOND_NS: Final = 1_000_000_000
_PR_SET_PDEATHSIG: Final = 1
_prctl: Final = ctypes.CDLL(None).prctl  # looked up here: after a fork among threads, as little as possible is done


class PoolError(Exception):
    """Base of every error that is the pool's own."""


class WorkerDied(PoolError):  # noqa: N818 - it says what happened
    """The worker died while it held the operation, which may have had effects or not."""


class NotTransferable(PoolError):  # noqa: N818 - it says what happened
    """A result or an exception did not pickle in the worker, or did not unpickle here."""


class PoolClosed(PoolError):  # noqa: N818 - it says what happened
    """Work was handed over after the close."""


class PoolSaturated(PoolError):  # noqa: N818 - it says what happened
    """As many operations wait as may wait, and this one was not taken."""


class DeadlineExceeded(PoolError):  # noqa: N818 - it says what happened
    """The operation had not ended by its deadline: it never ran, or was ended with its worker."""


_SOURCE: Final = "tests/pools/clean.py, its first lines"
CLAIMS: Final = Claims(
    promises={name: Claim(made="promised", source=_SOURCE) for name in PROMISES if name not in IMPLIED},
    errors=(f"{__name__}.{PoolError.__name__}",),
    overload=(f"{__name__}.{PoolSaturated.__name__}",),
    detection_s=0.3,
)

States = dict[int, dict[str, Any]]
"""A worker's sessions, each with its own state."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """An operation, the future that its client waits on, and the one owner that may serve it; None for any."""

    operation: Operation
    future: "Future[Any]"
    home: int | None

    @property
    def deadline_ns(self) -> float:
        """The moment by which it must have ended; infinity where there is none."""
        return _NEVER if self.operation.deadline_ns is None else self.operation.deadline_ns

    def is_late(self) -> bool:
        """Whether its deadline has passed."""
        return time.monotonic_ns() >= self.deadline_ns


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process and the parent's end of its pipe."""

    pid: int
    pipe: Connection


# --- the habits -------------------------------------------------------------------------------------------------


def live_with_parent(parent_pid: int, ends_of_parent: Iterable[Connection]) -> None:
    """Die with the parent even while busy; and hold no copy of its ends, or no worker would see the end of its pipe."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)
    for end in ends_of_parent:
        end.close()


def settle_session(homes: dict[int, int], session: int, owners: int) -> int | None:
    """Give a session to an owner when it is first seen, to each in turn, and to the same one ever after."""
    return homes.setdefault(session, len(homes) % owners)


def serve_in_turn(waiting: Sequence[Job], me: int) -> Job | None:
    """The oldest operation that this owner may serve: one of its own sessions, or of none."""
    return next((job for job in waiting if job.home in (None, me)), None)


def fail_as_died(job: Job) -> None:
    """Tell the client that its operation was lost with its worker."""
    job.future.set_exception(WorkerDied(f"the worker died while it held operation {job.operation.op}"))


def fail_as_late(job: Job) -> None:
    """Tell the client that the time of its operation is up."""
    job.future.set_exception(DeadlineExceeded(f"operation {job.operation.op} had not ended by its deadline"))


def kill(job: Job, worker: Worker) -> None:
    """End what runs past its deadline, with its worker; their owner will notice, and see to both."""
    os.kill(worker.pid, signal.SIGKILL)


def dismiss(worker: Worker) -> None:
    """Ask an idle worker to leave, and see it out."""
    with contextlib.suppress(OSError):  # it may be dead already
        worker.pipe.send_bytes(_STOP)
    retire(worker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What the pool does at each seam.

    Attributes:
        run: carries out a call, in the worker, on the state of its session where it has one.
        recall: finds a session's state, in the worker.
        settle_in: ties a new worker to its parent, in the worker.
        room: how many operations may wait for each worker, before more are refused.
        settle_session: the owner of a session, or None for any; called under the pool's lock.
        choose: what an owner serves next, of all that waits; called under the pool's lock.
        overrun: sees to a worker whose operation passes its deadline; called under the pool's lock.
        admit: an error for an operation that shall not run, in the parent.
        succeed: hands a result to its client.
        fail: hands the user's own error, or one of a transfer, to its client.
        mourn: sees to the operation that a dead worker held.
        replaces: whether a dead worker is replaced.
        dismiss: ends an idle worker, at the close.
        leave: the last act of a close.
    """

    run: Callable[[Call, dict[str, Any] | None], Any] = lambda call, state: call() if state is None else call(state)
    recall: Callable[[States, int], dict[str, Any]] = lambda states, session: states.setdefault(session, {})
    settle_in: Callable[[int, Iterable[Connection]], None] = live_with_parent
    room: int = 32
    settle_session: Callable[[dict[int, int], int, int], int | None] = settle_session
    choose: Callable[[Sequence[Job], int], Job | None] = serve_in_turn
    overrun: Callable[[Job, Worker], None] = kill
    admit: Callable[[Job], PoolError | None] = lambda job: None
    succeed: Callable[[Job, Any], None] = lambda job, result: job.future.set_result(result)
    fail: Callable[[Job, BaseException], None] = lambda job, error: job.future.set_exception(error)
    mourn: Callable[[Job], None] = fail_as_died
    replaces: bool = True
    dismiss: Callable[[Worker], None] = dismiss
    leave: Callable[[], None] = lambda: None


CLEAN: Final = Habits()

# --- the worker's side ------------------------------------------------------------------------------------------


def _serve(pipe: Connection, habits: Habits) -> None:
    states: States = {}
    while (request := pipe.recv_bytes()) != _STOP:
        pipe.send_bytes(_TAKEN)  # from here on the operation may have effects, so it must not be given to another
        pipe.send_bytes(_answer(request, habits, states))


def _answer(request: bytes, habits: Habits, states: States) -> bytes:
    try:
        session, call = pickle.loads(request)
        answer = (True, habits.run(call, None if session is None else habits.recall(states, session)))
    except BaseException as error:  # SystemExit and its like are the operation's own, and the worker goes on
        answer = (False, error)
    try:
        return pickle.dumps(answer)
    except BaseException as error:  # a user's own `__reduce__` may raise anything
        return pickle.dumps((False, NotTransferable(f"{type(answer[1]).__name__} does not pickle: {error!r}")))


# Forks are made one at a time, for all pools of the process: a worker that inherited the worker's end of another pipe
# would keep its parent from noticing the other one's death.
_starting: Final = threading.Lock()
_ends: Final[set[Connection]] = set()


def start(habits: Habits) -> Worker:
    """Fork a worker. PDEATHSIG tells of the death of the thread that forked, so the owner of the worker has to."""
    with _starting:
        ours, theirs = multiprocessing.Pipe()
        _ends.add(ours)
        parent_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                habits.settle_in(parent_pid, _ends)
                _serve(theirs, habits)
            finally:
                os._exit(0)  # nothing of the parent's is to be run, flushed or cleaned up here
        theirs.close()
    return Worker(pid, ours)


def retire(worker: Worker) -> None:
    """Wait for a worker that ends or has ended, and let go of its pipe."""
    with _starting:
        _ends.discard(worker.pipe)
        worker.pipe.close()
    os.waitpid(worker.pid, 0)


# --- the parent's side ------------------------------------------------------------------------------------------


class _Fate(Enum):
    ANSWERED = auto()
    NOT_BEGUN = auto()
    DIED = auto()


class _Sign(Enum):
    CLOSE = auto()
    WORKER_DIED = auto()


class CleanPool:
    """A fixed number of workers behind one list of what waits, in the order of submission.

    `_lock` guards all that threads share: `_waiting`, `_held`, `_homes`, `_alarm`, `_closed` and `_over`. Whoever takes
    an operation out of `_waiting`, be it an owner, the timekeeper or the close, is the only one to see to its future,
    and does so without the lock: a client's callback may submit again.

    An owner waits for work and for the death of its worker at once, hence in `poll`, and each has a bell of its own, an
    eventfd: others ring it, only the owner silences it, and no ring is lost:

    - Who adds an operation rings afterwards, and the owner silences its bell before it looks: what its look did not
      find will ring once more. Any owner may serve an operation without a session, so it rings for all of them.
    - An owner that found one rings for itself, since more may wait: back from it, it looks again before it waits.
    - The close rings for all. An owner leaves when a look finds nothing: nothing can be added any more.

    The timekeeper sleeps until `_alarm`, the earliest deadline of all that waits or is held. Whoever adds an earlier
    one, under the same lock, wakes it, so between two of its looks no deadline is overslept. It kills a worker only
    while its owner holds it for an operation, and the owner lets go before it reaps: it never meets another's pid.
    """

    claims = CLAIMS

    def __init__(self, workers: int, habits: Habits = CLEAN) -> None:
        self._habits = habits
        self._lock = threading.Lock()
        self._closed = self._over = False
        self._waiting: list[Job] = []
        self._held: dict[int, tuple[Job, Worker]] = {}
        self._homes: dict[int, int] = {}
        self._alarm = _NEVER
        self._earlier = threading.Condition(self._lock)
        self._bells = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(workers)]
        forked = threading.Semaphore(0)
        self._owners = [
            threading.Thread(target=self._own, args=(me, forked), name=f"owner-{me}", daemon=True)
            for me in range(workers)
        ]
        self._timekeeper = threading.Thread(target=self._keep_time, name="timekeeper", daemon=True)
        for thread in (self._timekeeper, *self._owners):
            thread.start()
        # A worker that is forked while its client imports something inherits the lock of that module, locked for ever.
        # So the client is kept here until the forks are done: what it imports next, they import by themselves.
        for _ in self._owners:
            forked.acquire()

    def submit(self, operation: Operation) -> "Future[Any]":
        with self._lock:
            if self._closed:
                raise PoolClosed(f"operation {operation.op} came after the close")
            if len(self._waiting) >= self._habits.room * len(self._bells):
                raise PoolSaturated(f"operation {operation.op} would be one too many: {len(self._waiting)} are waiting")
            job = Job(operation, Future(), self._home(operation.session))
            self._waiting.append(job)
            self._mind(job)
            for bell in self._bells if job.home is None else (self._bells[job.home],):
                os.eventfd_write(bell, 1)
        return job.future

    def close(self, *, cancel: bool = False) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            dropped = self._waiting if cancel else []
            self._waiting = [] if cancel else self._waiting
            for bell in self._bells:
                os.eventfd_write(bell, 1)
        for job in dropped:
            job.future.cancel()
            job.future.set_running_or_notify_cancel()
        for owner in self._owners:
            owner.join()
        with self._lock:  # only now: what the owners still had to do has deadlines too
            self._over = True
            self._earlier.notify()
        self._timekeeper.join()
        for bell in self._bells:
            os.close(bell)
        self._habits.leave()

    def _home(self, session: int | None) -> int | None:
        return None if session is None else self._habits.settle_session(self._homes, session, len(self._bells))

    # --- the owners ---------------------------------------------------------------------------------------------

    def _own(self, me: int, forked: threading.Semaphore) -> None:
        """Own one worker after the other, until the close."""
        habits = self._habits
        try:
            worker = start(habits)
        finally:
            forked.release()
        while (entry := self._next(me, worker)) is not _Sign.CLOSE:
            fate = self._carry_out(me, worker, entry) if isinstance(entry, Job) else _Fate.DIED
            while fate is not _Fate.ANSWERED:
                retire(worker)
                if not habits.replaces:
                    return
                worker = start(habits)
                if isinstance(entry, Job) and fate is _Fate.NOT_BEGUN:
                    # What the dead worker had not even taken cannot have had effects: the next one may have it.
                    fate = self._hand_over(me, worker, entry)
                else:
                    fate = _Fate.ANSWERED
        habits.dismiss(worker)

    def _next(self, me: int, worker: Worker) -> Job | _Sign:
        poller = select.poll()
        poller.register(self._bells[me], select.POLLIN)
        poller.register(worker.pipe, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll()}
            if worker.pipe.fileno() in ready:
                return _Sign.WORKER_DIED  # an idle worker has nothing to say
            os.eventfd_read(self._bells[me])
            with self._lock:
                job = self._habits.choose(self._waiting, me)
                if job is not None:
                    self._waiting.remove(job)
                    os.eventfd_write(self._bells[me], 1)
                    return job
                if self._closed:
                    return _Sign.CLOSE

    def _carry_out(self, me: int, worker: Worker, job: Job) -> _Fate:
        if not job.future.set_running_or_notify_cancel():
            return _Fate.ANSWERED
        refusal = self._habits.admit(job)
        if refusal is not None:
            job.future.set_exception(refusal)
            return _Fate.ANSWERED
        return self._hand_over(me, worker, job)

    def _hand_over(self, me: int, worker: Worker, job: Job) -> _Fate:
        try:
            request = pickle.dumps((job.operation.session, job.operation.call))
        except BaseException as error:  # the payload's own refusal, as itself
            self._habits.fail(job, error)
            return _Fate.ANSWERED
        if job.is_late():
            fail_as_late(job)
            return _Fate.ANSWERED
        fate = _Fate.NOT_BEGUN
        try:
            with self._holding(me, worker, job):
                worker.pipe.send_bytes(request)
                worker.pipe.recv_bytes()
                fate = _Fate.DIED
                answer = worker.pipe.recv_bytes()
        except (EOFError, OSError):
            if job.is_late():  # most likely that is what it died of; in any case it may not be begun any more
                fail_as_late(job)
                return _Fate.DIED
            if fate is _Fate.DIED:
                self._habits.mourn(job)
            return fate
        try:
            returned, value = pickle.loads(answer)
        except BaseException as error:  # a user's own class may raise anything
            text = f"what operation {job.operation.op} ended with does not unpickle: {error!r}"
            returned, value = False, NotTransferable(text)
        if returned:
            self._habits.succeed(job, value)
        else:
            self._habits.fail(job, value)
        return _Fate.ANSWERED

    @contextlib.contextmanager
    def _holding(self, me: int, worker: Worker, job: Job) -> Iterator[None]:
        """While it lasts, the timekeeper may kill the worker because of the operation."""
        with self._lock:
            self._held[me] = (job, worker)
            self._mind(job)
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(me, None)

    # --- the timekeeper -----------------------------------------------------------------------------------------

    def _mind(self, job: Job) -> None:
        """Wake the timekeeper where it would sleep past this deadline; the lock is held."""
        if job.deadline_ns < self._alarm:
            self._earlier.notify()

    def _keep_time(self) -> None:
        """Fail what waits and end what runs at their deadlines, until the close is over."""
        while expired := self._await_expiry():
            for job in expired:
                if job.future.set_running_or_notify_cancel():
                    fail_as_late(job)

    def _await_expiry(self) -> list[Job]:
        """End what runs too long, until something has waited too long; nothing once the close is over."""
        with self._lock:
            while not self._over:
                for me, (job, worker) in list(self._held.items()):
                    if job.is_late():
                        self._habits.overrun(job, worker)
                        del self._held[me]
                expired = [job for job in self._waiting if job.is_late()]
                if expired:
                    self._waiting = [job for job in self._waiting if job not in expired]
                    return expired
                minded = [*self._waiting, *(job for job, _ in self._held.values())]
                self._alarm = min((job.deadline_ns for job in minded), default=_NEVER)
                sleep_s = max(0.0, (self._alarm - time.monotonic_ns()) / _SECOND_NS)
                self._earlier.wait(min(sleep_s, threading.TIMEOUT_MAX))
        return []


def make(*, workers: int) -> CleanPool:
    """The clean pool."""
    return CleanPool(workers)
