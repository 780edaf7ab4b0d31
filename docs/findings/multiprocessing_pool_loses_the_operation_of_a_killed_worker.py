"""multiprocessing.Pool never resolves the operation whose worker was killed, though it resolves those that follow."""

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.pool import Pool

WAIT_S = 4.0
LATER = 20

to_parent: Connection


def remember(connection: Connection) -> None:
    global to_parent
    to_parent = connection


def stay_busy() -> None:
    to_parent.send(os.getpid())
    time.sleep(30)


def square(number: int) -> int:
    return number * number


def end(pool: Pool) -> None:
    # terminate() stops the replacing of workers first of all; it may hang later on, so it is not waited for.
    terminator = threading.Thread(target=pool.terminate, daemon=True)
    terminator.start()
    terminator.join(1)
    for child in multiprocessing.active_children():
        child.kill()


def main() -> int:
    # A bare pipe: a queue's lock could die with the worker, and the script would show a fault of its own.
    from_workers, to_script = multiprocessing.Pipe(duplex=False)
    pool = multiprocessing.Pool(2, initializer=remember, initargs=(to_script,))
    try:
        lost = pool.apply_async(stay_busy)
        if not from_workers.poll(5):
            print("NOT SHOWN: no worker became busy", flush=True)
            return 1
        os.kill(from_workers.recv(), signal.SIGKILL)
        deadline = time.monotonic() + WAIT_S
        later = [pool.apply_async(square, (number,)) for number in range(LATER)]
        right = sum(result.get(WAIT_S) == number * number for number, result in enumerate(later))
        lost.wait(max(0.0, deadline - time.monotonic()))
        shown = right == LATER and not lost.ready()
    finally:
        end(pool)
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: {WAIT_S:.1f} s after the SIGKILL to its busy worker the operation "
        f"is {'resolved' if lost.ready() else 'unresolved'}; {right} of {LATER} later operations returned the "
        "right result",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(20, exit=True)
    status = main()
    # Not sys.exit: the pool's threads and exit handlers may wait for ever.
    os._exit(status)
