"""Operations that obey commands (`poolproof.workloads.commands`), as the client sees them. Layers 1 and 2 run on it."""

import random
from collections.abc import Callable, Mapping
from typing import Any, Final

from poolproof.plan import Kind, Workload
from poolproof.workloads import commands
from poolproof.workloads.commands import obey

SERVICE_MS: Final = {"predict": 10.0, "batch": 50.0}

WAIT_S: Final = 0.020
"""What each operation of `waits` takes: n workers can do n / WAIT_S of them a second, whatever the machine."""

LONGEST: Final = 10.0
"""How many times the median an operation takes at most, where times vary: what hangs is a command of its own."""

OVERDUE_S: Final = 1.5
"""What an operation of the kind `overdue` takes, if it is let: finite, so that a pool without deadlines survives it."""


def expected(payload: tuple[Any, ...], result: Any) -> bool:
    """Whether a command returned what it should have: its last argument."""
    return bool(result == payload[-1])


def workload(service_ms: Mapping[str, float] = SERVICE_MS, spread: float = 0.0) -> Workload:
    """`predict` and `batch`, nine to one, each waiting for its service time; `obey` for what is placed by a plan.

    Args:
        service_ms: the service time of each kind, or its median where it varies.
        spread: the sigma of its lognormal distribution; 0 for always as long.
    """
    times = {**SERVICE_MS, **service_ms}

    def waiting(kind: str) -> Callable[[random.Random], tuple[Any, ...]]:
        if not spread:
            return lambda rng: ("wait", times[kind] / 1000, rng.getrandbits(32))
        return lambda rng: (
            "wait",
            times[kind] / 1000 * min(LONGEST, rng.lognormvariate(0.0, spread)),
            rng.getrandbits(32),
        )

    return Workload(
        kinds={
            "predict": Kind(weight=9, payload=waiting("predict"), call=obey, verify=expected),
            "batch": Kind(weight=1, payload=waiting("batch"), call=obey, verify=expected),
            "obey": Kind(weight=0, payload=lambda rng: ("answer", rng.getrandbits(32)), call=obey, verify=expected),
        },
        modules=(commands.__name__,),
        in_workers=commands.REFERENCE,
    )


def waits() -> Workload:
    """Operations of one known length, for scenarios that load a pool in proportion to its capacity."""
    return Workload(
        kinds={
            "wait": Kind(payload=lambda rng: ("wait", WAIT_S, rng.getrandbits(32)), call=obey, verify=expected),
            "overdue": Kind(
                weight=0, payload=lambda rng: ("wait", OVERDUE_S, rng.getrandbits(32)), call=obey, verify=expected
            ),
        },
        modules=(commands.__name__,),
        in_workers=commands.REFERENCE,
    )


def answers() -> Workload:
    """Operations that take no time: what is measured with them is the pool's own."""
    return Workload(
        kinds={
            "answer": Kind(payload=lambda rng: ("answer", rng.getrandbits(32)), call=obey, verify=expected),
        },
        modules=(commands.__name__,),
        in_workers=commands.REFERENCE,
    )
