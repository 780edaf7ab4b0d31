"""Pools with one defect each: the clean pool with one habit exchanged, so that each check is seen to catch its own."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Final

from poolproof.plan import Operation
from poolproof.probe import RENDEZVOUS, Call
from tests.pools.clean import (
    CLEAN,
    CleanPool,
    Job,
    PoolClosed,
    PoolError,
    PoolSaturated,
    States,
    Worker,
    WorkerDied,
    fail_as_died,
    fail_as_late,
    serve_in_turn,
)

_EVERY: Final = 10
"""What a mutant does now and then, it does at each tenth operation."""


# --- resolves-every-operation -----------------------------------------------------------------------------------


def loses_what_a_dead_worker_held(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, mourn=lambda job: None))


# --- runs-at-most-once ------------------------------------------------------------------------------------------


def _run_twice_now_and_then(call: Call, state: dict[str, Any] | None) -> Any:
    if call.op % _EVERY == 0 and call.kind != RENDEZVOUS:
        CLEAN.run(call, state)
    return CLEAN.run(call, state)


def runs_some_operations_twice(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, run=_run_twice_now_and_then))


def repeats_what_a_dead_worker_held(*, workers: int) -> CleanPool:
    def again(job: Job) -> None:
        pool.submit(job.operation).add_done_callback(lambda second: job.future.set_result(second.result()))

    pool = CleanPool(workers, replace(CLEAN, mourn=again))
    return pool


# --- returns-the-right-result -----------------------------------------------------------------------------------


class _Mixup:
    """Hands each tenth client the result before: `_previous` is read and written by every owner's thread."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._previous: Any = None

    def __call__(self, job: Job, result: Any) -> None:
        with self._lock:
            previous, self._previous = self._previous, result
            mixed_up = next(self._numbers) % _EVERY == 0
        job.future.set_result(previous if mixed_up else result)


def returns_a_neighbours_result(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, succeed=_Mixup()))


class ShyPool(CleanPool):
    """Refuses every other operation as too much, however little it has to do."""

    def submit(self, operation: Operation) -> "Future[Any]":
        if operation.op % 2 and operation.kind != RENDEZVOUS:
            raise PoolSaturated(f"operation {operation.op} is too much for today")
        return super().submit(operation)


def refuses_without_need(*, workers: int) -> ShyPool:
    return ShyPool(workers)


def _garble(job: Job, result: Any) -> None:
    job.future.set_result((job.operation.op, "garbled") if job.operation.op % _EVERY == 0 else result)


def garbles_results(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, succeed=_garble))


class CancellingPool:
    """Answers every other operation as if its client had cancelled it, without letting it run."""

    def __init__(self, pool: CleanPool) -> None:
        self._pool = pool
        self.claims = pool.claims

    def submit(self, operation: Operation) -> "Future[Any]":
        if operation.op % 2 == 0 or operation.kind == RENDEZVOUS:
            return self._pool.submit(operation)
        future: Future[Any] = Future()
        future.cancel()
        return future

    def close(self, *, cancel: bool = False) -> None:
        self._pool.close(cancel=cancel)


def cancels_half_of_the_operations_unasked(*, workers: int) -> CancellingPool:
    return CancellingPool(CleanPool(workers))


# --- types-every-error ------------------------------------------------------------------------------------------


class SurpriseError(Exception):
    """What no documentation mentions."""


def _fail_now_and_then(job: Job, result: Any) -> None:
    if job.operation.op % _EVERY == 0 and job.operation.kind != RENDEZVOUS:
        job.future.set_exception(SurpriseError("the result was mislaid"))
    else:
        job.future.set_result(result)


def fails_some_operations_with_a_surprise(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, succeed=_fail_now_and_then))


def _surprise(job: Job, error: BaseException) -> None:
    job.future.set_exception(error if isinstance(error, PoolError) else SurpriseError(repr(error)))


def wraps_errors_of_the_user(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, fail=_surprise))


# --- closes-cleanly ---------------------------------------------------------------------------------------------


