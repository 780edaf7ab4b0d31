"""pebble.ProcessPool takes nothing more, for good, once one idle worker was killed while no operation ran."""

import faulthandler
import multiprocessing
import os
import signal
import time
from concurrent.futures import wait
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from pebble import ProcessPool

TRIES = 2
WORKERS = 2
LATER = 10
WAIT_S = 3.0

to_parent: Connection


class Seen(NamedTuple):
    """What became of one pool after the death of an idle worker."""

    resolved: int
    refusals: set[str]


def remember(connection: Connection) -> None:
    global to_parent
    to_parent = connection


def work(seconds: float) -> None:
    to_parent.send(os.getpid())
    time.sleep(seconds)


def square(number: int) -> int:
    return number * number


def idle_workers(pool: Any, from_workers: Connection) -> list[int]:
    """The pids of the workers, each of which has done an operation and waits for the next."""
    wait([pool.schedule(work, (0.3,)) for _ in range(WORKERS)], timeout=10)
    pids = {from_workers.recv() for _ in range(WORKERS) if from_workers.poll(5)}
    if len(pids) < WORKERS:
        raise TimeoutError(f"only {len(pids)} of {WORKERS} workers were seen")
    return sorted(pids)


def kill(pid: int) -> None:
    """Kill this worker, and return once the pool has noticed: it looks every 0.1 s, and then reaps the process."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the pool did not reap its worker {pid}")
        time.sleep(0.01)
    time.sleep(0.3)


def ask(pool: Any, later: int) -> Seen:
    """Hand over so many operations, over a second, and wait for what was taken."""
    futures, refusals = [], set()
    for number in range(later):
        try:
            futures.append(pool.schedule(square, (number,)))
        except Exception as exception:
            refusals.add(f"{type(exception).__module__}.{type(exception).__name__}: {exception}")
        time.sleep(1 / later)
    done = wait(futures, timeout=WAIT_S).done
    return Seen(sum(future.exception() is None for future in done), refusals)


def attempt(number: int, *, another_busy: bool) -> Seen:
    # A bare pipe: a queue's lock could die with the worker, and the script would show a fault of its own.
    from_workers, to_script = multiprocessing.Pipe(duplex=False)
    pool: Any = ProcessPool(WORKERS, initializer=remember, initargs=(to_script,))
    try:
        idle = idle_workers(pool, from_workers)
        if another_busy:
            pool.schedule(work, (5.0,))
            if not from_workers.poll(5):
                raise TimeoutError("no worker became busy")
            idle.remove(from_workers.recv())
            # One worker, then the other: that it is idle is all that counts.
        kill(idle[number % len(idle)])
        return ask(pool, LATER)
    finally:
        pool.stop()
        pool.join()


def main() -> int:
    try:
        alone = [attempt(number, another_busy=False) for number in range(TRIES)]
        beside = attempt(0, another_busy=True)
    finally:
        for child in multiprocessing.active_children():
            child.kill()
    dead = sum(not seen.resolved and len(seen.refusals) == 1 for seen in alone)
    refusals = set().union(*(seen.refusals for seen in alone))
    shown = dead == TRIES and beside == Seen(LATER, set())
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: pebble {version('pebble')}: with 1 of {WORKERS} idle workers killed "
        f"while nothing ran, {dead} of {TRIES} pools took none of {LATER} later operations, over 1 s, each with "
        f"{' or '.join(sorted(refusals)) or 'no error'}; with the idle one killed while the other was busy, "
        f"{beside.resolved} of {LATER} later operations were resolved",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(60, exit=True)
    status = main()
    # Not sys.exit: should the pool hang, so would the exit handlers.
    os._exit(status)
