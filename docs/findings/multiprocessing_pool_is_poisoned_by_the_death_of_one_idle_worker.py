"""multiprocessing.Pool runs nothing more, and not even terminates, once the idle worker that waits for work was killed.

Only one idle worker at a time waits at the pipe, and it holds the queue's lock meanwhile: the others wait for that.
"""

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.pool import AsyncResult, Pool
from pathlib import Path

TRIES = 8
WORKERS = 2
LATER = 4
WAIT_S = 3.0
# What the kernel says an idle worker waits in, by its part in the pool.
PARTS = {"waits at the pipe": "pipe", "waits for the lock": "futex"}


@dataclass(kw_only=True)
class Try:
    """One pool, one of its idle workers killed, and the operations that came later."""

    victim_part: str
    pool: Pool
    replaced: bool
    later: list[AsyncResult[int]]
    terminator: threading.Thread | None = None

    @property
    def poisoned(self) -> bool:
        return not any(result.ready() for result in self.later)

    @property
    def healthy(self) -> bool:
        return all(result.ready() for result in self.later)


def tell(connection: Connection) -> None:
    connection.send(os.getpid())


def square(number: int) -> int:
    return number * number


def part(pid: int) -> str | None:
    waits_in = Path(f"/proc/{pid}/wchan").read_text()
    return next((name for name, mark in PARTS.items() if mark in waits_in), None)


def parts(pids: list[int]) -> dict[str, int]:
    """A worker of each part, by part, as soon as every worker has one and only one of them waits at the pipe."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        found = [part(pid) for pid in pids]
        if None not in found and found.count("waits at the pipe") == 1:
            return {name: pid for name, pid in zip(found, pids, strict=True) if name is not None}
        time.sleep(0.01)
    raise TimeoutError(f"the workers {pids} did not become idle: {found}")


def attempt(victim_part: str) -> Try:
    # A bare pipe: a queue's lock could die with the worker, and the script would show a fault of its own.
    from_workers, to_script = multiprocessing.Pipe(duplex=False)
    pool = multiprocessing.Pool(WORKERS, initializer=tell, initargs=(to_script,))
    pids = [from_workers.recv() for _ in range(WORKERS) if from_workers.poll(5)]
    os.kill(parts(pids)[victim_part], signal.SIGKILL)
    replaced = from_workers.poll(1)
    later = [pool.apply_async(square, (number,)) for number in range(LATER)]
    return Try(victim_part=victim_part, pool=pool, replaced=replaced, later=later)


def terminate(tries: list[Try]) -> None:
    for one in tries:
        one.terminator = threading.Thread(target=one.pool.terminate, daemon=True)
        one.terminator.start()
    deadline = time.monotonic() + 1
    for one in tries:
        if one.terminator is not None:
            one.terminator.join(max(0.0, deadline - time.monotonic()))
    # terminate() stops the replacing of workers first of all, so that no more come where it hangs later on.
    for child in multiprocessing.active_children():
        child.kill()


def main() -> int:
    tries: list[Try] = []
    try:
        tries.extend(attempt(victim_part) for victim_part in [*PARTS] * TRIES)
        deadline = time.monotonic() + WAIT_S
        for one in tries:
            for result in one.later:
                result.wait(max(0.0, deadline - time.monotonic()))
        readers = [one for one in tries if one.victim_part == "waits at the pipe"]
        others = [one for one in tries if one not in readers]
        poisoned = sum(one.poisoned for one in readers)
        healthy = sum(one.healthy for one in others)
        replaced = sum(one.replaced for one in readers)
    finally:
        terminate(tries)
    hanging = sum(one.terminator is not None and one.terminator.is_alive() for one in readers)
    shown = poisoned > 0
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: {WAIT_S:.0f} s after the SIGKILL to the idle worker that waited at the "
        f"pipe all {LATER} later operations were unresolved in {poisoned} of {TRIES} pools of {WORKERS}, though "
        f"{replaced} had replaced the worker, and terminate() hung in {hanging}; with the idle worker killed that "
        f"waited for the lock all were resolved in {healthy} of {TRIES}",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(20, exit=True)
    status = main()
    # Not sys.exit: the pools' threads and exit handlers may wait for ever.
    os._exit(status)