def _wait_for_ever() -> None:
    threading.Event().wait()


def hangs_in_close(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, leave=_wait_for_ever))


def _raise_at_the_end() -> None:
    raise RuntimeError("the close could not be logged")


def raises_in_close(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, leave=_raise_at_the_end))


class SwallowingPool:
    """Takes operations after its close as if nothing had happened, and never answers them."""

    def __init__(self, pool: CleanPool) -> None:
        self._pool = pool
        self.claims = pool.claims

    def submit(self, operation: Operation) -> "Future[Any]":
        try:
            return self._pool.submit(operation)
        except PoolClosed:
            return Future()

    def close(self, *, cancel: bool = False) -> None:
        self._pool.close(cancel=cancel)


def swallows_what_comes_late(*, workers: int) -> SwallowingPool:
    return SwallowingPool(CleanPool(workers))


# --- leaves-nothing-behind --------------------------------------------------------------------------------------


def _leaking(leak: Callable[[], None]) -> Callable[..., CleanPool]:
    def make(*, workers: int) -> CleanPool:
        return CleanPool(workers, replace(CLEAN, leave=leak))

    return make


_KEPT: Final[list[Any]] = []
"""What a mutant never lets go of."""


def _leak_zombie() -> None:
    if os.fork() == 0:
        os._exit(0)


def _leak_child() -> None:
    if os.fork() == 0:
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
        os._exit(0)


leaks_a_thread = _leaking(lambda: threading.Thread(target=_wait_for_ever, daemon=True).start())
leaks_a_descriptor = _leaking(lambda: _leave_open(os.open(os.devnull, os.O_RDONLY)))
leaks_a_temporary_file = _leaking(lambda: os.close(tempfile.mkstemp()[0]))
leaks_shared_memory = _leaking(lambda: SharedMemory(create=True, size=1).close())
leaks_a_semaphore = _leaking(lambda: _KEPT.append(multiprocessing.Semaphore()))
leaks_a_zombie = _leaking(_leak_zombie)
leaks_a_child = _leaking(_leak_child)


def _leave_open(fd: int) -> None:
    """A descriptor is a bare number: nobody closes it."""


def _forget(worker: Worker) -> None:
    """Neither ask the worker to leave nor wait for it; its pipe stays open, or it would notice."""


def leaves_its_workers_alive(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, dismiss=_forget, settle_in=_live_alone))


def _live_alone(parent_pid: int, ends_of_parent: Iterable[Connection]) -> None:
    """Ask for no signal when the parent dies, and keep its ends open: no worker ever sees the end of its pipe."""


def leaves_workers_when_its_process_dies(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, settle_in=_live_alone))


# --- survives-worker-death and contains-the-blast ---------------------------------------------------------------


class _Grudge:
    """After a death, so many operations are refused that have nothing to do with it."""

    def __init__(self, operations: int | None) -> None:
        self._operations = operations
        self._left: Iterator[Any] = iter(())

    def mourn(self, job: Job) -> None:
        self._left = itertools.repeat(None) if self._operations is None else iter(range(self._operations))
        fail_as_died(job)

    def admit(self, job: Job) -> PoolError | None:
        refused = next(self._left, self) is not self
        return WorkerDied("a worker died a while ago") if refused else None


def is_dead_for_good_after_a_death(*, workers: int) -> CleanPool:
    grudge = _Grudge(None)
    return CleanPool(workers, replace(CLEAN, mourn=grudge.mourn, admit=grudge.admit))


def fails_innocents_at_a_death(*, workers: int) -> CleanPool:
    grudge = _Grudge(5)
    return CleanPool(workers, replace(CLEAN, mourn=grudge.mourn, admit=grudge.admit))


# --- restores-capacity ------------------------------------------------------------------------------------------


def does_not_replace_dead_workers(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, replaces=False))


# --- degrades-gracefully ----------------------------------------------------------------------------------------


