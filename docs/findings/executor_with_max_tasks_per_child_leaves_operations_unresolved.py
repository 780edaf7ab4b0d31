"""ProcessPoolExecutor with max_tasks_per_child=2 loses all its workers, one by one, and resolves nothing more."""

import faulthandler
import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, wait
from typing import NamedTuple

WORKERS = 2
OPERATIONS = 10
LATER = 5
# Spawned workers take a while to start; what hangs is not waited for as long.
PATIENCE_S = 10.0
WAIT_S = 1.5


class Seen(NamedTuple):
    """What became of an executor whose workers are replaced after so many tasks."""

    resolved: int
    workers: int
    later: int
    shutdown: str


def square(number: int) -> int:
    return number * number


def attempt(max_tasks_per_child: int, operations: int, wait_s: float) -> Seen:
    # With max_tasks_per_child the workers are spawned, not forked: the executor sees to that itself.
    executor = ProcessPoolExecutor(WORKERS, max_tasks_per_child=max_tasks_per_child)
    futures = [executor.submit(square, number) for number in range(operations)]
    # Until all is resolved, or no worker is left that could resolve it.
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and wait(futures, timeout=0.1).not_done and multiprocessing.active_children():
        pass
    resolved = len(wait(futures, timeout=wait_s).done)
    workers = len(multiprocessing.active_children())
    later = [executor.submit(square, number) for number in range(LATER)]
    answered = len(wait(later, timeout=wait_s).done)
    closer = threading.Thread(target=executor.shutdown, daemon=True)
    closer.start()
    closer.join(wait_s)
    return Seen(resolved, workers, answered, "hangs" if closer.is_alive() else "returns")


def main() -> int:
    try:
        # The control first: of an executor that hangs something would be left for its successor.
        one = attempt(1, OPERATIONS // 2, PATIENCE_S)
        two = attempt(2, OPERATIONS, WAIT_S)
    finally:
        for child in multiprocessing.active_children():
            child.kill()
    shown = (two.workers, two.later, two.shutdown) == (0, 0, "hangs") and two.resolved < OPERATIONS
    shown &= (one.resolved, one.later, one.shutdown) == (OPERATIONS // 2, LATER, "returns")
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: with max_tasks_per_child=2 {two.resolved} of {OPERATIONS} operations "
        f"are resolved when {two.workers} of {WORKERS} workers are left, of {LATER} later ones {two.later} after "
        f"{WAIT_S:.1f} s, and shutdown {two.shutdown}; with max_tasks_per_child=1 {one.resolved} of {OPERATIONS // 2} "
        f"and {one.later} of {LATER}, and shutdown {one.shutdown}",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(60, exit=True)
    status = main()
    # Not sys.exit: the executor hangs, and so would the exit handlers.
    os._exit(status)
