"""Neither pool resolves anything more, and neither closes, once a worker was killed halfway through a large result."""

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.pool import Pool
from pathlib import Path

RESULT_BYTES = 128 << 20
KILL_AFTER_BYTES = 4 << 20
LATER = 10
WAIT_S = 2.5

to_parent: Connection


def remember(connection: Connection) -> None:
    global to_parent
    to_parent = connection


def return_large() -> bytes:
    result = bytes(RESULT_BYTES)
    to_parent.send(os.getpid())
    return result


def square(number: int) -> int:
    return number * number


def bytes_read() -> int:
    """What this process has read so far; the pool's thread reads a result piece by piece."""
    return int(Path("/proc/self/io").read_text().split()[1])


def kill_halfway(from_workers: Connection) -> int:
    """Kill the worker that tells its pid, once a part of its result has come; how much had come at most."""
    before = bytes_read()
    pid: int = from_workers.recv()
    while bytes_read() < before + KILL_AFTER_BYTES:
        pass
    os.kill(pid, signal.SIGKILL)
    return bytes_read() - before


def close_pool(pool: Pool) -> None:
    pool.close()
    pool.join()


def in_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def end(pool: Pool) -> None:
    # terminate() stops the replacing of workers first of all; it may hang later on, so it is not waited for.
    in_thread(pool.terminate).join(1)
    for child in multiprocessing.active_children():
        child.kill()


def main() -> int:
    # A bare pipe for each: a queue's lock could die with the worker, and the script would show a fault of its own.
    from_executor, to_script = multiprocessing.Pipe(duplex=False)
    executor = ProcessPoolExecutor(2, initializer=remember, initargs=(to_script,))
    from_pool, to_script = multiprocessing.Pipe(duplex=False)
    pool = multiprocessing.Pool(2, initializer=remember, initargs=(to_script,))
    try:
        future = executor.submit(return_large)
        future_bytes = kill_halfway(from_executor)
        result = pool.apply_async(return_large)
        result_bytes = kill_halfway(from_pool)
        later_futures = [executor.submit(square, number) for number in range(LATER)]
        later_results = [pool.apply_async(square, (number,)) for number in range(LATER)]
        deadline = time.monotonic() + WAIT_S
        closers = in_thread(lambda: close_pool(pool)), in_thread(executor.shutdown)
        for closer in closers:
            closer.join(max(0.0, deadline - time.monotonic()))
        pool_hangs, executor_hangs = (closer.is_alive() for closer in closers)
        in_executor = [future.done(), *(one.done() for one in later_futures)].count(False)
        in_pool = [result.ready(), *(one.ready() for one in later_results)].count(False)
    finally:
        end(pool)
    shown = in_executor == in_pool == 1 + LATER and executor_hangs and pool_hangs
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: {WAIT_S:.1f} s after a worker was killed at a result of "
        f"{RESULT_BYTES >> 20} MiB: ProcessPoolExecutor (at {future_bytes >> 20} MiB): {in_executor} of {1 + LATER} "
        f"operations unresolved, shutdown {'hangs' if executor_hangs else 'returned'}; multiprocessing.Pool "
        f"(at {result_bytes >> 20} MiB): {in_pool} of {1 + LATER} unresolved, "
        f"close and join {'hang' if pool_hangs else 'returned'}",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(20, exit=True)
    status = main()
    # Not sys.exit: the pools' threads and exit handlers wait for ever.
    os._exit(status)
