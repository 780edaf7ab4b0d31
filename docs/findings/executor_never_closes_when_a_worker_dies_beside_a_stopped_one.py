"""ProcessPoolExecutor.shutdown, and from 3.12 on submit, never returns when a worker dies while another is stopped."""

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from multiprocessing.connection import Connection

WAIT_S = 3.0
WORKERS = 3
WAITING = 3

to_parent: Connection


def remember(connection: Connection) -> None:
    global to_parent
    to_parent = connection


def stay_busy() -> None:
    to_parent.send(os.getpid())
    time.sleep(30)


def in_thread(call: Callable[[], object]) -> list[str]:
    """Call it in a thread of its own; the list says what became of that, and is empty while it has not returned."""
    became: list[str] = []

    def run() -> None:
        try:
            call()
        except Exception as exception:
            became.append(f"raised {type(exception).__name__}")
        else:
            became.append("returned")

    threading.Thread(target=run, daemon=True).start()
    return became


def main() -> int:
    # A bare pipe: a queue's lock could die with the worker, and the script would show a fault of its own.
    from_workers, to_script = multiprocessing.Pipe(duplex=False)
    executor = ProcessPoolExecutor(WORKERS, initializer=remember, initargs=(to_script,))
    try:
        futures = [executor.submit(stay_busy) for _ in range(WORKERS + WAITING)]
        busy = [from_workers.recv() for _ in range(WORKERS) if from_workers.poll(5)]
        if len(busy) < WORKERS:
            print(f"NOT SHOWN: only {len(busy)} of {WORKERS} workers became busy", flush=True)
            return 1
        os.kill(busy[0], signal.SIGSTOP)
        os.kill(busy[1], signal.SIGKILL)
        deadline = time.monotonic() + WAIT_S
        failed = len(wait(futures, timeout=WAIT_S).done)
        submitted = in_thread(lambda: executor.submit(stay_busy))
        shut_down = in_thread(executor.shutdown)
        # Either list may stay empty for ever: there is nothing to wait for but the time.
        while not (submitted and shut_down) and time.monotonic() < deadline:
            time.sleep(0.05)
        of_submit, of_shutdown = "".join(submitted) or "hangs", "".join(shut_down) or "hangs"
        os.kill(busy[0], signal.SIGCONT)
        continued_at = time.monotonic()
        while not shut_down and time.monotonic() < continued_at + 2:
            time.sleep(0.001)
        took_s = time.monotonic() - continued_at
    finally:
        for child in multiprocessing.active_children():
            child.kill()
    shown = of_shutdown == "hangs" and bool(shut_down)
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: {WAIT_S:.0f} s after one of {WORKERS} busy workers was stopped and "
        f"another killed, {failed} of {len(futures)} operations have failed, submit {of_submit} and shutdown "
        f"{of_shutdown}; {took_s * 1000:.0f} ms after SIGCONT shutdown {''.join(shut_down) or 'still hangs'}",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(20, exit=True)
    status = main()
    # Not sys.exit: should the executor hang, so would the exit handlers.
    os._exit(status)
