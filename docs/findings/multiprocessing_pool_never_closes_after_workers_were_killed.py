"""multiprocessing.Pool's close() and join() never return once busy workers were killed, be it one or 60 % of them."""

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.pool import Pool

WAIT_S = 3.0
# Workers of the pool, and how many of them are killed; the first is the control.
CASES = ((5, 0), (2, 1), (5, 3))

to_parent: Connection


def remember(connection: Connection) -> None:
    global to_parent
    to_parent = connection


def stay_busy(seconds: float) -> None:
    to_parent.send(os.getpid())
    time.sleep(seconds)


def close_and_join(pool: Pool, returned: threading.Event) -> None:
    pool.close()
    pool.join()
    returned.set()


def end(pool: Pool) -> None:
    # terminate() stops the replacing of workers first of all; it may hang later on, so it is not waited for.
    terminator = threading.Thread(target=pool.terminate, daemon=True)
    terminator.start()
    terminator.join(1)


def main() -> int:
    pools: list[Pool] = []
    closed: list[threading.Event] = []
    try:
        for workers, killed in CASES:
            # A bare pipe: a queue's lock could die with the worker, and the script would show a fault of its own.
            from_workers, to_script = multiprocessing.Pipe(duplex=False)
            pool = multiprocessing.Pool(workers, initializer=remember, initargs=(to_script,))
            pools.append(pool)
            for _ in range(workers):
                pool.apply_async(stay_busy, (0.5,))
            # As many operations as workers, each longer than it takes to tell: every worker has one now.
            busy = {from_workers.recv() for _ in range(workers) if from_workers.poll(5)}
            if len(busy) < workers:
                print(f"NOT SHOWN: only {len(busy)} of {workers} workers became busy", flush=True)
                return 1
            for pid in sorted(busy)[:killed]:
                os.kill(pid, signal.SIGKILL)
            closed.append(threading.Event())
            threading.Thread(target=close_and_join, args=(pool, closed[-1]), daemon=True).start()
        deadline = time.monotonic() + WAIT_S
        returned = [event.wait(max(0.0, deadline - time.monotonic())) for event in closed]
        shown = returned == [killed == 0 for _, killed in CASES]
    finally:
        for pool in pools:
            end(pool)
        for child in multiprocessing.active_children():
            child.kill()
    told = "; ".join(
        f"with {killed} of {workers} busy workers killed, close() and join() {'returned' if back else 'hang'}"
        for (workers, killed), back in zip(CASES, returned, strict=True)
    )
    print(f"{'SHOWN' if shown else 'NOT SHOWN'}: within {WAIT_S:.0f} s: {told}", flush=True)
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(20, exit=True)
    status = main()
    # Not sys.exit: the pool's threads and exit handlers may wait for ever.
    os._exit(status)
