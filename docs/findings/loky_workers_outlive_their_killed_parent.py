"""loky's workers, idle or busy, and its resource trackers outlive a killed parent, and the workers start operations."""

import contextlib
import faulthandler
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import wait
from importlib.metadata import version
from pathlib import Path

from loky import get_reusable_executor

WATCH_S = 3.0
WORKERS = 2
LONG_S = 30.0
SHORT_S = 1.0
WAITING = 10


def work(log: str, seconds: float) -> None:
    """Tell that this operation has started, and by which worker, in one short write; then work."""
    with open(log, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)


def told_by(log: str, count: int) -> list[int]:
    deadline = time.monotonic() + 10
    while True:
        lines = Path(log).read_text().splitlines()
        if len(lines) >= count or time.monotonic() > deadline:
            return [int(line) for line in lines]
        time.sleep(0.01)


def be_parent(role: str, log: str) -> None:
    """Get the executor's workers to be idle or busy, say so with their pids, and wait to be killed."""
    executor = get_reusable_executor(max_workers=WORKERS)
    if role == "idle":
        # Together, so that each of them gets its own worker.
        wait([executor.submit(work, log, 0.5) for _ in range(WORKERS)])
    else:
        for seconds in (SHORT_S, LONG_S):
            executor.submit(work, log, seconds)
    pids = told_by(log, WORKERS)
    if role == "busy":
        for _ in range(WAITING):
            executor.submit(work, log, 0.0)
    print(*pids, flush=True)
    time.sleep(60)


def children(pid: int) -> set[int]:
    return {
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    }


def exits(pidfds: dict[int, int], watch_s: float) -> set[int]:
    """Which of the processes exited within so many seconds."""
    deadline = time.monotonic() + watch_s
    poller = select.poll()
    for pidfd in pidfds.values():
        poller.register(pidfd, select.POLLIN)
    pid_of = {pidfd: pid for pid, pidfd in pidfds.items()}
    exited: set[int] = set()
    while len(exited) < len(pidfds) and (left_s := deadline - time.monotonic()) > 0:
        for pidfd, _ in poller.poll(left_s * 1000):
            poller.unregister(pidfd)
            exited.add(pid_of[pidfd])
    return exited


def main() -> int:
    pidfds: dict[int, int] = {}
    workers: dict[str, set[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        # A parent for each, started together.
        parents = {role: start(role, f"{folder}/{role}") for role in ("idle", "busy")}
        try:
            for role, parent in parents.items():
                assert parent.stdout is not None
                workers[role] = {int(pid) for pid in parent.stdout.readline().split()}
                family = children(parent.pid)
                pidfds |= {pid: os.pidfd_open(pid) for pid in family}
                # The pidfds hold just these processes from here on, if they are who they're said to be.
                if len(workers[role]) != WORKERS or not workers[role] <= family & children(parent.pid):
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
            # The trackers end by themselves when the last worker has, and tidy up: they are not killed.
            for pid in set().union(*workers.values()) & set(pidfds):
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfds[pid], signal.SIGKILL)
    alive = {role: len(pids - exited) for role, pids in workers.items()}
    trackers = set(pidfds) - workers["idle"] - workers["busy"]
    tidied = exits({pid: pidfds[pid] for pid in trackers}, WATCH_S)
    shown = alive == {"idle": WORKERS, "busy": WORKERS} and bool(trackers - exited)
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: loky {version('loky')}: {WATCH_S:.0f} s after the SIGKILL to the parent "
        f"{alive['idle']} of {WORKERS} idle workers and {alive['busy']} of {WORKERS} busy ones live on, the one whose "
        f"operation took {SHORT_S:.0f} s as well as the one whose takes {LONG_S:.0f} s, and "
        f"{len(trackers - exited)} of {len(trackers)} resource trackers; the workers started {started_after} of "
        f"{WAITING} waiting operations after the parent's death; once they were killed too, "
        f"{len(tidied)} trackers exited",
        flush=True,
    )
    return 0 if shown else 1


def start(role: str, log: str) -> subprocess.Popen[str]:
    Path(log).touch()
    # Without stderr: the trackers tell there of the semaphores that they tidy up.
    return subprocess.Popen(
        [sys.executable, __file__, role, log], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        be_parent(*sys.argv[1:])
    else:
        faulthandler.dump_traceback_later(60, exit=True)
        sys.exit(main())
