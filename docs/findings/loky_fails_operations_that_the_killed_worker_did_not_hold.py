"""loky fails every operation when one busy worker is killed; whoever asks for the executor then gets a fresh one."""

import faulthandler
import os
import signal
import sys
import tempfile
import time
from concurrent.futures import Future, wait
from importlib.metadata import version
from pathlib import Path
from typing import Any

from loky import get_reusable_executor
from loky.process_executor import TerminatedWorkerError

WORKERS = 2
WAITING = 10
LATER = 10
WAIT_S = 8.0


def stay_busy(log: str) -> None:
    """Tell that a worker is busy, and which, in one short write."""
    with open(log, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(30)


def square(number: int) -> int:
    return number * number


def told_by(log: str, count: int) -> list[int]:
    deadline = time.monotonic() + WAIT_S
    while True:
        lines = Path(log).read_text().splitlines()
        if len(lines) >= count or time.monotonic() > deadline:
            return [int(line) for line in lines]
        time.sleep(0.01)


def executor() -> Any:
    """The reusable executor, asked for anew each time, as the documentation of loky has it."""
    return get_reusable_executor(max_workers=WORKERS)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        log = f"{folder}/busy"
        Path(log).touch()
        try:
            first = executor()
            futures: list[Future[Any]] = [executor().submit(stay_busy, log) for _ in range(WORKERS)]
            futures += [executor().submit(square, number) for number in range(WAITING)]
            busy = told_by(log, WORKERS)
            if len(busy) < WORKERS:
                print(f"NOT SHOWN: only {len(busy)} of {WORKERS} workers became busy", flush=True)
                return 1
            os.kill(busy[0], signal.SIGKILL)
            killed_at = time.monotonic()
            done = wait(futures, timeout=WAIT_S).done
            took_s = time.monotonic() - killed_at
            broken = sum(isinstance(future.exception(), TerminatedWorkerError) for future in done)
            try:
                first.submit(square, 7)
            except TerminatedWorkerError as exception:
                refusal = f"raises {type(exception).__name__}"
            else:
                refusal = "is taken"
            fresh_at = time.monotonic()
            later = [executor().submit(square, number) for number in range(LATER)]
            resolved = sum(
                future.result() == number**2 for number, future in enumerate(later) if not future.exception(8)
            )
            fresh_s = time.monotonic() - fresh_at
            fresh = executor() is not first
        finally:
            executor().shutdown(kill_workers=True)
    # One of the operations was the killed worker's own.
    shown = broken == len(futures) and refusal != "is taken" and fresh and resolved == LATER
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: loky {version('loky')}: {took_s * 1000:.0f} ms after the SIGKILL to 1 "
        f"of {WORKERS} busy workers, which held 1 operation, {broken} of {len(futures)} operations have failed with "
        f"TerminatedWorkerError; a later submit to that executor {refusal}, and the one that is got anew resolved "
        f"{resolved} of {LATER} later operations within {fresh_s * 1000:.0f} ms",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(60, exit=True)
    sys.exit(main())
