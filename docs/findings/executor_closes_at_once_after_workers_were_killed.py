"""ProcessPoolExecutor.shutdown returns at once, and leaves no worker, after 20 to 100 % of the busy were killed."""

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

WAIT_S = 4.0
WORKERS = 5
KILLED = (1, 3, 5)
WAITING = 20

to_parent: Connection


def remember(connection: Connection) -> None:
    global to_parent
    to_parent = connection


def stay_busy() -> None:
    to_parent.send(os.getpid())
    time.sleep(30)


def shut_down(executor: ProcessPoolExecutor, returned: threading.Event) -> None:
    executor.shutdown(wait=True)
    returned.set()


def close_after(killed: int) -> tuple[bool, str]:
    """Whether shutdown returned with everything resolved and no worker left, and what was seen, in words."""
    # A bare pipe: a queue's lock could die with the worker, and the script would show a fault of its own.
    from_workers, to_script = multiprocessing.Pipe(duplex=False)
    executor = ProcessPoolExecutor(WORKERS, initializer=remember, initargs=(to_script,))
    futures: list[Future[Any]] = [executor.submit(stay_busy) for _ in range(WORKERS + WAITING)]
    busy = [from_workers.recv() for _ in range(WORKERS) if from_workers.poll(5)]
    if len(busy) < WORKERS:
        return False, f"only {len(busy)} of {WORKERS} workers became busy"
    for pid in busy[:killed]:
        os.kill(pid, signal.SIGKILL)
    called_at = time.monotonic()
    returned = threading.Event()
    threading.Thread(target=shut_down, args=(executor, returned), daemon=True).start()
    back = returned.wait(WAIT_S)
    took_s = time.monotonic() - called_at
    unresolved = sum(not future.done() for future in futures)
    left = len(multiprocessing.active_children())
    return back and not unresolved and not left, (
        f"with {killed} of {WORKERS} busy workers killed shutdown(wait=True) {'returned' if back else 'hung'} "
        f"after {took_s * 1000:.0f} ms, {unresolved} of {len(futures)} operations unresolved, {left} workers left"
    )


def main() -> int:
    try:
        seen = [close_after(killed) for killed in KILLED]
    finally:
        for child in multiprocessing.active_children():
            child.kill()
    shown = all(good for good, _ in seen)
    print(f"{'SHOWN' if shown else 'NOT SHOWN'}: {'; '.join(told for _, told in seen)}", flush=True)
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(20, exit=True)
    status = main()
    # Not sys.exit: should the executor hang, so would the exit handlers.
    os._exit(status)
