"""Pools with one defect each: the clean pool with one habit exchanged, so that each check is seen to catch its own."""

import contextlib
import itertools
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Final

from poolproof.plan import Operation
from poolproof.probe import RENDEZVOUS, Call
from tests.pools.clean import CLEAN, CleanPool, Job, PoolClosed, PoolError, Worker, WorkerDied, fail_as_died

_EVERY: Final = 10
"""What a mutant does now and then, it does at each tenth operation."""


# --- resolves-every-operation -----------------------------------------------------------------------------------


def loses_what_a_dead_worker_held(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, mourn=lambda job: None))


# --- runs-at-most-once ------------------------------------------------------------------------------------------


def _run_twice_now_and_then(call: Call) -> Any:
    if call.op % _EVERY == 0 and call.kind != RENDEZVOUS:
        call()
    return call()


def runs_some_operations_twice(*, workers: int) -> CleanPool:
    return CleanPool(workers, replace(CLEAN, run=_run_twice_now_and_then))


def repeats_what_a_dead_worker_held(*, workers: int) -> CleanPool:
    def again(job: Job) -> None:
        pool.submit(Operation(op=job.op, kind=job.call.kind, call=job.call)).add_done_callback(
            lambda second: job.future.set_result(second.result())
        )

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


def _garble(job: Job, result: Any) -> None:
    job.future.set_result((job.op, "garbled") if job.op % _EVERY == 0 else result)


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
    if job.op % _EVERY == 0 and job.call.kind != RENDEZVOUS:
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
