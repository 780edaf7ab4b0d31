"""pebble.ProcessPool.stop() and join() return and leave operations unresolved for ever: some always, some by chance."""

import faulthandler
import multiprocessing
import os
import time
from collections import Counter
from concurrent.futures import Future, wait
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any

from pebble import ProcessPool

TRIES = 4
WORKERS = 2
SHORT = 200
WAITING = 4
SMALL_BYTES = 1
# More than the pipe to the workers holds, so that all but the first of them wait in the pool's own queue.
LARGE_BYTES = 1 << 18
WAIT_S = 2.5

Futures = list[Future[Any]]

to_parent: Connection


def remember(connection: Connection) -> None:
    global to_parent
    to_parent = connection


def stay_busy() -> None:
    to_parent.send(os.getpid())
    time.sleep(30)


def work_shortly() -> None:
    time.sleep(0.01)


def measure(value: bytes) -> int:
    return len(value)


def stopped_in_flow() -> Futures:
    """The operations of a pool that was stopped while it did many short ones."""
    pool: Any = ProcessPool(WORKERS)
    futures = [pool.schedule(work_shortly) for _ in range(SHORT)]
    # A tenth is done: the others run, or wait in the pipe.
    wait(futures[: SHORT // 10], timeout=10)
    pool.stop()
    pool.join()
    return futures


def stopped_while_busy(waiting_bytes: int) -> Futures:
    """The operations of a pool that was stopped while all workers were busy and others, with such arguments, waited."""
    # A bare pipe: a queue's lock could die with the worker, and the script would show a fault of its own.
    from_workers, to_script = multiprocessing.Pipe(duplex=False)
    pool: Any = ProcessPool(WORKERS, initializer=remember, initargs=(to_script,))
    futures = [pool.schedule(stay_busy) for _ in range(WORKERS)]
    if not all(from_workers.poll(5) and from_workers.recv() for _ in range(WORKERS)):
        raise TimeoutError(f"not all of {WORKERS} workers became busy")
    futures += [pool.schedule(measure, (bytes(waiting_bytes),)) for _ in range(WAITING)]
    time.sleep(0.1)
    pool.stop()
    pool.join()
    return futures


def unresolved(futures: Futures) -> int:
    return sum(not future.done() for future in futures)


def tell(tries: list[Futures]) -> str:
    """How many of each pool are unresolved, and what those failed with that are not."""
    told = Counter(
        type(future.exception()).__name__
        for futures in tries
        for future in futures
        if future.done() and future.exception() is not None
    )
    failed = ", ".join(f"{count} failed with {name}" for name, count in told.items()) or "none failed"
    return f"{', '.join(str(unresolved(futures)) for futures in tries)} ({failed})"


def main() -> int:
    started_at = time.monotonic()
    try:
        large = [stopped_while_busy(LARGE_BYTES) for _ in range(TRIES)]
        small = [stopped_while_busy(SMALL_BYTES) for _ in range(TRIES)]
        flow = [stopped_in_flow() for _ in range(TRIES)]
        closed_s = time.monotonic() - started_at
        wait([future for futures in large + small + flow for future in futures], timeout=WAIT_S)
        left = len(multiprocessing.active_children())
    finally:
        for child in multiprocessing.active_children():
            child.kill()
    # With small arguments the threads of the pool race: which of them ends first is left to chance.
    shown = min(map(unresolved, large)) > 0 and max(map(unresolved, flow)) > 0
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: pebble {version('pebble')}: {3 * TRIES} pools were stopped and joined "
        f"in {closed_s:.1f} s, {left} workers left; {WAIT_S:.1f} s later there are unresolved, of {WORKERS} running "
        f"operations and {WAITING} waiting with large arguments {tell(large)}; with small ones {tell(small)}; "
        f"of {SHORT} short operations in full flow {tell(flow)}",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(60, exit=True)
    status = main()
    # Not sys.exit: should stop() have hung, so would the exit handlers.
    os._exit(status)
