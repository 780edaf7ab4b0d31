"""The history of a simulated run while it is written: the columns of the real ones, kept as lists."""

from typing import Any, Final

import numpy as np

from poolproof.history import (
    Error,
    Executions,
    Fault,
    History,
    Incarnation,
    Leftover,
    Lifecycle,
    Operations,
    Outcome,
    Phase,
    column_types,
)
from poolproof.plan import Claims, Plan
from poolproof.probe import NO_SESSION, type_mark
from poolproof.simulation.process import Command, Process, State
from poolproof.simulation.timeline import Timeline
from poolproof.workloads.commands import ScriptedError

LAB_PID: Final = 1
"""The process that all simulated workers are children of."""

_COMMAND: Final = "simulated worker"
_LATEST: Final = 5_000
_MESSAGE_CHARACTERS: Final = 400
_USER_ERROR: Final = f"{ScriptedError.__module__}.{ScriptedError.__qualname__}"
_USER_MARK: Final = type_mark(_USER_ERROR)


class Record:
    """Writes down what clients and workers see, and what becomes of the run."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        # One list a column, and one entry an operation: the quickest that there is to append to.
        self.kind: list[int] = []
        self.phase: list[int] = []
        self.session: list[int] = []
        self.session_seq: list[int] = []
        self.deadline: list[int] = []
        self.idempotent: list[int] = []
        self.due: list[int] = []
        self.sent: list[int] = []
        self.accepted: list[int] = []
        self.done: list[int] = []
        self.outcome: list[int] = []
        self.error: list[int] = []
        self.echoed: list[int] = []
        self._began: list[tuple[int, int, int, int, int, int, int]] = []
        self._ended: list[int] = []
        self._raised: list[int] = []
        self._errors: dict[tuple[str, str], Error] = {}
        self._born: dict[int, int] = {}
        """When each process started, by its pid."""
        self._seen: dict[int, int] = {}
        self._gone: dict[int, int] = {}
        self.faults: list[Fault] = []
        self.lifecycle: list[Lifecycle] = []
        self.leftovers: list[Leftover] = []

    def add(
        self,
        kind: int,
        phase: Phase,
        *,
        session: int = -1,
        session_seq: int = -1,
        due: int = 0,
        deadline: int = 0,
        idempotent: int = 0,
    ) -> int:
        """An operation is going to be sent; its number."""
        op = len(self.kind)
        self.kind.append(kind)
        self.phase.append(phase)
        self.session.append(session)
        self.session_seq.append(session_seq)
        self.due.append(due)
        self.deadline.append(deadline)
        self.idempotent.append(idempotent)
        self.sent.append(0)
        self.accepted.append(0)
        self.done.append(0)
        self.outcome.append(0)
        self.error.append(-1)
        self.echoed.append(-1)
        return op

    @property
    def next_op(self) -> int:
        """The number that the next operation gets."""
        return len(self.kind)

    def failures(self, since: int) -> tuple[int, int]:
        """How many measured operations ended since a moment, ns, and how many of those failed.

        Of the last so many: it is asked ten times a second, and a run may have a million.
        """
        rows = range(max(0, len(self.done) - _LATEST), len(self.done))
        ended = [op for op in rows if self.done[op] and self.done[op] >= since and self.phase[op] == Phase.MEASURED]
        return len(ended), sum(self.outcome[op] not in (Outcome.OK, Outcome.USER_ERROR) for op in ended)

    def resolve(self, op: int, outcome: Outcome, error: BaseException | None = None) -> None:
        """The client sees how an operation ended."""
        if error is not None:
            self.error[op] = self._number(error)
        self.outcome[op] = outcome
        self.done[op] = self._timeline.now

    def began(self, process: Process, op: int, state: State | None) -> int:
        """A worker's record of a beginning; its row."""
        now = self._timeline.now
        if state is None:
            self._began.append((op, process.pid, process.start_time, now, NO_SESSION, 0, 0))
        else:
            self._began.append((op, process.pid, process.start_time, now, state.token, state.epoch, state.counter))
        self._ended.append(0)
        self._raised.append(0)
        return len(self._ended) - 1

    def ended(self, row: int, command: Command) -> None:
        """A worker's record of an end."""
        self._ended[row] = self._timeline.now
        if command[0] == "fail":
            self._raised[row] = 1

    def born(self, process: Process) -> None:
        """A process was forked."""
        self._born[process.pid] = process.start_time
        self._seen[process.pid] = self._timeline.now

    def gone(self, process: Process) -> None:
        """A process has ended."""
        self._gone[process.pid] = self._timeline.now

    def event(self, event: str, stage: str = "", value: float | None = None, detail: str = "") -> None:
        """An event of the run itself."""
        self.lifecycle.append(Lifecycle(event=event, at=self._timeline.now, stage=stage, value=value, detail=detail))

    def history(self, plan: Plan, claims: Claims, kinds: tuple[str, ...], environment: dict[str, str]) -> History:
        """The record as checks read it."""
        columns = {
            "op": range(len(self.kind)),
            "cancelled_at": np.zeros(len(self.kind)),
            **{name: getattr(self, name) for name in _LISTS},
        }
        types = column_types(Operations)
        operations = Operations(**{name: np.array(columns[name], dtype=kind) for name, kind in types.items()})
        return History(
            plan=plan,
            claims=claims,
            kinds=kinds,
            operations=operations,
            executions=self.executions(),
            errors=tuple(self._errors.values()),
            incarnations=tuple(
                Incarnation(
                    pid=pid,
                    start_time=start_time,
                    ppid=LAB_PID,
                    seen=self._seen[pid],
                    gone=self._gone.get(pid, 0),
                    command=_COMMAND,
                )
                for pid, start_time in self._born.items()
            ),
            faults=tuple(self.faults),
            lifecycle=tuple(self.lifecycle),
            leftovers=tuple(self.leftovers),
            environment=environment,
        )

    def executions(self) -> Executions:
        """What the workers have written down so far."""
        types = column_types(Executions)
        columns: dict[str, Any] = dict.fromkeys(types, ())
        if self._began:
            names = ("op", "pid", "start_time", "started", "session", "epoch", "counter")
            columns.update(zip(names, zip(*self._began, strict=True), strict=True))
            columns["tid"] = columns["pid"]
            columns["ended"], columns["raised"] = self._ended, self._raised
            columns["error_type"] = [_USER_MARK * raised for raised in self._raised]
        return Executions(**{name: np.array(columns[name], dtype=kind) for name, kind in types.items()})

    def _number(self, error: BaseException) -> int:
        name = f"{type(error).__module__}.{type(error).__qualname__}"
        key = (name, str(error)[:_MESSAGE_CHARACTERS])
        if key not in self._errors:
            cause = error.__cause__
            self._errors[key] = Error(
                error=len(self._errors),
                type=name,
                bases=tuple(f"{it.__module__}.{it.__qualname__}" for it in type(error).__mro__[1:-1]),
                message=key[1],
                cause="" if cause is None else f"{type(cause).__name__}: {cause}",
            )
        return self._errors[key].error


_LISTS: Final = (
    *("kind", "phase", "session", "session_seq", "deadline", "idempotent"),
    *("due", "sent", "accepted", "done", "outcome", "error", "echoed"),
)
