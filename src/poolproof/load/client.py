"""The client of a pool: sends prepared operations, sees how they end, and writes both down at once."""

import pickle
import random
import threading
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import numpy as np

from poolproof import probe
from poolproof.clock import now_ns
from poolproof.errors import TargetError
from poolproof.history import ClientColumns, Error, Journal, Outcome, Phase
from poolproof.load.schedule import Schedule
from poolproof.plan import Kind, Operation
from poolproof.pools import Pool

_MESSAGE_CHARACTERS: Final = 400
_DISTINCT_ERRORS: Final = 10_000


class ErrorTable:
    """Numbers distinct errors; callers are the pool's own threads, so a lock guards the table."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._numbers: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def number(self, error: BaseException) -> int:
        """The number of an error; beyond 10,000 distinct ones, messages are no longer told apart."""
        name, message = qualified(type(error)), text_of(error)
        with self._lock:
            key = (name, message if len(self._numbers) < _DISTINCT_ERRORS else "(many)")
            if key not in self._numbers:
                self._numbers[key] = len(self._numbers)
                cause = error.__cause__
                row = Error(
                    error=self._numbers[key],
                    type=name,
                    bases=tuple(qualified(base) for base in type(error).__mro__[1:-1]),
                    message=key[1],
                    cause="" if cause is None else f"{qualified(type(cause))}: {text_of(cause)}",
                )
                self._journal.write(row)
            return self._numbers[key]


def qualified(kind: type) -> str:
    """A type as checks name it: `module.Name`."""
    return f"{kind.__module__}.{kind.__qualname__}"


def text_of(error: BaseException) -> str:
    """The message of an error, bounded; an error whose `__str__` fails is no reason to fail here."""
    try:
        return str(error)[:_MESSAGE_CHARACTERS]
    except Exception:  # the user's own class may do anything
        return "(its message can't be shown)"


class Client:
    """Sends operations to one pool at a time and records them in the client columns.

    Rows are owned by one writer each: until an operation is sent, by the thread that prepares it; afterwards `done`,
    `outcome`, `error` and `echoed` by whichever thread of the pool resolves it. That thread then puts the number into
    `_ended`, which wakes the one that drains: without it a drain would have to poll, or miss the last one.

    What an operation is made of is kept from when it is prepared until it has ended, and no longer: a run of hours
    holds no more of them than are under way, or prepared ahead.
    """

    def __init__(self, *, folder: Path, columns: ClientColumns, kinds: dict[str, Kind], journal: Journal) -> None:
        self._records = str(folder / "executions")
        self._columns = columns
        self._kinds = [kinds.get(name) for name in columns.kinds]
        self._errors = ErrorTable(journal)
        self._calls: dict[int, probe.Call] = {}
        """What each operation runs that is prepared and has not ended, and those of a warm-up that did not end well."""
        self._rows = 0
        self._ended: SimpleQueue[int] = SimpleQueue()
        self._sent = 0
        self.pool: Pool | None = None

    @property
    def next_op(self) -> int:
        """The number that the next prepared operation gets."""
        return self._rows

    def prepare(
        self,
        kind: int,
        workload: str,
        phase: Phase,
        payload: Any,
        session: int = -1,
        session_seq: int = -1,
        *,
        idempotent: bool = False,
    ) -> int:
        """Write down an operation that is going to be sent; its number."""
        columns, op = self._columns, self._rows
        self._rows += 1
        columns.op[op], columns.kind[op], columns.phase[op] = op, kind, phase
        columns.idempotent[op] = idempotent
        columns.session[op], columns.session_seq[op] = session, session_seq
        columns.error[op] = columns.echoed[op] = -1
        self.provide(op, workload, payload)
        return op

    def lay_out(self, laid_out: Schedule) -> int:
        """Write down all operations of a measured window; the number of the first of them.

        Each is still to be given what it runs, by `provide`, before it is sent.
        """
        columns, first = self._columns, self._rows
        self._rows += len(laid_out)
        rows = slice(first, self._rows)
        np.asarray(columns.op)[rows] = np.arange(first, self._rows)
        np.asarray(columns.phase)[rows] = Phase.MEASURED
        np.asarray(columns.error)[rows] = np.asarray(columns.echoed)[rows] = -1
        for name in ("kind", "session", "session_seq", "idempotent"):
            np.asarray(getattr(columns, name))[rows] = getattr(laid_out, name)
        return first

    def set_due(self, first: int, laid_out: Schedule, start: int) -> memoryview:
        """Write down when what was laid out is due, and its deadlines, now that the start of the load is known.

        Args:
            first: the number of the first of them.
            laid_out: as it was laid out.
            start: the start of the measured window, ns.

        Returns:
            When each is due: the column itself, so that nothing is held twice.
        """
        rows = slice(first, first + len(laid_out))
        due = laid_out.due_ns + start
        np.asarray(self._columns.due)[rows] = due
        if laid_out.deadline_ns.any():
            np.asarray(self._columns.deadline)[rows] = np.where(laid_out.deadline_ns > 0, due + laid_out.deadline_ns, 0)
        return self._columns.due[rows]

    def provide(self, op: int, workload: str, payload: Any) -> None:
        """Give an operation that was written down what it runs."""
        columns = self._columns
        kind = columns.kinds[columns.kind[op]]
        self._calls[op] = probe.Call(self._records, workload, op, kind, payload, columns.session[op])

    def take_back(self, first: int) -> None:
        """Unwrite what was laid out and is not going to be sent, from a number on."""
        for name in (
            "op",
            "kind",
            "phase",
            "session",
            "session_seq",
            "idempotent",
            "due",
            "deadline",
            "error",
            "echoed",
        ):
            np.asarray(getattr(self._columns, name))[first : self._rows] = 0
        for op in range(first, self._rows):
            self._calls.pop(op, None)
        self._rows = first

    def send(self, op: int) -> bool:
        """Hand an operation to the pool; whether it was accepted. Whatever the pool raises is its answer."""
        columns, session = self._columns, self._columns.session[op]
        operation = Operation(
            op=op,
            kind=columns.kinds[columns.kind[op]],
            call=self._calls[op],
            session=None if session < 0 else session,
            deadline_ns=columns.deadline[op] or None,
            idempotent=bool(columns.idempotent[op]),
        )
        self._sent += 1
        columns.sent[op] = now_ns()
        try:
            assert self.pool is not None  # noqa: S101 - the lab opens a pool before it sends
            future = self.pool.submit(operation)
            columns.accepted[op] = now_ns()
            if not callable(getattr(future, "add_done_callback", None)):
                raise TargetError(
                    "submit", f"submit returned a {type(future).__name__}: expected a concurrent.futures.Future"
                )
            future.add_done_callback(partial(self._resolved, op))
        except TargetError:
            raise
        except BaseException as error:  # a pool may raise anything, and the run goes on
            columns.accepted[op] = moment = now_ns()
            columns.error[op] = self._errors.number(error)
            columns.outcome[op] = Outcome.REJECTED
            columns.done[op] = moment
            self._end(op)
            return False
        return True

    def _resolved(self, op: int, future: "Future[Any]") -> None:
        moment = now_ns()
        columns = self._columns
        if columns.done[op]:
            return
        try:
            outcome, error = self._judge(op, future)
        except BaseException as failure:  # the user's verify or a broken future must not silence the pool's thread
            outcome, error = Outcome.WRONG, failure
        if error is not None:
            columns.error[op] = self._errors.number(error)
        columns.outcome[op] = outcome
        columns.done[op] = moment  # last: from here on the row is whole
        self._end(op)

    def _end(self, op: int) -> None:
        columns = self._columns
        if columns.phase[op] != Phase.WARM_UP or columns.outcome[op] == Outcome.OK:
            self._calls.pop(op, None)
        self._ended.put(op)

    def _judge(self, op: int, future: "Future[Any]") -> tuple[Outcome, BaseException | None]:
        if future.cancelled():
            return Outcome.CANCELLED, None
        kind = self._kinds[self._columns.kind[op]]
        error = future.exception()
        if error is not None:
            own = kind is not None and qualified(type(error)) in kind.raises
            return (Outcome.USER_ERROR if own else Outcome.POOL_ERROR), error
        answer = future.result()
        if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], int)):
            return Outcome.WRONG, None
        self._columns.echoed[op] = answer[0]
        if answer[0] != op:
            return Outcome.WRONG, None
        if kind is None:
            return Outcome.OK, None
        if kind.raises and not kind.may_return:
            return Outcome.WRONG, None
        right = kind.verify(self._calls[op].payload, answer[1])
        return (Outcome.OK if right else Outcome.WRONG), None

    def fault_of_payload(self) -> tuple[str, str] | None:
        """The kind of a warm-up that did not come back right and whose payload does not pickle, and why it does not.

        Some pools need no pickling, others have a way of their own; where the result is right, nobody asks.
        """
        columns = self._columns
        for op, call in sorted(self._calls.items()):
            if not columns.sent[op] or columns.outcome[op] in (Outcome.OK, Outcome.WRONG, Outcome.USER_ERROR):
                continue
            try:
                pickle.dumps(call.payload)
            except Exception as error:  # a user's own `__reduce__` may raise anything
                return call.kind, f"{type(error).__name__}: {text_of(error)}"
        return None

    def unresolved(self) -> int:
        """How many operations that were sent have no outcome at this moment."""
        return self._sent - self._ended.qsize()

    def reap(self) -> None:
        """Forget the numbers of those that have ended: for whoever sends for hours and drains but once."""
        for _ in range(self._ended.qsize()):
            self._ended.get_nowait()  # there is one: no other thread takes any
            self._sent -= 1

    def next_ended(self, until_ns: int) -> int:
        """The number of the next operation to end, or -1 where none does until a moment, ns."""
        try:
            op = self._ended.get(timeout=max(0.0, (until_ns - now_ns()) / 1e9))
        except Empty:
            return -1
        self._sent -= 1
        return op

    def drain(self, until_ns: int, leave: int = 0) -> int:
        """Wait until all but `leave` of the operations sent have ended, or until a moment; how many are still open."""
        while self._sent > leave:
            if self.next_ended(until_ns) < 0:
                break
        return self._sent


def payload_source(seed: int) -> random.Random:
    """The seeded source that payloads are made from."""
    return random.Random(f"poolproof payloads {seed}")
