"""What the operations are: workloads of kinds, and one operation as a pool gets it."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from poolproof.probe import Call


def _equal(payload: Any, result: Any) -> bool:
    return bool(payload == result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of operation.

    Attributes:
        weight: its share of the mix, relative to the others; 0 keeps it out of the mix, for scenarios that place it.
        payload: makes one argument from a seeded random source; must pickle, unless not pickling is the point.
        call: runs in the worker on the payload and the session's own state (an empty dict where there is no session).
        verify: tells in the client whether the result is the right one for that payload.
        raises: names (`module.Type`) of exceptions of the user's own with which this kind may end; where there are
            any, a plain return is a wrong result unless `may_return`.
        may_return: whether it may also return although it may raise.
    """

    call: Callable[[Any, dict[str, Any]], Any]
    payload: Callable[[random.Random], Any]
    verify: Callable[[Any, Any], bool] = _equal
    weight: float = 1.0
    raises: tuple[str, ...] = ()
    may_return: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the operations are.

    Attributes:
        kinds: by their names, with weights.
        setup: what a worker process does once before its first operation.
        modules: what the operations import; a pool that can import once for all its workers is told.
        in_workers: the reference (`module:name`) of what workers import in place of the whole workload, where that
            would import what they do not need: something with the same `kinds`, each with its `call`, and `setup`.
            Empty for the workload itself.
    """

    kinds: Mapping[str, Kind]
    setup: Callable[[], None] | None = None
    modules: tuple[str, ...] = ()
    in_workers: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request as a pool gets it.

    Attributes:
        op: its number in this run, echoed by the worker.
        call: what to run in a worker: `call()`, or `call(state)` with the session's state.
        session: the session that it belongs to, or None.
        deadline_ns: the CLOCK_MONOTONIC moment by which it must have ended, or None.
        idempotent: whether the pool may run it again.
    """

    op: int
    kind: str
    call: Call
    session: int | None = None
    deadline_ns: int | None = None
    idempotent: bool = False
