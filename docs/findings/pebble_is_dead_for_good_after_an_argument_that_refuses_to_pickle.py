"""pebble.ProcessPool resolves and takes nothing more once the pickling of an argument raised an error of its own.

In pebble 5.1.0 and 5.2.0 what is in flight is resolved, but what comes later is taken and never is, and close hangs.
"""

import faulthandler
import multiprocessing
import os
import threading
import time
from concurrent.futures import wait
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from pebble import ProcessPool

WORKERS = 2
WAITING = 4
LATER = 10
BUSY_S = 1.0
WAIT_S = 3.0

to_parent: Connection


class RefusesToPickleError(Exception):
    """What a value raises that refuses to pickle."""


class Unpicklable:
    """A value that does not pickle, as one that says so with an error of its own."""

    def __reduce__(self) -> Any:
        raise RefusesToPickleError


class Seen(NamedTuple):
    """What became of one pool that was handed an awkward argument."""

    own: str
    in_flight: int
    later: int
    refusals: set[str]
    close: str


def remember(connection: Connection) -> None:
    global to_parent
    to_parent = connection


def stay_busy() -> None:
    to_parent.send(os.getpid())
    time.sleep(BUSY_S)


def square(number: int) -> int:
    return number * number


def take(value: Any) -> None:
    pass


def close(pool: Any) -> str:
    """What becomes of close and join, within the time that is waited for an operation."""

    def run() -> None:
        pool.close()
        pool.join()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(WAIT_S)
    return "hang" if thread.is_alive() else "return"


def attempt(value: Any) -> Seen:
    # A bare pipe: a queue's lock could die with the worker, and the script would show a fault of its own.
    from_workers, to_script = multiprocessing.Pipe(duplex=False)
    pool: Any = ProcessPool(WORKERS, initializer=remember, initargs=(to_script,))
    in_flight = [pool.schedule(stay_busy) for _ in range(WORKERS)]
    in_flight += [pool.schedule(square, (number,)) for number in range(WAITING)]
    if not all(from_workers.poll(5) and from_workers.recv() for _ in range(WORKERS)):
        raise TimeoutError(f"not all of {WORKERS} workers became busy")
    own = pool.schedule(take, (value,))
    time.sleep(0.3)
    later, refusals = [], set()
    for number in range(LATER):
        try:
            later.append(pool.schedule(square, (number,)))
        except Exception as exception:
            refusals.add(f"{type(exception).__module__}.{type(exception).__name__}: {exception}")
    done = wait([own, *in_flight, *later], timeout=WAIT_S).done
    return Seen(
        own=type(own.exception()).__name__ if own in done else "unresolved",
        in_flight=sum(future in done and future.exception() is None for future in in_flight),
        later=sum(future in done and future.exception() is None for future in later),
        refusals=refusals,
        close=close(pool),
    )


def main() -> int:
    try:
        foreseen = attempt(threading.Lock())
        unforeseen = attempt(Unpicklable())
    finally:
        for child in multiprocessing.active_children():
            child.kill()
    others = WORKERS + WAITING
    # Whoever asks it for more finds the pool dead and so ends the reading of results: then what is in flight is lost.
    in_flight = 0 if unforeseen.refusals else others
    shown = foreseen == Seen("TypeError", others, LATER, set(), "return") and (
        (unforeseen.own, unforeseen.in_flight, unforeseen.later) == ("unresolved", in_flight, 0)
    )
    refused = " or ".join(sorted(unforeseen.refusals))
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: pebble {version('pebble')}: {WAIT_S:.0f} s after an argument refused to "
        f"pickle with an error of its own, its operation is {unforeseen.own}, {unforeseen.in_flight} of {others} "
        f"operations in flight and {unforeseen.later} of {LATER} later ones are resolved, the later ones "
        f"{'refused with ' + refused if refused else 'unresolved too'}, close and join {unforeseen.close}; with a lock "
        f"for an argument: {foreseen.own}, {foreseen.in_flight} of {others}, {foreseen.later} of {LATER}, "
        f"close and join {foreseen.close}",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(60, exit=True)
    status = main()
    # Not sys.exit: should the pool hang, so would the exit handlers.
    os._exit(status)
