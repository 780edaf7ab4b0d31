"""multiprocessing.Pool's idle workers live on after a killed parent, once one of them was killed holding the lock.

An idle worker learns of the parent's death from end of file at the pipe; those that wait for the dead one's lock never
get as far as the pipe.
"""

import contextlib
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

WORKERS = 3
WATCH_S = 3.0


def be_parent() -> None:
    """Have a pool with idle workers, kill the one that waits at the pipe, tell all pids, and wait to be killed."""
    pool = multiprocessing.Pool(WORKERS)
    pool.map(abs, range(WORKERS))
    before = {child.pid for child in multiprocessing.active_children()}
    victim = at_the_pipe(before)
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        now = {child.pid for child in multiprocessing.active_children()}
        if victim not in now and len(now) == WORKERS:
            break
        time.sleep(0.01)
    print(*now, flush=True)
    time.sleep(60)


def at_the_pipe(pids: set[int | None]) -> int:
    """The worker that waits at the pipe, once the others wait for the lock, as the kernel sees it."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        waits_in = {pid: Path(f"/proc/{pid}/wchan").read_text() for pid in pids if pid is not None}
        readers = [pid for pid, where in waits_in.items() if "pipe" in where]
        if len(readers) == 1 and all("pipe" in where or "futex" in where for where in waits_in.values()):
            return readers[0]
        time.sleep(0.01)
    raise TimeoutError(f"the workers did not become idle: {waits_in}")


def main() -> int:
    parent = subprocess.Popen([sys.executable, __file__, "parent"], stdout=subprocess.PIPE, text=True)
    pidfds: dict[int, int] = {}
    try:
        assert parent.stdout is not None
        pidfds = {int(pid): os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()}
        parent.kill()
        parent.wait()
        poller = select.poll()
        for pidfd in pidfds.values():
            poller.register(pidfd, select.POLLIN)
        deadline, exited = time.monotonic() + WATCH_S, 0
        while exited < len(pidfds) and (left_s := deadline - time.monotonic()) > 0:
            for pidfd, _ in poller.poll(left_s * 1000):
                poller.unregister(pidfd)
                exited += 1
    finally:
        parent.kill()
        for pidfd in pidfds.values():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    alive = len(pidfds) - exited
    shown = len(pidfds) == WORKERS and alive > 0
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: {alive} of {len(pidfds)} idle workers were alive {WATCH_S:.0f} s after "
        "the SIGKILL to their parent, an idle one of them having been killed before at the pipe and replaced",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    if len(sys.argv) == 2:
        be_parent()
    else:
        sys.exit(main())
