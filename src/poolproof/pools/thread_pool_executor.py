"""`concurrent.futures.ThreadPoolExecutor` with its defaults, and what its documentation says."""

from concurrent.futures import ThreadPoolExecutor

from poolproof.pools.executor import ExecutorPool


def make(workers: int) -> ExecutorPool:
    """A pool of `workers` threads; there is no worker process to die, and its documentation speaks of none."""
    return ExecutorPool(ThreadPoolExecutor(max_workers=workers))
