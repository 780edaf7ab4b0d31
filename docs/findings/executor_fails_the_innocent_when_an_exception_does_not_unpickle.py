"""ProcessPoolExecutor fails all operations, running and waiting, when the exception of one does not unpickle."""

import faulthandler
import multiprocessing
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from typing import Any

INNOCENTS = 10

go: Event


class TwoArgumentsError(Exception):
    """Pickles but does not unpickle: `args` holds one value where `__init__` asks for two."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{detail} ({code})")


def remember(event: Event) -> None:
    global go
    go = event


def raise_unloadable() -> None:
    go.wait(10)
    raise TwoArgumentsError(7, "raised by the operation")


def square_later(number: int) -> int:
    # The one that runs beside the guilty operation is still running when the exception comes back.
    if number == 0:
        go.wait(10)
        time.sleep(1)
    return number * number


def main() -> int:
    event = multiprocessing.Event()
    executor = ProcessPoolExecutor(2, initializer=remember, initargs=(event,))
    try:
        futures: list[Future[Any]] = [executor.submit(raise_unloadable)]
        futures += [executor.submit(square_later, number) for number in range(INNOCENTS)]
        event.set()
        done = wait(futures, timeout=4).done
        failed = {future for future in done if isinstance(future.exception(), BrokenProcessPool)}
        innocents = len(failed - {futures[0]})
        # The cause is the traceback of the pool's own thread between lines of quotes: the last but one names the error.
        broken = futures[0].exception() if futures[0] in failed else None
        cause = str(broken.__cause__).strip().splitlines()[-2] if broken is not None and broken.__cause__ else "none"
        try:
            executor.submit(square_later, 7)
        except BrokenProcessPool:
            refused = True
        else:
            refused = False
    finally:
        for child in multiprocessing.active_children():
            child.kill()
    shown = innocents == INNOCENTS and refused
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: after one exception that does not unpickle {innocents} of {INNOCENTS} "
        f"innocent operations failed with BrokenProcessPool and a later submit "
        f"{'raised it too' if refused else 'was taken'}; the cause it names is {cause}",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(20, exit=True)
    status = main()
    # Not sys.exit: should the executor hang, so would the exit handlers.
    os._exit(status)
