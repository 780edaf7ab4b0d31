"""ProcessPoolExecutor fails every operation when one busy worker is killed, and takes none after that."""

import faulthandler
import multiprocessing
import os
import signal
import time
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any

WORKERS = 2
WAITING = 10

to_parent: Connection


def remember(connection: Connection) -> None:
    global to_parent
    to_parent = connection


def stay_busy() -> None:
    to_parent.send(os.getpid())
    time.sleep(30)


def square(number: int) -> int:
    return number * number


def refusal(executor: ProcessPoolExecutor) -> str:
    try:
        executor.submit(square, 7)
    except BrokenProcessPool as exception:
        return type(exception).__name__
    return "nothing"


def main() -> int:
    # A bare pipe: a queue's lock could die with the worker, and the script would show a fault of its own.
    from_workers, to_script = multiprocessing.Pipe(duplex=False)
    executor = ProcessPoolExecutor(WORKERS, initializer=remember, initargs=(to_script,))
    try:
        futures: list[Future[Any]] = [executor.submit(stay_busy) for _ in range(WORKERS)]
        futures += [executor.submit(square, number) for number in range(WAITING)]
        busy = [from_workers.recv() for _ in range(WORKERS) if from_workers.poll(5)]
        if len(busy) < WORKERS:
            print(f"NOT SHOWN: only {len(busy)} of {WORKERS} workers became busy", flush=True)
            return 1
        os.kill(busy[0], signal.SIGKILL)
        killed_at = time.monotonic()
        done = wait(futures, timeout=4).done
        took_s = time.monotonic() - killed_at
        broken = sum(isinstance(future.exception(), BrokenProcessPool) for future in done)
        refused = [refusal(executor) for _ in range(3)]
    finally:
        for child in multiprocessing.active_children():
            child.kill()
    # One of the operations was the killed worker's own.
    shown = broken == len(futures) and refused == ["BrokenProcessPool"] * 3
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: {took_s * 1000:.0f} ms after the SIGKILL to 1 of {WORKERS} busy "
        f"workers, which held 1 operation, {broken} of {len(futures)} operations have failed with BrokenProcessPool; "
        f"3 later calls of submit raised {', '.join(refused)}",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(20, exit=True)
    status = main()
    # Not sys.exit: should the executor hang, so would the exit handlers.
    os._exit(status)
