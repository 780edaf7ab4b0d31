"""multiprocessing.Pool.terminate() returns and leaves the operations that ran or waited unresolved for ever."""

import faulthandler
import multiprocessing
import os
import time
from multiprocessing.connection import Connection

WAIT_S = 3.0
WORKERS = 2
WAITING = 4

to_parent: Connection


def remember(connection: Connection) -> None:
    global to_parent
    to_parent = connection


def stay_busy() -> None:
    to_parent.send(os.getpid())
    time.sleep(30)


def main() -> int:
    # A bare pipe: a queue's lock could die with the worker, and the script would show a fault of its own.
    from_workers, to_script = multiprocessing.Pipe(duplex=False)
    pool = multiprocessing.Pool(WORKERS, initializer=remember, initargs=(to_script,))
    try:
        results = [pool.apply_async(stay_busy) for _ in range(WORKERS + WAITING)]
        busy = {from_workers.recv() for _ in range(WORKERS) if from_workers.poll(5)}
        called_at = time.monotonic()
        pool.terminate()
        pool.join()
        took_s = time.monotonic() - called_at
        for result in results:
            result.wait(max(0.0, called_at + WAIT_S - time.monotonic()))
        unresolved = sum(not result.ready() for result in results)
        shown = len(busy) == WORKERS and unresolved == len(results)
    finally:
        for child in multiprocessing.active_children():
            child.kill()
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: terminate() and join() returned after {took_s * 1000:.0f} ms; "
        f"{WAIT_S:.0f} s after the call {unresolved} of {len(results)} operations are unresolved "
        f"({len(busy)} ran, {WAITING} waited)",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(20, exit=True)
    status = main()
    # Not sys.exit: should terminate() have hung, so would the exit handlers.
    os._exit(status)
