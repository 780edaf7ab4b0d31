"""multiprocessing.Pool's idle workers exit with a killed parent, its busy ones live on until their operation ends."""

import contextlib
import faulthandler
import math
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

WATCH_S = 4.0
WORKERS = 3
OPERATIONS_S = (1.0, 2.5, 30.0)
WAITING = 10


def work(log: str, seconds: float) -> None:
    """Tell that this operation has started, and by which worker, in one short write; then work."""
    with open(log, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)


def told_by(log: str, count: int) -> list[int]:
    deadline = time.monotonic() + 5
    while True:
        lines = Path(log).read_text().splitlines()
        if len(lines) >= count or time.monotonic() > deadline:
            return [int(line) for line in lines]
        time.sleep(0.01)


def be_parent(role: str, log: str) -> None:
    """Get a pool's workers to be idle or busy, say so with their pids, and wait to be killed."""
    pool = multiprocessing.Pool(WORKERS)
    if role == "idle":
        # Together, so that each of them gets its own worker.
        for result in [pool.apply_async(work, (log, 0.3)) for _ in range(WORKERS)]:
            result.wait()
    else:
        for seconds in OPERATIONS_S:
            pool.apply_async(work, (log, seconds))
    pids = told_by(log, WORKERS)
    if role == "busy":
        for _ in range(WAITING):
            pool.apply_async(work, (log, 0.0))
    print(*pids, flush=True)
    time.sleep(60)


def parent_of(pid: int) -> int:
    # The second field behind the name, which stands in parentheses and may hold anything.
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def exits(pidfds: dict[int, int], watch_s: float) -> dict[int, float]:
    """When, in seconds from now, each of the processes exited; those that live on are absent."""
    started_at = time.monotonic()
    poller = select.poll()
    for pidfd in pidfds.values():
        poller.register(pidfd, select.POLLIN)
    pid_of = {pidfd: pid for pid, pidfd in pidfds.items()}
    exited: dict[int, float] = {}
    while len(exited) < len(pidfds) and (left_s := started_at + watch_s - time.monotonic()) > 0:
        for pidfd, _ in poller.poll(left_s * 1000):
            poller.unregister(pidfd)
            exited[pid_of[pidfd]] = time.monotonic() - started_at
    return exited


def main() -> int:
    pidfds: dict[int, int] = {}
    workers: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        # A parent for each: two pools in one would inherit one another's pipes.
        parents = {role: start(role, f"{folder}/{role}") for role in ("idle", "busy")}
        try:
            for role, parent in parents.items():
                assert parent.stdout is not None
                workers[role] = [int(pid) for pid in parent.stdout.readline().split()]
                pidfds |= {pid: os.pidfd_open(pid) for pid in workers[role]}
                # The pidfds hold just these processes from here on, if they are who they're said to be.
                if len(pidfds) != len(workers) * WORKERS or any(parent_of(pid) != parent.pid for pid in workers[role]):
                    print(f"NOT SHOWN: no {WORKERS} {role} workers were had", flush=True)
                    return 1
            started = len(told_by(f"{folder}/busy", WORKERS))
            for parent in parents.values():
                parent.kill()
                parent.wait()
            exited = exits(pidfds, WATCH_S)
            started_after = len(told_by(f"{folder}/busy", WORKERS)) - started
        finally:
            for parent in parents.values():
                parent.kill()
            for pidfd in pidfds.values():
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    idle = [exited.get(pid) for pid in workers["idle"]]
    busy = [exited.get(pid) for pid in workers["busy"]]
    # A worker outlives its parent as long as its operation takes: the longest is there at the end, and only that.
    shown = None not in idle and busy.count(None) == 1 and started_after == 0
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: after the SIGKILL to the parent the {WORKERS} idle workers exited at "
        f"{tell(idle)} and the busy ones, whose operations take {tell(OPERATIONS_S)}, at {tell(busy)}; "
        f"they started {started_after} of {WAITING} waiting operations after the parent's death",
        flush=True,
    )
    return 0 if shown else 1


def tell(moments_s: Sequence[float | None]) -> str:
    in_order_s = sorted(math.inf if moment_s is None else moment_s for moment_s in moments_s)
    return ", ".join(
        f"over {WATCH_S:.0f} s" if moment_s == math.inf else f"{moment_s:.2f} s" for moment_s in in_order_s
    )


def start(role: str, log: str) -> subprocess.Popen[str]:
    Path(log).touch()
    # Without stderr: each busy worker ends with two tracebacks of its broken pipe there.
    return subprocess.Popen(
        [sys.executable, __file__, role, log], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        be_parent(*sys.argv[1:])
    else:
        faulthandler.dump_traceback_later(20, exit=True)
        sys.exit(main())
