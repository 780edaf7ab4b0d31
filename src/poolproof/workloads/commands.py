"""What scripted operations obey, answer, wait, fail, hang, garble, exit, allocate, and what workers need of it.

Standard library only, and little of that, for it is imported by the workers of any pool. It must not know what a
workload is in the client: how its payloads are made and verified is in `poolproof.workloads.scripted`.

A payload is a command with its arguments, so a test decides what each single operation does.
"""

import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

REFERENCE: Final = "poolproof.workloads.commands:in_workers"
"""Where a worker finds all that it needs to obey."""


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


class Obeying(NamedTuple):
    """A kind of operation, as far as a worker is concerned."""

    call: Callable[[tuple[Any, ...], dict[str, Any]], Any] = obey


class InWorkers(NamedTuple):
    """A workload, as far as a worker is concerned."""

    kinds: Mapping[str, Obeying]
    setup: Callable[[], None] | None = None


in_workers: Final = InWorkers(dict.fromkeys(("predict", "batch", "obey", "wait", "overdue", "answer"), Obeying()))
"""All of `scripted` in one: whatever kind an operation is of, its payload says what to do."""
