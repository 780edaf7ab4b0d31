"""The client of a simulated pool: what it sends, what its workers obey, and how it all ends, written down at once."""

from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from poolproof.history import Outcome, Phase
from poolproof.simulation.process import Command, Process, State
from poolproof.simulation.record import Record
from poolproof.simulation.timeline import Timeline
from poolproof.simulation.world import StuckError, World
from poolproof.workloads.commands import ScriptedError
from sessionpool.errors import WorkerDied
from sessionpool.wire import Frame, Kind

_RESULT: Final = int(Kind.RESULT)
_ERROR: Final = int(Kind.ERROR)

_FORGOTTEN: Final = int(Kind.FORGOTTEN)

CLOSING: Final = ("close",)
"""The command of what is no operation, but the end of a session."""

_FIRST_PID: Final = 100_001

Ended = Callable[[int, Any], object]
"""Told an operation, and what its future would be set to: a result, an exception, or None where it was cancelled."""


class NoAnswerError(Exception):
    """The core ended an operation with something that is neither a result nor an error."""


class Client:
    """Knows every operation of a run, and is what a world works for.

    Attributes:
        record: where it is all written down.
        unresolved: how many operations were sent and have no outcome.
        max_runs: how often an idempotent operation may be run.
        ended: told of each operation that ends, where somebody wants to know.
    """

    def __init__(self, timeline: Timeline, max_runs: int) -> None:
        self.record = Record(timeline)
        self.unresolved = 0
        self.ended: Ended | None = None
        self._timeline = timeline
        self.max_runs = max_runs
        self._commands: list[Command] = []
        self._runs: Counter[int] = Counter()
        self._pids = count(_FIRST_PID)

    def prepare(self, kind: int, phase: Phase, command: Command, **terms: int) -> int:
        """An operation is going to be sent; its number.

        Args:
            kind: index of its kind.
            phase: of the run.
            command: what it obeys.
            terms: as `Record.add` takes them.
        """
        self._commands.append(command)
        return self.record.add(kind, phase, **terms)

    def send(self, world: World, op: int) -> bool:
        """Submit an operation; whether it was accepted. Whatever the core raises is its answer."""
        record, now = self.record, self._timeline.now
        session, deadline = record.session[op], record.deadline[op]
        record.sent[op] = now
        self.unresolved += 1
        try:
            world.submit(
                op,
                kind=record.kind[op],
                session=None if session < 0 else session,
                deadline_s=(deadline - now) * 1e-9 if deadline else None,
                idempotent=bool(record.idempotent[op]),
                closes=self._commands[op] is CLOSING,
            )
        except StuckError:
            raise
        except Exception as error:  # whatever it raises at its client
            self.unresolved -= 1
            record.accepted[op] = now
            record.resolve(op, Outcome.REJECTED, error)
            if self.ended is not None:
                self.ended(op, error)
            return False
        record.accepted[op] = now
        return True

    # --- for the world ------------------------------------------------------------------------------------------

    def command(self, op: int) -> Command:
        """What an operation obeys."""
        return self._commands[op]

    def session(self, op: int) -> int:
        """The session that an operation belongs to; -1 for none."""
        return self.record.session[op]

    def began(self, process: Process, op: int, state: State | None) -> int:
        """An operation begins; the row of its record."""
        if self.record.idempotent[op]:
            self._runs[op] += 1
            if self._runs[op] > self.max_runs:
                self.violated(
                    "runs-at-most-once", f"operation {op} was run {self._runs[op]} times, {self.max_runs} may be"
                )
        return self.record.began(process, op, state)

    def finished(self, row: int, command: Command) -> None:
        """An execution is over."""
        self.record.ended(row, command)

    def new_pid(self) -> int:
        """The number of a process that is about to be."""
        return next(self._pids)

    def born(self, process: Process) -> None:
        """There is a process."""
        self.record.born(process)

    def gone(self, process: Process) -> None:
        """A process has ended."""
        self.record.gone(process)

    def resolved(self, op: int, answer: Any) -> None:
        """The core ends an operation: by a frame, by an error, or by nothing."""
        record = self.record
        if record.done[op]:
            self.violated("returns-the-right-result", f"operation {op} was resolved a second time")
            return
        self.unresolved -= 1
        end: Any
        if type(answer) is Frame and answer.kind == _RESULT:
            end = answer.body
            record.echoed[op], value = end
            right = end[0] == op and value == _expected(self._commands[op])
            record.outcome[op] = Outcome.OK if right else Outcome.WRONG
            record.done[op] = self._timeline.now
        elif type(answer) is Frame and answer.kind == _ERROR:
            end = ScriptedError(self._commands[op][-1])
            record.resolve(op, Outcome.USER_ERROR, end)
        elif self._commands[op] is CLOSING and (answer is None or getattr(answer, "kind", None) == _FORGOTTEN):
            end = (op, None)
            record.resolve(op, Outcome.OK)
        elif isinstance(answer, Exception):
            end = answer
            record.resolve(op, Outcome.POOL_ERROR, end)
            if isinstance(end, WorkerDied) and record.idempotent[op] and end.attempts < self.max_runs:
                told = f"operation {op} may run {self.max_runs} times and was given up after {end.attempts}"
                self.violated("survives-worker-death", told)
        else:
            end = NoAnswerError(f"operation {op} was resolved with {answer!r}")
            record.resolve(op, Outcome.WRONG)  # without an error, which would be the verification's own
        if self.ended is not None:
            self.ended(op, end)

    def dropped(self, op: int) -> None:
        """The core cancels an operation."""
        if self.record.done[op]:
            self.violated("returns-the-right-result", f"operation {op} was cancelled after it had ended")
            return
        self.unresolved -= 1
        self.record.resolve(op, Outcome.CANCELLED)
        if self.ended is not None:
            self.ended(op, None)

    def violated(self, promise: str, what: str) -> None:
        """The core did what no pool may, as only this layer can see."""
        self.record.event("violation", promise, detail=what)


def _expected(command: Command) -> Any:
    """What an operation returns that obeyed."""
    return "met" if command[0] == "meet" else command[-1]
