"""`concurrent.futures.ProcessPoolExecutor` with its defaults, and what its documentation says."""

from concurrent.futures import ProcessPoolExecutor
from typing import Final

import msgspec

from poolproof.plan import Claim, Claims
from poolproof.pools.executor import EXECUTOR_CLAIMS, ExecutorPool

_BROKEN: Final = (
    'docs.python.org, concurrent.futures, BrokenProcessPool: "raised when one of the workers of a ProcessPoolExecutor '
    'has terminated in a non-clean fashion (for example, if it was killed from the outside)"; ProcessPoolExecutor: '
    '"behavior was undefined but operations on the executor or its futures would often freeze or deadlock" before'
)

CLAIMS: Final[Claims] = msgspec.structs.replace(
    EXECUTOR_CLAIMS,
    promises={
        "survives-worker-death": Claim(made="declined", source=_BROKEN),
        "contains-the-blast": Claim(made="declined", source=_BROKEN),
        "restores-capacity": Claim(made="declined", source=_BROKEN),
        "degrades-gracefully": Claim(made="declined", source=_BROKEN),
    },
)


def make(workers: int) -> ExecutorPool:
    """A pool of `workers` processes, started by the interpreter's default method."""
    return ExecutorPool(ProcessPoolExecutor(max_workers=workers), CLAIMS)
