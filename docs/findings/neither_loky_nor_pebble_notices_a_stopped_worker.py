"""Neither loky nor pebble notices a stopped worker: its operation just waits, unless pebble has a timeout for it."""

import concurrent.futures
import faulthandler
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from importlib.metadata import version
from pathlib import Path
from typing import Any

from loky import get_reusable_executor
from pebble import ProcessPool

STOP_S = 5.0
WORKERS = 2
LATER = 10
TIMEOUT_S = 0.5

Submit = Callable[[str, float], "Future[Any]"]


def work(log: str, seconds: float) -> int:
    """Tell that this operation has started, and by which worker, in one short write; then work."""
    with open(log, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return os.getpid()


def told_by(log: str) -> int:
    deadline = time.monotonic() + 10
    while not (lines := Path(log).read_text().splitlines()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return int(lines[0])


def outcome(future: "Future[Any]", timeout_s: float) -> Any:
    """What an operation came to: its result, the name of its error, or that it is unresolved."""
    if not concurrent.futures.wait([future], timeout=max(0.0, timeout_s)).done:
        return "unresolved"
    exception = future.exception()
    return future.result() if exception is None else type(exception).__name__


def stop_worker(submit: Submit, log: str) -> tuple["Future[Any]", int]:
    """Hand over an operation that takes a while, and stop the worker that has begun it."""
    Path(log).touch()
    # Long enough to be stopped in, even on a busy machine, and not over before the timeout.
    future = submit(log, 2 * TIMEOUT_S)
    pid = told_by(log)
    os.kill(pid, signal.SIGSTOP)
    return future, pid


def main() -> int:
    pool: Any = ProcessPool(WORKERS)
    pool_with_timeout: Any = ProcessPool(WORKERS)

    def submit_to_loky(log: str, seconds: float) -> "Future[Any]":
        future: Future[Any] = get_reusable_executor(max_workers=WORKERS).submit(work, log, seconds)
        return future

    def submit_to_pebble(log: str, seconds: float) -> "Future[Any]":
        future: Future[Any] = pool.schedule(work, (log, seconds))
        return future

    def submit_with_timeout(log: str, seconds: float) -> "Future[Any]":
        future: Future[Any] = pool_with_timeout.schedule(work, (log, seconds), timeout=TIMEOUT_S)
        return future

    told, shown = [], True
    stopped: dict[Submit, tuple[Future[Any], int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for submit in (submit_to_loky, submit_to_pebble, submit_with_timeout):
                stopped[submit] = stop_worker(submit, f"{folder}/{submit.__name__}")
            stopped_at = time.monotonic()
            rest = f"{folder}/rest"
            later = {submit: [outcome(submit(rest, 0.0), STOP_S) for _ in range(LATER)] for submit in stopped}
            timed_out = outcome(stopped[submit_with_timeout][0], STOP_S)
            timed_out_s = time.monotonic() - stopped_at
            for submit in (submit_to_loky, submit_to_pebble):
                future, pid = stopped[submit]
                meanwhile = outcome(future, stopped_at + STOP_S - time.monotonic())
                os.kill(pid, signal.SIGCONT)
                at_last = outcome(future, 5)
                by_others = sum(isinstance(result, int) and result != pid for result in later[submit])
                shown &= meanwhile == "unresolved" and at_last == pid
                told.append(
                    f"{submit.__name__.removeprefix('submit_to_')}: {meanwhile} after {STOP_S:.0f} s, {by_others} of "
                    f"{LATER} later operations resolved by the other worker, "
                    f"{'its result' if at_last == pid else at_last} after SIGCONT"
                )
            gone = not Path(f"/proc/{stopped[submit_with_timeout][1]}").exists()
        finally:
            for _, pid in stopped.values():
                if Path(f"/proc/{pid}").exists():
                    os.kill(pid, signal.SIGCONT)
            for one in (pool, pool_with_timeout):
                one.stop()
                one.join()
            get_reusable_executor(max_workers=WORKERS).shutdown(kill_workers=True)
    shown &= timed_out == "TimeoutError" and gone
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: loky {version('loky')}, pebble {version('pebble')}: the operation of a "
        f"stopped worker: {'; '.join(told)}; pebble with a timeout of {TIMEOUT_S} s: {timed_out} {timed_out_s:.1f} s "
        f"after the SIGSTOP, its worker {'gone' if gone else 'alive'}",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(60, exit=True)
    sys.exit(main())
