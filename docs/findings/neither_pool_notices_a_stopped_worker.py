"""Neither multiprocessing.Pool nor ProcessPoolExecutor notices a stopped worker: its operation just waits."""

import concurrent.futures
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
from typing import Any

STOP_S = 3.0
WORKERS = 2
LATER = 10

Get = Callable[[float], Any]

to_parent: Connection


def remember(connection: Connection) -> None:
    global to_parent
    to_parent = connection


def work(seconds: float) -> int:
    to_parent.send(os.getpid())
    time.sleep(seconds)
    return os.getpid()


def outcome(get: Get, timeout_s: float) -> Any:
    """What an operation came to: its result, the name of its error, or that it is unresolved."""
    try:
        return get(max(0.0, timeout_s))
    # Each pool has its own way to say that nothing was there in time.
    except (multiprocessing.TimeoutError, concurrent.futures.TimeoutError):
        return "unresolved"
    except Exception as exception:
        return type(exception).__name__


def children() -> set[int | None]:
    return {child.pid for child in multiprocessing.active_children()}


def end(pool: Pool) -> None:
    # terminate() stops the replacing of workers first of all; it may hang later on, so it is not waited for.
    terminator = threading.Thread(target=pool.terminate, daemon=True)
    terminator.start()
    terminator.join(1)
    for child in multiprocessing.active_children():
        child.kill()


def main() -> int:
    # A bare pipe for each: a stopped worker could hold a queue's lock, and the script would show a fault of its own.
    from_pool, to_script = multiprocessing.Pipe(duplex=False)
    pool = multiprocessing.Pool(WORKERS, initializer=remember, initargs=(to_script,))
    from_executor, to_script = multiprocessing.Pipe(duplex=False)
    executor = ProcessPoolExecutor(WORKERS, initializer=remember, initargs=(to_script,))

    def submit_to_pool(seconds: float) -> Get:
        return pool.apply_async(work, (seconds,)).get

    def submit_to_executor(seconds: float) -> Get:
        return executor.submit(work, seconds).result

    told, shown = [], True
    try:
        stalled = {submit: submit(0.2) for submit in (submit_to_pool, submit_to_executor)}
        if not (from_pool.poll(5) and from_executor.poll(5)):
            print("NOT SHOWN: no worker became busy", flush=True)
            return 1
        stopped = {submit_to_pool: from_pool.recv(), submit_to_executor: from_executor.recv()}
        for pid in stopped.values():
            os.kill(pid, signal.SIGSTOP)
        deadline = time.monotonic() + STOP_S
        later = {submit: [outcome(submit(0.0), STOP_S) for _ in range(LATER)] for submit in stopped}
        before = children()
        meanwhile = {submit: outcome(get, deadline - time.monotonic()) for submit, get in stalled.items()}
        after = children()
        for submit, pid in stopped.items():
            os.kill(pid, signal.SIGCONT)
            continued_at = time.monotonic()
            at_last = outcome(stalled[submit], 2)
            took_s = time.monotonic() - continued_at
            by_others = sum(isinstance(result, int) and result != pid for result in later[submit])
            shown &= meanwhile[submit] == "unresolved" and at_last == pid
            told.append(
                f"{submit.__name__.removeprefix('submit_to_')}: {meanwhile[submit]} after {STOP_S:.0f} s, "
                f"{by_others} of {LATER} later operations resolved by the other worker, "
                f"{'its result' if at_last == pid else at_last} {took_s * 1000:.0f} ms after SIGCONT"
            )
        shown &= before == after and len(after) == 2 * WORKERS
    finally:
        end(pool)
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: the operation of a stopped worker: {'; '.join(told)}; "
        f"{len(before & after)} of {len(before)} workers are the same after {STOP_S:.0f} s",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(20, exit=True)
    status = main()
    # Not sys.exit: should a pool hang, so would its exit handlers.
    os._exit(status)
