"""A small process pool that keeps every promise: the pool on which each check has to stay silent.

Each worker process is owned by one thread of the parent, which starts it, feeds it one operation at a time, reads its
answer, and replaces it where it died. `Habits` names the seams where pools go wrong; mutants change one of them.
"""

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import select
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum, auto
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

from poolproof.plan import Claim, Claims, Operation
from poolproof.probe import Call

_STOP: Final = b""
_TAKEN: Final = b"taken"
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


_SOURCE: Final = "tests/pools/clean.py, its first lines"
CLAIMS: Final = Claims(
    promises={
        name: Claim(made="promised", source=_SOURCE)
        for name in ("survives-worker-death", "contains-the-blast", "restores-capacity")
    },
    errors=(f"{__name__}.{PoolError.__name__}",),
    detection_s=0.3,
)


class Job(NamedTuple):
    """An operation with the future that its client waits on."""

    op: int
    call: Call
    future: "Future[Any]"


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


def fail_as_died(job: Job) -> None:
    """Tell the client that its operation was lost with its worker."""
    job.future.set_exception(WorkerDied(f"the worker died while it held operation {job.op}"))


def dismiss(worker: Worker) -> None:
    """Ask an idle worker to leave, and see it out."""
    with contextlib.suppress(OSError):  # it may be dead already
        worker.pipe.send_bytes(_STOP)
    retire(worker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What the pool does at each seam.

    Attributes:
        run: carries out a call, in the worker.
        settle_in: ties a new worker to its parent, in the worker.
        admit: an error for an operation that shall not run, in the parent.
        succeed: hands a result to its client.
        fail: hands the user's own error, or one of a transfer, to its client.
        mourn: sees to the operation that a dead worker held.
        replaces: whether a dead worker is replaced.
        dismiss: ends an idle worker, at the close.
        leave: the last act of a close.
    """

    run: Callable[[Call], Any] = lambda call: call()
    settle_in: Callable[[int, Iterable[Connection]], None] = live_with_parent
    admit: Callable[[Job], PoolError | None] = lambda job: None
    succeed: Callable[[Job, Any], None] = lambda job, result: job.future.set_result(result)
    fail: Callable[[Job, BaseException], None] = lambda job, error: job.future.set_exception(error)
    mourn: Callable[[Job], None] = fail_as_died
    replaces: bool = True
    dismiss: Callable[[Worker], None] = dismiss
    leave: Callable[[], None] = lambda: None


CLEAN: Final = Habits()

# --- the worker's side ------------------------------------------------------------------------------------------


def _serve(pipe: Connection, run: Callable[[Call], Any]) -> None:
    while (request := pipe.recv_bytes()) != _STOP:
        pipe.send_bytes(_TAKEN)  # from here on the operation may have effects, so it must not be given to another
        pipe.send_bytes(_answer(request, run))


def _answer(request: bytes, run: Callable[[Call], Any]) -> bytes:
    try:
        answer = (True, run(pickle.loads(request)))
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
                _serve(theirs, habits.run)
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
    """A fixed number of workers behind one queue.

    The queue is a deque beside an eventfd that counts its entries, so that an idle thread waits for the next operation
    and for the death of its worker at once. `_lock` orders submissions and the close.
    """

    claims = CLAIMS

    def __init__(self, workers: int, habits: Habits = CLEAN) -> None:
        self._habits = habits
        self._lock = threading.Lock()
        self._closed = False
        self._queue: deque[Job | _Sign] = deque()
        self._count = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._threads = [threading.Thread(target=self._own, name=f"owner-{n}", daemon=True) for n in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, operation: Operation) -> "Future[Any]":
        job = Job(operation.op, operation.call, Future())
        with self._lock:
            if self._closed:
                raise PoolClosed(f"operation {operation.op} came after the close")
            self._put(job)
        return job.future

    def close(self, *, cancel: bool = False) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if cancel:
                for job in list(self._queue):
                    if isinstance(job, Job):
                        job.future.cancel()  # its owner-to-be will find it cancelled and pass on
            for _ in self._threads:
                self._put(_Sign.CLOSE)
        for thread in self._threads:
            thread.join()
        os.close(self._count)
        self._habits.leave()

    def _put(self, entry: Job | _Sign) -> None:
        self._queue.append(entry)
        os.eventfd_write(self._count, 1)

    def _own(self) -> None:
        """Own one worker after the other, until the close."""
        habits = self._habits
        worker = start(habits)
        while (entry := self._next(worker)) is not _Sign.CLOSE:
            fate = self._carry_out(worker, entry) if isinstance(entry, Job) else _Fate.DIED
            while fate is not _Fate.ANSWERED:
                retire(worker)
                if not habits.replaces:
                    return
                worker = start(habits)
                if isinstance(entry, Job) and fate is _Fate.NOT_BEGUN:
                    # What the dead worker had not even taken cannot have had effects: the next one may have it.
                    fate = self._hand_over(worker, entry)
                else:
                    fate = _Fate.ANSWERED
        habits.dismiss(worker)

    def _next(self, worker: Worker) -> Job | _Sign:
        poller = select.poll()
        poller.register(self._count, select.POLLIN)
        poller.register(worker.pipe, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll()}
            if worker.pipe.fileno() in ready:
                return _Sign.WORKER_DIED  # an idle worker has nothing to say
            try:
                os.eventfd_read(self._count)
            except BlockingIOError:
                continue  # another owner was faster
            return self._queue.popleft()

    def _carry_out(self, worker: Worker, job: Job) -> _Fate:
        if not job.future.set_running_or_notify_cancel():
            return _Fate.ANSWERED
        refusal = self._habits.admit(job)
        if refusal is not None:
            job.future.set_exception(refusal)
            return _Fate.ANSWERED
        return self._hand_over(worker, job)

    def _hand_over(self, worker: Worker, job: Job) -> _Fate:
        try:
            request = pickle.dumps(job.call)
        except BaseException as error:  # the payload's own refusal, as itself
            self._habits.fail(job, error)
            return _Fate.ANSWERED
        fate = _Fate.NOT_BEGUN
        try:
            worker.pipe.send_bytes(request)
            worker.pipe.recv_bytes()
            fate = _Fate.DIED
            answer = worker.pipe.recv_bytes()
        except (EOFError, OSError):
            if fate is _Fate.DIED:
                self._habits.mourn(job)
            return fate
        try:
            returned, value = pickle.loads(answer)
        except BaseException as error:  # a user's own class may raise anything
            returned, value = False, NotTransferable(f"what operation {job.op} ended with does not unpickle: {error!r}")
        if returned:
            self._habits.succeed(job, value)
        else:
            self._habits.fail(job, value)
        return _Fate.ANSWERED


def make(*, workers: int) -> CleanPool:
    """The clean pool."""
    return CleanPool(workers)
