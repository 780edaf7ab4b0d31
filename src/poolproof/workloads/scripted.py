"""Operations that obey commands: answer, wait, fail, hang, garble, exit, allocate. Layers 1 and 2 run on it.

A payload is a command with its arguments, so a test decides what each single operation does.
"""

import math
import os
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from poolproof.plan import Kind, Workload

SERVICE_MS: Final = {"predict": 10.0, "batch": 50.0}

WAIT_S: Final = 0.020
"""What each operation of `waits` takes: n workers can do n / WAIT_S of them a second, whatever the machine."""

LONGEST: Final = 10.0
"""How many times the median an operation takes at most, where times vary: what hangs is a command of its own."""

OVERDUE_S: Final = 1.5
"""What an operation of the kind `overdue` takes, if it is let: finite, so that a pool without deadlines survives it."""


class ScriptedError(Exception):
    """What `fail` raises: an exception of the user's own, which a pool hands on as itself."""


def answer(value: Any) -> Any:
    """Return `value` at once."""
    return value


def wait(seconds: float, value: Any) -> Any:
    """Occupy the worker for a while without using its processor, then return `value`."""
    time.sleep(seconds)
    return value


def fail(message: str) -> Any:
    """Raise a `ScriptedError`."""
    raise ScriptedError(message)


def hang() -> Any:
    """Never return."""
    while True:
        time.sleep(3600)


def garble(value: Any) -> Any:
    """Return something other than what was asked for."""
    return ("garbled", value)


def leave(status: int) -> Any:
    """End the worker process on the spot, as a crash in native code would."""
    os._exit(status)


def allocate(megabytes: int) -> int:
    """Touch so many megabytes, then return how many."""
    return len(bytearray(megabytes << 20)) >> 20


COMMANDS: Final[Mapping[str, Callable[..., Any]]] = {
    "answer": answer,
    "wait": wait,
    "fail": fail,
    "hang": hang,
    "garble": garble,
    "exit": leave,
    "allocate": allocate,
}


_ARGUMENTS: Final[Mapping[str, tuple[type | tuple[type, ...], ...]]] = {
    "answer": (object,),
    "wait": ((int, float), object),
    "fail": (str,),
    "hang": (),
    "garble": (object,),
    "exit": (int,),
    "allocate": (int,),
}
"""What each command takes."""


def is_command(payload: Any) -> bool:
    """Whether a payload is one that `obey` takes: what layer 1 can simulate."""
    if not (isinstance(payload, tuple) and payload and isinstance(payload[0], str) and payload[0] in COMMANDS):
        return False
    name, *arguments = payload
    kinds = _ARGUMENTS[name]
    return (
        len(arguments) == len(kinds)
        and all(isinstance(value, kind) for value, kind in zip(arguments, kinds, strict=True))
        and not (name in ("wait", "allocate") and not 0 <= arguments[0] < math.inf)
    )


def obey(payload: tuple[Any, ...], state: dict[str, Any]) -> Any:
    """Carry out one command: `(name, *arguments)`."""
    command, *arguments = payload
    return COMMANDS[command](*arguments)


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
        }
    )


def waits() -> Workload:
    """Operations of one known length, for scenarios that load a pool in proportion to its capacity."""
    return Workload(
        kinds={
            "wait": Kind(payload=lambda rng: ("wait", WAIT_S, rng.getrandbits(32)), call=obey, verify=expected),
            "overdue": Kind(
                weight=0, payload=lambda rng: ("wait", OVERDUE_S, rng.getrandbits(32)), call=obey, verify=expected
            ),
        }
    )
