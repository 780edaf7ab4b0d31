"""`SessionPool`, the executor that users see, and its views."""

import functools
import itertools
import os
import socket
import sys
import types
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

from sessionpool import forkserver, payload
from sessionpool.core import Task
from sessionpool.errors import FrameTooLarge, InvalidSettings, NotPicklable
from sessionpool.events import Event, Snapshot, WorkerInfo
from sessionpool.future import PoolFuture
from sessionpool.runtime import Runtime, Transport
from sessionpool.settings import Affinity, Recycling, Restarts, Sessions, Settings, Timing

_UNSET: Final[Any] = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What a view says of its operations."""

    deadline_s: float | None = None
    idempotent: bool = False
    affinity: Affinity | None = None

    def with_(self, *, deadline: Any, idempotent: Any, affinity: Any) -> "_Terms":
        problems = []
        if deadline is not _UNSET and deadline is not None and not (_is_number(deadline) and deadline > 0):
            problems.append(f"deadline: {deadline!r} is no time in seconds above 0 or None")
        if affinity is not _UNSET and affinity not in (None, *get_args(Affinity)):
            problems.append(f"affinity: {affinity!r} is none of {', '.join(get_args(Affinity))}")
        if idempotent is not _UNSET and not isinstance(idempotent, bool):
            problems.append(f"idempotent: {idempotent!r} is neither True nor False")
        if problems:
            raise InvalidSettings(tuple(problems))
        changes = {"deadline_s": deadline, "idempotent": idempotent, "affinity": affinity}
        return replace(self, **{name: value for name, value in changes.items() if value is not _UNSET})


class SessionPool(Executor):
    """A pool of worker processes that keeps sessions with their workers, and loses nothing in silence.

    It is a `concurrent.futures.Executor`: `submit`, `map` and `shutdown` do what is known of them. An operation runs at
    most once, unless it is declared idempotent; where its worker dies under it, it fails with `WorkerDied`, and what
    the dead worker had not begun runs elsewhere. The constructor returns when the pool's own forkserver has imported
    what it should; the workers warm up meanwhile.

    Functions, arguments and results cross by pickle, functions by reference, those of `__main__` as multiprocessing's
    spawn does it: guard the main program with `if __name__ == "__main__":`.

    Args:
        max_workers: how many workers there may be; as many as there are processors by default.
        initializer: called once in each worker before its first operation.
        initargs: with these arguments.
        min_workers: how many there are at least; `max_workers` by default.
        preload: modules that the forkserver imports once, for all workers. They must not start threads.
        max_queue: how many operations may wait before `submit` raises `PoolSaturated`; None for no bound.
        deadline: within how many seconds of its submit an operation must have ended; None for any time.
        sessions: how sessions are held.
        recycling: when workers are replaced by fresh ones.
        timing: how long the pool waits before it acts.
        restarts: what is tried again, and how often.
        max_frame_bytes: the largest argument or result, pickled; a larger one fails its own operation.
        transport: makes a connected pair of stream sockets for a worker, the pool's end first.

    Raises:
        InvalidSettings: sizes, times or limits make no sense; all that is wrong is told at once.
        PreloadError: a module could not be imported; no worker was started.
        NotPicklable: the initializer does not pickle.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        initializer: Any = None,
        initargs: tuple[Any, ...] = (),
        *,
        min_workers: int | None = None,
        preload: Iterable[str] = ("__main__",),
        max_queue: int | None = None,
        deadline: float | None = None,
        sessions: Sessions = Sessions(),  # noqa: B008 - it is frozen
        recycling: Recycling = Recycling(),  # noqa: B008 - it is frozen
        timing: Timing = Timing(),  # noqa: B008 - it is frozen
        restarts: Restarts = Restarts(),  # noqa: B008 - it is frozen
        max_frame_bytes: int = 1 << 30,
        transport: Transport = socket.socketpair,
    ) -> None:
        if sys.platform != "linux":
            raise OSError("sessionpool needs Linux: pidfds, memfds and the death signal of processes")
        if forkserver.is_importing:
            raise RuntimeError(
                "a SessionPool is made while the main program is imported for another pool's workers: put what the "
                'program does under `if __name__ == "__main__":`, so that importing it does nothing'
            )
        most = (os.cpu_count() or 1) if max_workers is None else max_workers
        problems: list[str] = []
        if isinstance(preload, str) or not all(isinstance(name, str) for name in preload):
            problems.append(f"preload: {preload!r} is no collection of modules' names")
        if initializer is not None and not callable(initializer):
            problems.append(f"initializer: {initializer!r} cannot be called")
        settings = None
        try:
            settings = Settings(
                min_workers=most if min_workers is None else min_workers,
                max_workers=most,
                max_queue=max_queue,
                deadline_s=deadline,
                max_frame_bytes=max_frame_bytes,
                sessions=sessions,
                recycling=recycling,
                timing=timing,
                restarts=restarts,
            )
        except InvalidSettings as error:
            # What was not given is as max_workers, and is not to blame beside it.
            problems += [it for it in error.problems if min_workers is not None or not it.startswith("min_workers")]
        if problems or settings is None:
            raise InvalidSettings(tuple(problems))
        first: Sequence[Any] = (
            () if initializer is None else payload.dump((initializer, tuple(initargs)), "the initializer")
        )
        self._limit = max_frame_bytes
        self._terms = _Terms(deadline_s=deadline)
        self._runtime = Runtime(settings, tuple(preload), first, transport)
        weakref.finalize(self, self._runtime.shutdown_soon).atexit = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have `fn(*args, **kwargs)` run in a worker.

        Raises:
            PoolClosed: the pool was shut down.
            PoolBroken: it gave up.
            PoolSaturated: as many operations wait as may.
        """
        return self._submit(self._terms, fn, args, kwargs)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **others: Any,
    ) -> Iterator[Any]:
        """As `Executor.map`; `chunksize` items are one operation."""
        return _map(self, fn, iterables, chunksize, timeout=timeout, **others)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, immediate: bool = False) -> None:
        """Take no more operations, and end the workers when those that were taken are over.

        Args:
            wait: return when all is over; else at once.
            cancel_futures: cancel the operations that wait.
            immediate: cancel them, fail those that run with `PoolClosed`, and kill the workers.
        """
        self._runtime.shutdown(wait=wait, cancel=cancel_futures, immediate=immediate)

    def session(self, key: Hashable, *, existing: bool = False) -> "SessionView":
        """The session of this key, which its first operation opens.

        Args:
            key: anything that can be hashed.
            existing: refuse an operation that would open it, with `SessionUnknown`.

        Raises:
            TypeError: the key cannot be hashed.
        """
        return SessionView(self, self._terms, key, existing=existing)

    def options(
        self, *, deadline: float | None = _UNSET, idempotent: bool = _UNSET, affinity: Affinity | None = _UNSET
    ) -> "PoolView":
        """This pool on other terms.

        Args:
            deadline: within how many seconds of its submit an operation must have ended; None for any time.
            idempotent: whether an operation may be run again where its worker was lost under it.
            affinity: what the sessions of its operations are owed.
        """
        return PoolView(self, self._terms.with_(deadline=deadline, idempotent=idempotent, affinity=affinity))

    def subscribe(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Have every transition told from now on, in order; returns what ends it.

        The callback runs in whichever thread caused the transition, or in the pool's; it may use the pool.
        """
        return self._runtime.subscribe(callback)

    def snapshot(self) -> Snapshot:
        """How many there are of what."""
        return self._runtime.look()

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Every worker that is not gone."""
        return self._runtime.workers()

    def wait_for(self, predicate: Callable[[Snapshot], bool], timeout: float | None = None) -> Snapshot:
        """Wait until a snapshot pleases: it is shown to the predicate now, and after every transition.

        Raises:
            TimeoutError: none did within `timeout` seconds.
        """
        return self._runtime.wait_for(predicate, timeout)

    def __repr__(self) -> str:
        if self._runtime.is_foreign:
            return "<SessionPool of another process>"
        it = self._runtime.look()
        counts = {
            "ready": it.ready,
            "starting": it.starting,
            "busy": it.busy,
            "stalled": it.stalled,
            "stopping": it.stopping,
            "queued": it.queued,
            "sessions": it.sessions,
        }
        words = [f"{count} {name}" for name, count in counts.items() if count]
        words += ["broken"] if it.broken else ["closed"] if it.closed else []
        return f"<SessionPool {', '.join(words) or 'empty'}>"

    def _submit(
        self,
        terms: _Terms,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        has_session: bool = False,
        key: Hashable = None,
        existing: bool = False,
    ) -> Future[Any]:
        failed: NotPicklable | FrameTooLarge | None = None
        size = 0
        try:
            parts = payload.dump_call(fn, args, kwargs)
            size = len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
            if size > self._limit:
                failed = FrameTooLarge("argument", size, self._limit)
        except NotPicklable as error:
            failed = error
        if failed is not None:
            return self._failed(failed)
        future = PoolFuture(self._runtime, parts)
        cost: Any = fn if isinstance(fn, types.FunctionType) else type(fn)
        task = Task(future, size=size, cost=cost)
        task.deadline_s = terms.deadline_s
        task.idempotent = terms.idempotent
        if has_session:
            task.has_session = True
            task.key = key
            task.affinity = terms.affinity
            task.existing = existing
        self._runtime.submit(future, task)
        return future

    def _failed(self, error: Exception) -> Future[Any]:
        """The future of an operation that never left: it still has to be refused where the pool takes none."""
        self._runtime.refuse_if_closed()
        future: Future[Any] = Future()
        future.set_exception(error)
        return future

    def _close_session(self, key: Hashable) -> Future[None]:
        future = PoolFuture(self._runtime, ())
        self._runtime.submit(future, Task(future, has_session=True, key=key, closes=True))
        return future


class PoolView:
    """A pool on certain terms; made by `SessionPool.options`."""

    def __init__(self, pool: SessionPool, terms: _Terms) -> None:
        self._pool = pool
        self._terms = terms

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As `SessionPool.submit`, on these terms."""
        return self._pool._submit(self._terms, fn, args, kwargs)

    def map(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Any]:
        """As `SessionPool.map`, on these terms."""
        return _map(self, fn, iterables, chunksize, timeout=timeout)

    def session(self, key: Hashable, *, existing: bool = False) -> "SessionView":
        """As `SessionPool.session`, on these terms."""
        return SessionView(self._pool, self._terms, key, existing=existing)

    def options(
        self, *, deadline: float | None = _UNSET, idempotent: bool = _UNSET, affinity: Affinity | None = _UNSET
    ) -> "PoolView":
        """As `SessionPool.options`; what is not said stays."""
        return PoolView(self._pool, self._terms.with_(deadline=deadline, idempotent=idempotent, affinity=affinity))


