"""multiprocessing.Pool resolves nothing more, and never closes, once one exception did not unpickle."""

import faulthandler
import multiprocessing
import os
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Event

WAIT_S = 3.5
LATER = 10

to_parent: Connection
go: Event


class TwoArgumentsError(Exception):
    """Pickles but does not unpickle: `args` holds one value where `__init__` asks for two."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{detail} ({code})")


def remember(connection: Connection, event: Event) -> None:
    global to_parent, go
    to_parent, go = connection, event


def raise_unloadable() -> None:
    raise TwoArgumentsError(7, "raised by the operation")


def stay_busy_until_go() -> None:
    to_parent.send(os.getpid())
    go.wait(10)


def square(number: int) -> int:
    return number * number


def close_and_join(pool: Pool, returned: threading.Event) -> None:
    pool.close()
    pool.join()
    returned.set()


def terminate(pool: Pool, ended: list[str]) -> None:
    try:
        pool.terminate()
    except BaseException as exception:
        ended.append(f"raises {type(exception).__name__}({str(exception)!r})")
    else:
        ended.append("returns")


def end(pool: Pool) -> str:
    # terminate() stops the replacing of workers first of all; it may hang later on, so it is not waited for.
    ended: list[str] = []
    terminator = threading.Thread(target=terminate, args=(pool, ended), daemon=True)
    terminator.start()
    terminator.join(1)
    for child in multiprocessing.active_children():
        child.kill()
    return ended[0] if ended else "hangs"


def main() -> int:
    thread_died = threading.Event()
    threading.excepthook = lambda _: thread_died.set()
    # A bare pipe: a queue's lock could die with the worker, and the script would show a fault of its own.
    from_workers, to_script = multiprocessing.Pipe(duplex=False)
    event = multiprocessing.Event()
    pool = multiprocessing.Pool(2, initializer=remember, initargs=(to_script, event))
    try:
        before = pool.apply_async(square, (7,)).get(5)
        running = pool.apply_async(stay_busy_until_go)
        busy = from_workers.poll(5)
        guilty = pool.apply_async(raise_unloadable)
        died = thread_died.wait(5)
        event.set()
        later = [pool.apply_async(square, (number,)) for number in range(LATER)]
        returned = threading.Event()
        threading.Thread(target=close_and_join, args=(pool, returned), daemon=True).start()
        deadline, cpu_before_s = time.monotonic() + WAIT_S, time.process_time()
        for result in later:
            result.wait(max(0.0, deadline - time.monotonic()))
        cpu_s = time.process_time() - cpu_before_s
        closed = returned.is_set()
        resolved = [result.ready() for result in later]
        shown = before == 49 and busy and died and not any((guilty.ready(), running.ready(), *resolved, closed))
    finally:
        terminated = end(pool)
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: {WAIT_S:.1f} s after an exception that does not unpickle its own "
        f"operation is {'resolved' if guilty.ready() else 'unresolved'}, the innocent one that ran beside it "
        f"{'resolved' if running.ready() else 'unresolved'}, {resolved.count(False)} of {LATER} later ones are "
        f"unresolved; close() and join() {'returned' if closed else 'hang'}; the process spends {cpu_s:.1f} s of CPU "
        f"meanwhile; terminate() then {terminated}",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(20, exit=True)
    status = main()
    # Not sys.exit: the pool's threads and exit handlers may wait for ever.
    os._exit(status)
