"""multiprocessing.Pool and pebble run nothing more once a worker was killed halfway through a large argument.

pebble's pool hangs like that where another worker is busy at that time; where none is, it fails.
"""

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pebble import ProcessPool

# One is busy, one reads and is killed, one is idle all the time.
WORKERS = 3
ARGUMENT_BYTES = 128 << 20
KILL_AFTER_BYTES = 4 << 20
LATER = 10
WAIT_S = 2.0

to_parent: Connection


def tell(connection: Connection) -> None:
    global to_parent
    to_parent = connection
    connection.send(os.getpid())


def stay_busy() -> None:
    to_parent.send(os.getpid())
    time.sleep(60)


def measure(value: bytes) -> int:
    return len(value)


def square(number: int) -> int:
    return number * number


def bytes_read(pid: int) -> int:
    return int(Path(f"/proc/{pid}/io").read_text().split()[1])


def kill_halfway(before: dict[int, int]) -> int:
    """Kill the worker that reads, once it has a part of its argument; how much it had at most."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for pid, had in before.items():
            if bytes_read(pid) >= had + KILL_AFTER_BYTES:
                os.kill(pid, signal.SIGSTOP)
                read = bytes_read(pid) - had
                os.kill(pid, signal.SIGKILL)
                return read
    raise TimeoutError(f"none of the workers {list(before)} reads the argument")


def attempt(submit: Callable[..., Any], from_workers: Connection, done: Callable[[Any], bool]) -> tuple[bool, str]:
    """Whether nothing was resolved after the death of the worker that read, and what was seen, in words."""
    submit(stay_busy)
    pids = {from_workers.recv() for _ in range(WORKERS + 1) if from_workers.poll(5)}
    before = {pid: bytes_read(pid) for pid in pids}
    large = submit(measure, bytes(ARGUMENT_BYTES))
    read = kill_halfway(before)
    replaced = from_workers.poll(5)
    asked = [large, *(submit(square, number) for number in range(LATER))]
    deadline = time.monotonic() + WAIT_S
    while not all(done(one) for one in asked) and time.monotonic() < deadline:
        time.sleep(0.05)
    unresolved = sum(not done(one) for one in asked)
    return len(pids) == WORKERS and read < ARGUMENT_BYTES and unresolved == len(asked), (
        f"after the death at {read >> 20} MiB {unresolved} of {len(asked)} operations are unresolved, though the "
        f"worker {'was' if replaced else 'was not'} replaced"
    )


def hangs(call: Callable[[], object]) -> bool:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(1)
    return thread.is_alive()


def main() -> int:
    # A bare pipe for each: a queue's lock could die with the worker, and the script would show a fault of its own.
    from_pool, to_script = multiprocessing.Pipe(duplex=False)
    pool = multiprocessing.Pool(WORKERS, initializer=tell, initargs=(to_script,))
    from_pebble, to_script = multiprocessing.Pipe(duplex=False)
    pebble_pool: Any = ProcessPool(WORKERS, initializer=tell, initargs=(to_script,))
    try:
        pool_shown, of_pool = attempt(
            lambda call, *args: pool.apply_async(call, args), from_pool, lambda result: bool(result.ready())
        )
        pebble_shown, of_pebble = attempt(
            lambda call, *args: pebble_pool.schedule(call, args), from_pebble, lambda future: bool(future.done())
        )
        pool_hangs = hangs(pool.terminate)
        pebble_pool.stop()
        pebble_hangs = hangs(pebble_pool.join)
    finally:
        for child in multiprocessing.active_children():
            child.kill()
    shown = pool_shown and pebble_shown
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: of {WORKERS} workers one is busy, one killed at an argument of "
        f"{ARGUMENT_BYTES >> 20} MiB, one idle; {WAIT_S:.0f} s later: multiprocessing.Pool: {of_pool}, and terminate "
        f"{'hangs' if pool_hangs else 'returns'}; pebble {version('pebble')}: {of_pebble}, and stop and join "
        f"{'hang' if pebble_hangs else 'return'}",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(60, exit=True)
    status = main()
    # Not sys.exit: the pools' threads and exit handlers may wait for ever.
    os._exit(status)