class SessionView:
    """One session of a pool; made by `session`. Its operations run one at a time, in the order of their submit."""

    def __init__(self, pool: SessionPool, terms: _Terms, key: Hashable, *, existing: bool) -> None:
        hash(key)
        self._pool = pool
        self._terms = terms
        self._existing = existing
        self.key = key

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have `fn(state, *args, **kwargs)` run in the session's worker, `state` being the session's own dict there."""
        return self._pool._submit(
            self._terms, fn, args, kwargs, has_session=True, key=self.key, existing=self._existing
        )

    def options(
        self, *, deadline: float | None = _UNSET, idempotent: bool = _UNSET, affinity: Affinity | None = _UNSET
    ) -> "SessionView":
        """This session on other terms."""
        terms = self._terms.with_(deadline=deadline, idempotent=idempotent, affinity=affinity)
        return SessionView(self._pool, terms, self.key, existing=self._existing)

    def close(self) -> Future[None]:
        """End the session once its operations so far are over, and destroy its state; the key may begin anew at once.

        Also for a session that was lost or has expired: that it was is forgotten with it.
        """
        return self._pool._close_session(self.key)

    def __repr__(self) -> str:
        return f"<session {self.key!r} of {self._pool!r}>"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _map(
    submits: "SessionPool | PoolView", fn: Callable[..., Any], iterables: Iterable[Any], chunksize: int, **how: Any
) -> Iterator[Any]:
    if chunksize < 1:
        raise ValueError(f"chunksize: {chunksize} is less than 1")
    # `Executor.map` needs of its executor that it submits, and no more.
    known: Any = Executor.map
    if chunksize == 1:
        return known(submits, fn, *iterables, **how)  # type: ignore[no-any-return]
    items = zip(*iterables, strict=False)  # as `map` does: the shortest ends them
    chunks = known(submits, functools.partial(_run_chunk, fn), _chunks(items, chunksize), **how)
    return itertools.chain.from_iterable(chunks)


def _run_chunk(fn: Callable[..., Any], chunk: list[tuple[Any, ...]]) -> list[Any]:
    return [fn(*args) for args in chunk]


def _chunks(items: Iterable[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
