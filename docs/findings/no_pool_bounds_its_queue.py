"""None of the five pools refuses work or lets its caller wait, however much is waiting already."""

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, NamedTuple

from loky import get_reusable_executor
from pebble import ProcessPool

WORKERS = 2
OFFERED = 10_000
ARGUMENT_BYTES = 1000
# Far less than the workers stay busy.
SLOWEST_S = 10.0


class Pool(NamedTuple):
    """A pool: how it is given an operation, how one asks whether that is resolved, and how it is ended."""

    name: str
    submit: Callable[..., Any]
    done: Callable[[Any], bool]
    end: Callable[[], object]


def stay_busy() -> None:
    time.sleep(60)


def measure(value: bytes) -> int:
    return len(value)


def future_done(future: Any) -> bool:
    return bool(future.done())


def pools() -> list[Pool]:
    """The five, those that fork first: a fork copies no thread of another pool's."""
    pool = multiprocessing.Pool(WORKERS)
    process_executor = ProcessPoolExecutor(WORKERS)
    pebble_pool: Any = ProcessPool(WORKERS)
    loky_executor: Any = get_reusable_executor(max_workers=WORKERS)
    thread_executor = ThreadPoolExecutor(WORKERS)
    return [
        Pool(
            "multiprocessing.Pool",
            lambda call, *args: pool.apply_async(call, args),
            lambda r: r.ready(),
            pool.terminate,
        ),
        Pool("ProcessPoolExecutor", process_executor.submit, future_done, lambda: None),
        Pool(
            f"pebble {version('pebble')}",
            lambda call, *args: pebble_pool.schedule(call, args),
            future_done,
            pebble_pool.stop,
        ),
        Pool(f"loky {version('loky')}", loky_executor.submit, future_done, lambda: None),
        Pool("ThreadPoolExecutor", thread_executor.submit, future_done, lambda: None),
    ]


def offer(pool: Pool) -> tuple[bool, str]:
    """Whether it took everything at once, though its workers had no time for any of it, and what was seen, in words."""
    for _ in range(WORKERS):
        pool.submit(stay_busy)
    taken, slowest_s, refusal = [], 0.0, "no error"
    for number in range(OFFERED):
        submitted_at = time.monotonic()
        try:
            # Each has an argument of its own, so that what waits really takes its room.
            taken.append(pool.submit(measure, number.to_bytes(ARGUMENT_BYTES, "big")))
        except Exception as exception:
            refusal = type(exception).__name__
            break
        slowest_s = max(slowest_s, time.monotonic() - submitted_at)
    resolved = sum(pool.done(one) for one in taken)
    return len(taken) == OFFERED and not resolved and slowest_s < SLOWEST_S, (
        f"{pool.name} took {len(taken)} of {OFFERED} operations ({refusal}), the slowest within "
        f"{slowest_s * 1000:.0f} ms, and had resolved {resolved}"
    )


def main() -> int:
    made = pools()
    try:
        seen = [offer(pool) for pool in made]
    finally:
        for pool in made:
            # It may hang, with so much that waits; it stops the replacing of workers first of all.
            ender = threading.Thread(target=pool.end, daemon=True)
            ender.start()
            ender.join(1)
        for child in multiprocessing.active_children():
            # Not kill(): loky's processes do not have it.
            if child.pid is not None:
                os.kill(child.pid, signal.SIGKILL)
    shown = all(took for took, _ in seen)
    print(
        f"{'SHOWN' if shown else 'NOT SHOWN'}: with all of {WORKERS} workers busy "
        f"{'; '.join(told for _, told in seen)}",
        flush=True,
    )
    return 0 if shown else 1


if __name__ == "__main__":
    faulthandler.dump_traceback_later(60, exit=True)
    status = main()
    # Not sys.exit: the pools' exit handlers wait for what is waiting.
    os._exit(status)
