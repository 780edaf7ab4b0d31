"""The tables of a history: their columns, types and units. A change bumps `SCHEMA`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, get_type_hints

import msgspec
import numpy as np
import numpy.typing as npt

SCHEMA: Final = "poolproof/history-3"

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]


class Outcome(IntEnum):
    """How an operation ended, as the client saw it."""

    UNRESOLVED = 0
    OK = 1
    WRONG = 2
    USER_ERROR = 3
    POOL_ERROR = 4
    CANCELLED = 5
    REJECTED = 6

    @property
    def label(self) -> str:
        """Its name in words: `pool-error`."""
        return self.name.lower().replace("_", "-")


class Phase(IntEnum):
    """To which part of the run an operation belongs."""

    WARM_UP = 0
    MEASURED = 1
    PROBE = 2
    AFTER_CLOSE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """One row an operation that was planned, in order of `op`, which is also its row number.

    Times are ns of CLOCK_MONOTONIC, 0 where it never happened: `due` by the schedule, `sent` before the pool's submit
    was called, `accepted` when that returned or raised, `done` when the client saw the outcome, `cancelled_at` when the
    client asked for it. `kind` indexes the history's list of kinds, `session`, `error` and `echoed` are -1 for none.
    """

    op: Annotated[I64, np.int64]
    kind: Annotated[U8, np.uint8]
    phase: Annotated[U8, np.uint8]
    session: Annotated[I32, np.int32]
    session_seq: Annotated[I32, np.int32]
    deadline: Annotated[I64, np.int64]
    idempotent: Annotated[U8, np.uint8]
    due: Annotated[I64, np.int64]
    sent: Annotated[I64, np.int64]
    accepted: Annotated[I64, np.int64]
    done: Annotated[I64, np.int64]
    cancelled_at: Annotated[I64, np.int64]
    outcome: Annotated[U8, np.uint8]
    error: Annotated[I32, np.int32]
    echoed: Annotated[I64, np.int64]

    def __len__(self) -> int:
        return len(self.op)


@dataclass(frozen=True, slots=True, kw_only=True)
class Executions:
    """One row an execution that a worker began, in order of `started`.

    `ended` is 0 where the worker left no end record, `raised` 1 where the call raised, `error_type` the mark of
    that error's type (`probe.type_mark`). `session` is the token found in
    the session's state, `epoch` the random number written there at its first use, `counter` its uses so far.
    """

    op: Annotated[I64, np.int64]
    pid: Annotated[I32, np.int32]
    start_time: Annotated[I64, np.int64]
    tid: Annotated[I32, np.int32]
    started: Annotated[I64, np.int64]
    ended: Annotated[I64, np.int64]
    raised: Annotated[U8, np.uint8]
    error_type: Annotated[I64, np.int64]
    session: Annotated[I64, np.int64]
    epoch: Annotated[U64, np.uint64]
    counter: Annotated[I64, np.int64]

    def __len__(self) -> int:
        return len(self.op)


_TYPES: Final[dict[type[Any], Mapping[str, type[np.generic]]]] = {}
"""What `column_types` has told: to read the annotations takes as long as to judge a small table."""


def column_types(table: type[Any]) -> Mapping[str, type[np.generic]]:
    """The numpy type of each column of `Operations` or `Executions`, in order."""
    if table not in _TYPES:
        hints = get_type_hints(table, include_extras=True)
        _TYPES[table] = MappingProxyType({field.name: hints[field.name].__metadata__[0] for field in fields(table)})
    return _TYPES[table]


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the rows of the small tables."""


class Error(Row, frozen=True, kw_only=True):
    """One distinct error that operations ended with; `operations.error` is its number."""

    error: int
    type: str
    bases: tuple[str, ...]
    message: str
    cause: str


class Incarnation(Row, frozen=True, kw_only=True):
    """One life of a process below the lab; `gone` is 0 where it outlived the watch."""

    pid: int
    start_time: int
    ppid: int
    seen: int
    gone: int
    command: str


class Fault(Row, frozen=True, kw_only=True):
    """One harm done to one process.

    Attributes:
        fault: its number in the scenario's list.
        effective: `yes`, `no`, `pool-dead` where it found no worker alive to harm, or `inapplicable` where the pool's
            workers are threads of its own process.
        why: how that is known.
        held: the operations that the victim had begun and not ended, frozen at that moment; of a harm that lasts, also
            those that it took up until the end, where the layer can tell.
        sessions: whose data it harmed.
        end: when it was undone, or when the victim's death was confirmed.
    """

    fault: int
    kind: str
    target: str
    pid: int
    start_time: int
    begin: int
    end: int
    effective: Literal["yes", "no", "pool-dead", "inapplicable"]
    why: str
    held: tuple[int, ...] = ()
    sessions: tuple[int, ...] = ()


class Sample(Row, frozen=True, kw_only=True):
    """What the run's processes used at one moment; ticks are clock ticks of the lab's main thread (the generator)."""

    at: int
    processes: int
    zombies: int
    memory_bytes: int
    generator_ticks: int
    lab_threads: int
    lab_files: int


class Usage(Row, frozen=True, kw_only=True):
    """What one process of the run used at one moment of the load.

    Attributes:
        role: `worker`, one with records; `lab`, the pool's own process and the generator's; or `other`.
        cpu_s: processor time that it has spent since it began, seconds.
        pss_bytes: resident memory, each shared page divided by how many share it.
        uss_bytes: memory that is its own alone: what its end would free.
        waits: voluntary context switches since it began: how often it waited for something.
        preemptions: involuntary ones: how often it had to make room for others.
    """

    at: int
    pid: int
    start_time: int
    role: Literal["worker", "lab", "other"]
    cpu_s: float
    rss_bytes: int
    pss_bytes: int
    uss_bytes: int
    threads: int
    files: int
    waits: int
    preemptions: int


class Host(Row, frozen=True, kw_only=True):
    """What the whole machine was at, at one moment of the load; all processors together, seconds since it began."""

    at: int
    busy_s: float
    idle_s: float
    available_bytes: int


class Lifecycle(Row, frozen=True, kw_only=True):
    """An event of the run itself: a stage that began or ended, a capacity that was probed, a process that ended."""

    event: str
    at: int
    stage: str = ""
    value: float | None = None
    detail: str = ""


class Leftover(Row, frozen=True, kw_only=True):
    """Something that stayed behind: `after` says what should have ended it (`close`, `lab`)."""

    after: str
    what: str
    owner: str
    detail: str
    pid: int = 0
    start_time: int = 0
    at: int = 0
