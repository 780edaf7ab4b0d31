"""The history of a run, in memory and on disk: journals while it runs, Parquet afterwards, no pickle ever."""

import contextlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args, get_type_hints

import msgspec
import numpy as np

from poolproof import plan as plans
from poolproof.errors import HistoryError
from poolproof.history import columns, journal, records
from poolproof.history.schema import (
    SCHEMA,
    Error,
    Executions,
    Fault,
    Host,
    Incarnation,
    Leftover,
    Lifecycle,
    Operations,
    Outcome,
    Phase,
    Row,
    Sample,
    Usage,
    column_types,
)
from poolproof.probe import type_mark

if TYPE_CHECKING:
    import pyarrow as pa

# pyarrow is imported where it is used: lab and conductor import this package too, and must stay light.

PLAN: Final = "plan.json"
CLAIMS: Final = "claims.json"
META: Final = "history.json"
TABLES: Final = "history"

_R = TypeVar("_R", bound=Row)
_T = TypeVar("_T", Operations, Executions)


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs to a history beside its tables."""

    schema: str
    kinds: tuple[str, ...]
    claims: plans.Claims
    damaged_bytes: int
    environment: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The append-only record of one run, whole and in memory; checks read it and nothing else.

    Attributes:
        plan: what was to happen.
        claims: what the pool says of itself.
        kinds: the dictionary of `operations.kind`.
        damaged_bytes: how much of the execution records could not be read; above 0, absence proves nothing.
        environment: the machine and the interpreter.
    """

    plan: plans.Plan
    claims: plans.Claims
    kinds: tuple[str, ...]
    operations: Operations
    executions: Executions
    errors: tuple[Error, ...] = ()
    incarnations: tuple[Incarnation, ...] = ()
    faults: tuple[Fault, ...] = ()
    samples: tuple[Sample, ...] = ()
    usages: tuple[Usage, ...] = ()
    hosts: tuple[Host, ...] = ()
    lifecycle: tuple[Lifecycle, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    damaged_bytes: int = 0
    environment: dict[str, str]

    def first(self, event: str, stage: str = "") -> Lifecycle | None:
        """The first event of that name, of that stage where one is named."""
        return next((e for e in self.lifecycle if e.event == event and stage in ("", e.stage)), None)

    def last(self, event: str, stage: str) -> Lifecycle | None:
        """The last event of that name and stage."""
        return next((e for e in reversed(self.lifecycle) if e.event == event and e.stage == stage), None)

    @property
    def origin(self) -> int:
        """The start of the measured window, or of the run where it never came to that: zero of all times shown."""
        start = self.first("measured") or (self.lifecycle[0] if self.lifecycle else None)
        return start.at if start else 0

    @property
    def patience_s(self) -> float:
        """How long after the last heal or its sending an operation may stay unresolved, in seconds."""
        starts = [event.value or 0.0 for event in self.lifecycle if event.event == "ready"]
        return self.plan.resolution_s(self.claims, max(starts, default=0.0))

    def seconds(self, at: int) -> float:
        """A moment as people read it: seconds after `origin`."""
        return (at - self.origin) / 1e9

    def kind_of(self, op: int) -> str:
        """The kind of an operation, in words."""
        return self.kinds[int(self.operations.kind[op])]

    def of_kinds(self, names: frozenset[str]) -> np.ndarray:
        """Mask of the operations of the named kinds; shape (operations,)."""
        wanted = [index for index, kind in enumerate(self.kinds) if kind in names]
        return np.isin(self.operations.kind, wanted)

    def in_phase(self, phase: Phase) -> np.ndarray:
        """Mask of the operations of one phase; shape (operations,)."""
        return np.asarray(self.operations.phase == phase)

    def ended(self, *outcomes: Outcome) -> np.ndarray:
        """Mask of the operations that were sent and ended in one of these ways; shape (operations,).

        An outcome whose `done` is missing was being written when its writer died: it does not count.
        """
        operations = self.operations
        return np.isin(operations.outcome, outcomes) & (operations.sent > 0) & (operations.done > 0)

    def ended_with(self, types: Iterable[str]) -> np.ndarray:
        """Mask of the operations that failed with an error of these types, bases included; shape (operations,)."""
        wanted = set(types)
        numbers = [error.error for error in self.errors if wanted & {error.type, *error.bases}]
        failed = self.ended(Outcome.POOL_ERROR, Outcome.REJECTED)
        return np.asarray(failed & np.isin(self.operations.error, numbers))

    @property
    def last_heal(self) -> int:
        """When the last fault was over; 0 where there was none."""
        return max((fault.end for fault in self.faults), default=0)

    @property
    def known(self) -> np.ndarray:
        """Mask of the executions of operations that the client knows; shape (executions,)."""
        op = self.executions.op
        return np.asarray((op >= 0) & (op < len(self.operations)))

    def effective(self, kind: str = "", target: Literal["pool", "parent"] = "pool") -> list[Fault]:
        """The faults that took effect, of a kind where one is named: on the pool, or on the process that it is in."""
        specs = self.plan.scenario.faults
        return [
            fault
            for fault in self.faults
            if fault.effective == "yes"
            and kind in ("", fault.kind)
            and (specs[fault.fault].target == "parent") == (target == "parent")
        ]

    def executions_of(self, op: int) -> np.ndarray:
        """Row numbers of the executions of one operation."""
        return np.flatnonzero(self.executions.op == op)

    def lives(self, rows: np.ndarray, *, threads: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """A number for the life that ran each of these executions, and the first row of each life by that number.

        A life is that of a process, or of a thread of it where threads are told apart.
        """
        executions = self.executions
        lives = number = np.zeros(len(rows), dtype=np.int64)
        for column in (executions.pid, executions.start_time, executions.tid)[: 3 if threads else 2]:
            distinct, code = np.unique(column[rows], return_inverse=True)
            # Numbered anew for each column, so that no product of many numbers can overflow.
            lives, number = np.unique(number * len(distinct) + code, return_inverse=True)
        first = np.empty(len(lives), dtype=np.int64)
        first[number[::-1]] = rows[::-1]  # the last one written stays: the first one of all
        return number, first


def collect(folder: Path, environment: dict[str, str]) -> History:
    """Read what a run that has ended left in its folder.

    Raises:
        HistoryError: something that must be there is missing or damaged.
    """
    operations, kinds = columns.read_columns(folder)
    executions, damaged = records.read_records(folder)
    history = History(
        plan=read_plan(folder),
        claims=_read_claims(folder),
        kinds=kinds,
        operations=operations,
        executions=executions,
        damaged_bytes=damaged,
        environment=environment,
        **{name: journal.read(folder, row) for name, row in journal.TABLES.items()},  # type: ignore[arg-type]
    )
    _tell_users_errors(history)
    return history


def _tell_users_errors(history: History) -> None:
    """An error of the very type that the worker saw the call raise is the user's own, handed on as itself."""
    operations, executions = history.operations, history.executions
    marks = {error.error: type_mark(error.type) for error in history.errors}
    raised = np.flatnonzero((executions.raised == 1) & history.known)
    op, seen = executions.op[raised], executions.error_type[raised]
    failed = operations.outcome[op] == Outcome.POOL_ERROR
    op, seen = op[failed], seen[failed]
    numbers, which = np.unique(operations.error[op], return_inverse=True)
    handed_on = np.array([marks.get(number, -1) for number in numbers.tolist()], dtype=np.int64)  # no mark is negative
    operations.outcome[op[handed_on[which] == seen]] = Outcome.USER_ERROR


def write_claims(folder: Path, claims: plans.Claims) -> None:
    """Note in the run folder what the pool that was built says of itself."""
    # Renamed into place: the lab may die while it writes.
    (folder / f"{CLAIMS}.new").write_bytes(msgspec.json.encode(claims))
    (folder / f"{CLAIMS}.new").rename(folder / CLAIMS)


def save(history: History, folder: Path) -> None:
    """Write the tables as Parquet, then remove the raw files that they were made from."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    home = folder / TABLES
    home.mkdir(exist_ok=True)
    for name, table in (("operations", history.operations), ("executions", history.executions)):
        arrays = {field.name: pa.array(getattr(table, field.name)) for field in fields(table)}
        pq.write_table(pa.table(arrays), home / f"{name}.parquet", compression="zstd")
    for name, row in journal.TABLES.items():
        rows = [msgspec.to_builtins(entry) for entry in getattr(history, name)]
        pq.write_table(pa.Table.from_pylist(rows, schema=_arrow_schema(row)), home / f"{name}.parquet")
    meta = Meta(
        schema=SCHEMA,
        kinds=history.kinds,
        claims=history.claims,
        damaged_bytes=history.damaged_bytes,
        environment=history.environment,
    )
    # Written last: a folder with this file has all its tables.
    (folder / META).write_bytes(msgspec.json.format(msgspec.json.encode(meta), indent=2))
    shutil.rmtree(folder / columns.FOLDER, ignore_errors=True)
    shutil.rmtree(folder / records.FOLDER, ignore_errors=True)
    for name in (CLAIMS, *(f"{table}.jsonl" for table in journal.TABLES)):
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()


def load(folder: Path) -> History:
    """Read a saved history.

    Raises:
        HistoryError: the folder holds none, or one that is truncated, damaged or of another version.
    """
    if not (folder / META).is_file():
        what = "the run did not end there" if (folder / PLAN).is_file() else "not a run folder"
        raise HistoryError(folder, f"{META} is missing: {what}; name a folder that `--report` wrote")
    try:
        # Its version first: a history of another version may have another shape.
        written = msgspec.json.decode((folder / META).read_bytes(), type=dict)
        if written.get("schema") != SCHEMA:
            raise HistoryError(
                folder,
                f"it is of version {written.get('schema')!r}, this program reads {SCHEMA!r}; "
                "judge it with the version that wrote it",
            )
        meta = msgspec.convert(written, Meta)
    except msgspec.MsgspecError as error:
        raise HistoryError(folder, f"{META} is damaged ({error}); run the experiment again") from error
    tables = {name: _read_rows(folder, name, row) for name, row in journal.TABLES.items()}
    return History(
        plan=read_plan(folder),
        claims=meta.claims,
        kinds=meta.kinds,
        operations=_read_columns(folder, "operations", Operations),
        executions=_read_columns(folder, "executions", Executions),
        damaged_bytes=meta.damaged_bytes,
        environment=meta.environment,
        **tables,  # type: ignore[arg-type]
    )


def write_plan(plan: plans.Plan, folder: Path) -> None:
    """Note in the run folder what is to happen."""
    (folder / PLAN).write_bytes(plans.encode(plan))


def read_plan(folder: Path) -> plans.Plan:
    """The plan of a run folder.

    Raises:
        HistoryError: it is missing, damaged or of another version.
    """
    try:
        return plans.decode((folder / PLAN).read_bytes())
    except OSError as error:
        raise HistoryError(folder, f"{PLAN} can't be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise HistoryError(folder, f"{PLAN} is damaged or of another version: {error}") from error


def _read_claims(folder: Path) -> plans.Claims:
    """What the pool said of itself once it was built; nothing where it never was."""
    path = folder / CLAIMS
    return msgspec.json.decode(path.read_bytes(), type=plans.Claims) if path.exists() else plans.Claims()


def _read_table(folder: Path, name: str) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / TABLES / f"{name}.parquet"
    try:
        return pq.read_table(path, memory_map=True)
    except FileNotFoundError as error:
        raise HistoryError(folder, f"{path.name} is missing: the folder is truncated; run it again") from error
    except (pa.ArrowException, OSError) as error:
        raise HistoryError(folder, f"{path.name} is truncated or damaged ({error}); run it again") from error


def _read_columns(folder: Path, name: str, table: type[_T]) -> _T:
    read = _read_table(folder, name)
    wanted = column_types(table)
    if read.column_names != list(wanted):
        raise HistoryError(folder, f"{name}.parquet has the columns {read.column_names}, expected {list(wanted)}")
    try:
        return table(**{column: read[column].to_numpy().astype(kind, copy=False) for column, kind in wanted.items()})
    except (ValueError, TypeError) as error:
        raise HistoryError(folder, f"{name}.parquet holds values of another type: {error}") from error


def _read_rows(folder: Path, name: str, row: type[_R]) -> tuple[_R, ...]:
    try:
        return tuple(msgspec.convert(entry, row) for entry in _read_table(folder, name).to_pylist())
    except msgspec.ValidationError as error:
        raise HistoryError(folder, f"{name}.parquet holds rows of another shape: {error}") from error


def _arrow_schema(row: type[Row]) -> "pa.Schema":
    import pyarrow as pa

    plain = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}

    def arrow(kind: Any) -> "pa.DataType":
        if kind in plain:
            return plain[kind]
        arguments = [argument for argument in get_args(kind) if argument not in (type(None), Ellipsis)]
        if isinstance(arguments[0], str):
            return pa.string()
        return pa.list_(arrow(arguments[0])) if getattr(kind, "__origin__", None) is tuple else arrow(arguments[0])

    return pa.schema([(name, arrow(kind)) for name, kind in get_type_hints(row).items() if not name.startswith("_")])
