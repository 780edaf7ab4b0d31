"""multiprocessing.Pool never resolves an operation that calls sys.exit or raises another BaseException."""

import faulthandler
import multiprocessing
import os
import sys
import threading
import time
from multiprocessing.pool import Pool

WAIT_S = 4.0
LATER = 20


class OutsideError(BaseException):
    """A BaseException that is no Exception, as a library may define to get past `except Exception`."""


def call_sys_exit() -> None:
    sys.exit(3)


def raise_base_exception() -> None:
    raise OutsideError


def raise_exception() -> None:
    raise ValueError


def square(number: int) -> int:
    return number * number


def end(pool: Pool) -> None:
    # terminate() stops the replacing of workers first of all; it may hang later on, so it is not waited for.
    terminator = threading.Thread(target=pool.terminate, daemon=True)
    terminator.start()
    terminator.join(1)
    for child in multiprocessing.active_children():
        child.kill()


def main() -> int:
    pool = multiprocessing.Pool(2)
    try:
        deadline = time.monotonic() + WAIT_S
        lost = [pool.apply_async(call_sys_exit), pool.apply_async(raise_base_exception)]
        control = pool.apply_async(raise_exception)
        later = [pool.apply_async(square, (number,)) for number in range(LATER)]
        right = sum(result.get(WAIT_S) == number * number for number, result in enumerate(later))
        for result in (control, *lost):
            result.wait(max(0.0, deadline - time.monotonic()))
        exited, raised = (result.ready() for result in lost)
        shown = not exited and not raised and control.ready() and right == LATER
    finally:
        end(pool)
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: {WAIT_S:.1f} s on, the operation that called sys.exit is "
        f"{'resolved' if exited else 'unresolved'}, the one that raised another BaseException "
        f"{'resolved' if raised else 'unresolved'}, the one that raised ValueError "
        f"{'resolved' if control.ready() else 'unresolved'}; {right} of {LATER} later operations returned the right "
        "result",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(20, exit=True)
    status = main()
    # Not sys.exit: the pool's threads and exit handlers may wait for ever.
    os._exit(status)
