"""pebble.ProcessPool fails only its own operation when a busy worker is killed or overdue, and replaces the worker."""

import faulthandler
import multiprocessing
import os
import signal
import time
from concurrent.futures import wait
from importlib.metadata import version
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool

WORKERS = 3
WAITING = 10
TIMEOUT_S = 0.5
WAIT_S = 8.0

to_parent: Connection
together: Barrier


def remember(connection: Connection, barrier: Barrier) -> None:
    global to_parent, together
    to_parent = connection
    together = barrier


def stay_busy(seconds: float) -> int:
    to_parent.send(os.getpid())
    time.sleep(seconds)
    return os.getpid()


def square(number: int) -> int:
    return number * number


def meet() -> int:
    """Return this worker's pid once as many as there are workers do this at the same time."""
    together.wait(5)
    return os.getpid()


def outcome(future: Any) -> str:
    """What an operation came to: "resolved", or the name of its error."""
    exception = future.exception(WAIT_S)
    return "resolved" if exception is None else type(exception).__name__


def at_once(pool: Any) -> set[int]:
    """The pids of the workers that were seen at work at once; none if fewer than there should be."""
    futures = [pool.schedule(meet) for _ in range(WORKERS)]
    return {future.result() for future in futures if future.exception(WAIT_S) is None}


def main() -> int:
    # A bare pipe: a queue's lock could die with the worker, and the script would show a fault of its own.
    from_workers, to_script = multiprocessing.Pipe(duplex=False)
    pool: Any = ProcessPool(WORKERS, initializer=remember, initargs=(to_script, multiprocessing.Barrier(WORKERS)))
    try:
        running = [pool.schedule(stay_busy, (seconds,)) for seconds in (30, 1, 1)]
        waiting = [pool.schedule(square, (number,)) for number in range(WAITING)]
        busy = [from_workers.recv() for _ in range(WORKERS) if from_workers.poll(5)]
        # Workers tell their pids, not their operations; the one that is to be killed is the one that is left.
        done = wait(running[1:], timeout=WAIT_S).done
        victims = set(busy) - {future.result() for future in done}
        if len(victims) != 1:
            print(f"NOT SHOWN: of the workers {busy} the {victims} may hold the operation", flush=True)
            return 1
        victim = victims.pop()
        beside = [pool.schedule(stay_busy, (0.5,)) for _ in range(WORKERS - 1)]
        waiting += [pool.schedule(square, (number,)) for number in range(WAITING)]
        if not all(from_workers.poll(5) and from_workers.recv() for _ in beside):
            print("NOT SHOWN: the other workers did not become busy", flush=True)
            return 1
        os.kill(victim, signal.SIGKILL)
        killed_at = time.monotonic()
        killed = outcome(running[0])
        killed_s = time.monotonic() - killed_at
        exception = running[0].exception()
        exitcode = exception.exitcode if isinstance(exception, ProcessExpired) else None
        innocents = [outcome(future) for future in [*beside, *waiting]]
        after_kill = at_once(pool)
        scheduled_at = time.monotonic()
        late = pool.schedule(stay_busy, (30,), timeout=TIMEOUT_S)
        slow = from_workers.recv() if from_workers.poll(5) else 0
        overdue = outcome(late)
        overdue_s = time.monotonic() - scheduled_at
        gone = not Path(f"/proc/{slow}").exists()
        after_timeout = at_once(pool)
        called_at = time.monotonic()
        pool.close()
        pool.join()
        close_s = time.monotonic() - called_at
    finally:
        for child in multiprocessing.active_children():
            child.kill()
    shown = (
        (killed, exitcode, overdue, gone) == ("ProcessExpired", -signal.SIGKILL, "TimeoutError", True)
        and set(innocents) == {"resolved"}
        and len(after_kill) == len(after_timeout) == WORKERS
    )
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: pebble {version('pebble')}: {killed_s * 1000:.0f} ms after the SIGKILL "
        f"to 1 of {WORKERS} busy workers its operation has failed with {killed} (exit code {exitcode}), "
        f"{innocents.count('resolved')} of {len(innocents)} others are resolved and {len(after_kill)} operations ran "
        f"at once; one with a timeout of {TIMEOUT_S} s failed after {overdue_s:.2f} s with {overdue}, its worker "
        f"{'gone' if gone else 'alive'}, and {len(after_timeout)} ran at once; close and join took "
        f"{close_s * 1000:.0f} ms",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(60, exit=True)
    status = main()
    # Not sys.exit: should the pool hang, so would the exit handlers.
    os._exit(status)
