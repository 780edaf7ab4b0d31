"""The pools that are measured, each behind the same verb, and the floor: what no pool of processes can go below."""

import multiprocessing
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import pebble

OURS: Final = "sessionpool"
EXECUTOR: Final = "ProcessPoolExecutor"
MULTIPROCESSING: Final = "multiprocessing.Pool"
LOKY: Final = "loky.ProcessPoolExecutor"
PEBBLE: Final = "pebble.ProcessPool"
FLOOR: Final = "bare socketpair"

_CHUNK_BYTES: Final = 65536

Begin = Callable[[Callable[[Any], Any], Any], Callable[[], Any]]
"""Hands a function and its argument to a pool; what it returns waits for the result."""
Enter = Callable[[int], AbstractContextManager[Begin]]
"""Opens a pool of so many workers; each as it is by default, with the start method of its own choice."""


@contextmanager
def _ours(workers: int) -> Iterator[Begin]:
    from sessionpool import SessionPool  # here, so that no peer is measured with it in its process

    with SessionPool(workers, preload=()) as pool:
        pool.wait_for(lambda snapshot: snapshot.ready == workers, timeout=30)
        yield lambda fn, value: pool.submit(fn, value).result


@contextmanager
def _executor(workers: int) -> Iterator[Begin]:
    with ProcessPoolExecutor(workers) as pool:
        yield lambda fn, value: pool.submit(fn, value).result


@contextmanager
def _multiprocessing(workers: int) -> Iterator[Begin]:
    with multiprocessing.Pool(workers) as pool:
        yield lambda fn, value: pool.apply_async(fn, (value,)).get  # which is what `apply` is


@contextmanager
def _loky(workers: int) -> Iterator[Begin]:
    import loky  # here, so that no other one is measured with what it puts into multiprocessing

    # Not its reusable executor, which is the same pool and only one in a process: that one lets idle workers go after
    # 10 s, and then a race would meet the start of processes in one round and none in the next.
    with loky.ProcessPoolExecutor(workers) as pool:
        yield lambda fn, value: pool.submit(fn, value).result


@contextmanager
def _pebble(workers: int) -> Iterator[Begin]:
    with pebble.ProcessPool(workers) as pool:
        yield lambda fn, value: pool.schedule(fn, args=(value,)).result


@contextmanager
def _floor(workers: int) -> Iterator[Begin]:
    """One child that echoes the value and calls nothing; no lock, no thread, no frame: a message is what one read gets.

    However many workers a pool has, a single operation that is waited for meets only one of them.
    """
    ours, childs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        try:
            while received := childs.recv(_CHUNK_BYTES):
                childs.send(pickle.dumps(pickle.loads(received)))
        finally:
            os._exit(0)
    childs.close()

    def begin(fn: Callable[[Any], Any], value: Any) -> Callable[[], Any]:
        ours.send(pickle.dumps(value))
        return lambda: pickle.loads(ours.recv(_CHUNK_BYTES))

    try:
        yield begin
    finally:
        ours.close()
        os.waitpid(pid, 0)


ENTRANTS: Final[Mapping[str, Enter]] = {
    OURS: _ours,
    EXECUTOR: _executor,
    MULTIPROCESSING: _multiprocessing,
    LOKY: _loky,
    PEBBLE: _pebble,
    FLOOR: _floor,
}