class _Shock:
    """After a death, nobody begins anything for a second; `_until` only grows, and is read a moment late at worst."""

    def __init__(self) -> None:
        self._until = 0.0

    def mourn(self, job: Job) -> None:
        self._until = time.monotonic() + 1.0
        fail_as_died(job)

    def admit(self, job: Job) -> None:
        threading.Event().wait(max(0.0, self._until - time.monotonic()))


def pauses_everywhere_at_a_death(*, workers: int) -> CleanPool:
    shock = _Shock()
    return CleanPool(workers, replace(CLEAN, mourn=shock.mourn, admit=shock.admit))


# --- keeps-sessions-sticky --------------------------------------------------------------------------------------


class _Wandering:
    """Lets a session go on at whichever owner is free, though in order: its next one once its last one has ended.

    The pool's lock guards `_last`. An owner looks again whenever its operation has ended, so it finds what waited for
    that end.
    """

    def __init__(self) -> None:
        self._last: dict[int, Future[Any]] = {}

    def __call__(self, waiting: Sequence[Job], me: int) -> Job | None:
        for job in waiting:
            session = job.operation.session
            if session is None:
                return job
            if session not in self._last or self._last[session].done():
                self._last[session] = job.future
                return job
        return None


def serves_sessions_wherever_somebody_is_free(*, workers: int) -> CleanPool:
    nowhere = replace(CLEAN, settle_session=lambda homes, session, owners: None)
    return CleanPool(workers, replace(nowhere, choose=_Wandering()))


def forgets_states_of_sessions_now_and_then(*, workers: int) -> CleanPool:
    recalled = itertools.count(1)  # each worker counts on by itself

    def recall(states: States, session: int) -> dict[str, Any]:
        if next(recalled) % _EVERY == 0:
            states.pop(session, None)
        return CLEAN.recall(states, session)

    return CleanPool(workers, replace(CLEAN, recall=recall))


# --- isolates-sessions ------------------------------------------------------------------------------------------


def shares_one_state_among_sessions(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, recall=lambda states, session: states.setdefault(0, {})))


# --- keeps-session-order ----------------------------------------------------------------------------------------


class OvertakingPool:
    """Lets each fifth operation of a session be overtaken by the next one.

    It is held back until the next one was handed over, or for a moment if none comes. `_lock` guards what is held
    back, so either the next one, the timer or the close releases it, and just one of them.
    """

    _FIFTH: Final = 5
    _PATIENCE_S: Final = 0.5

    def __init__(self, pool: CleanPool) -> None:
        self._pool = pool
        self.claims = pool.claims
        self._lock = threading.Lock()
        self._seen: dict[int, int] = {}
        self._held_back: dict[int, tuple[Operation, Future[Any], threading.Timer]] = {}

    def submit(self, operation: Operation) -> "Future[Any]":
        session = operation.session
        if session is None:
            return self._pool.submit(operation)
        with self._lock:
            self._seen[session] = self._seen.get(session, 0) + 1
            if self._seen[session] % self._FIFTH == 0:
                timer = threading.Timer(self._PATIENCE_S, self._release, (session,))
                timer.start()
                future: Future[Any] = Future()
                self._held_back[session] = (operation, future, timer)
                return future
        overtaking = self._pool.submit(operation)
        self._release(session)
        return overtaking

    def close(self, *, cancel: bool = False) -> None:
        timers = [timer for _, _, timer in self._held_back.values()]
        for session in list(self._held_back):
            self._release(session)
        for timer in timers:
            timer.join()
        self._pool.close(cancel=cancel)

    def _release(self, session: int) -> None:
        with self._lock:
            held_back = self._held_back.pop(session, None)
        if held_back is None:
            return
        operation, future, timer = held_back
        timer.cancel()
        try:
            self._pool.submit(operation).add_done_callback(lambda inner: _hand_on(inner, future))
        except PoolError as error:
            future.set_exception(error)


def _hand_on(inner: "Future[Any]", outer: "Future[Any]") -> None:
    """End one future as the other has ended."""
    if inner.cancelled():
        outer.cancel()
    elif (error := inner.exception()) is not None:
        outer.set_exception(error)
    else:
        outer.set_result(inner.result())


def lets_operations_of_a_session_overtake(*, workers: int) -> OvertakingPool:
    return OvertakingPool(CleanPool(workers))


# --- sheds-overload ---------------------------------------------------------------------------------------------

_BOUNDLESS: Final = replace(CLEAN, room=sys.maxsize)


def takes_whatever_comes(*, workers: int) -> CleanPool:
    return CleanPool(workers, _BOUNDLESS)


class BlockingPool:
    """Lets a client that offers too much wait in `submit` until there is room."""

    def __init__(self, workers: int) -> None:
        self._pool = CleanPool(workers)
        self.claims = self._pool.claims
        self._room = threading.Semaphore(CLEAN.room * workers)

    def submit(self, operation: Operation) -> "Future[Any]":
        self._room.acquire()
        try:
            future = self._pool.submit(operation)
        except PoolError:
            self._room.release()
            raise
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self, *, cancel: bool = False) -> None:
        self._pool.close(cancel=cancel)


def makes_its_clients_wait_while_it_is_full(*, workers: int) -> BlockingPool:
    return BlockingPool(workers)


class BelatedPool:
    """Takes and runs whatever comes, and refuses what was too much when it has ended."""

    def __init__(self, workers: int) -> None:
        self._pool = CleanPool(workers, _BOUNDLESS)
        self.claims = self._pool.claims
        self._room = threading.Semaphore(CLEAN.room * workers)

    def submit(self, operation: Operation) -> "Future[Any]":
        had_room = self._room.acquire(blocking=False)
        future = self._pool.submit(operation)
        if had_room:
            future.add_done_callback(lambda _: self._room.release())
            return future
        refused: Future[Any] = Future()
        future.add_done_callback(lambda _: refused.set_exception(PoolSaturated("it was too much, but it was done")))
        return refused

    def close(self, *, cancel: bool = False) -> None:
        self._pool.close(cancel=cancel)


def refuses_only_when_the_work_is_done(*, workers: int) -> BelatedPool:
    return BelatedPool(workers)


# --- serves-fairly ----------------------------------------------------------------------------------------------


def _serve_the_newest(waiting: Sequence[Job], me: int) -> Job | None:
    """Of what has no session; sessions keep their order."""
    return next((job for job in reversed(waiting) if job.home is None), None) or serve_in_turn(waiting, me)


def serves_the_newest_first(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, choose=_serve_the_newest))


# --- honours-deadlines ------------------------------------------------------------------------------------------


class TimelessPool(CleanPool):
    """A pool that knows of no deadlines."""

    def submit(self, operation: Operation) -> "Future[Any]":
        return super().submit(replace(operation, deadline_ns=None))


def ignores_deadlines(*, workers: int) -> TimelessPool:
    return TimelessPool(workers)


class HastyPool(CleanPool):
    """A pool that minds the deadlines of what takes long, and lets the short ones wait however late they are."""

    def submit(self, operation: Operation) -> "Future[Any]":
        return super().submit(replace(operation, deadline_ns=None) if operation.kind == "wait" else operation)


def lets_short_operations_wait_past_their_deadlines(*, workers: int) -> HastyPool:
    return HastyPool(workers)


def tells_of_the_deadline_and_works_on(*, workers: int) -> CleanPool:
    """The client gets its error in time; what the worker comes to in the end, nobody waits for any more."""

    def succeed(job: Job, result: Any) -> None:
        if not job.future.done():
            CLEAN.succeed(job, result)

    def fail(job: Job, error: BaseException) -> None:
        if not job.future.done():
            CLEAN.fail(job, error)

    # The timekeeper holds the pool's lock when it does this: a client must not submit from its callback.
    lenient = replace(CLEAN, overrun=lambda job, worker: fail_as_late(job))
    return CleanPool(workers, replace(lenient, succeed=succeed, fail=fail))
