"""The client of a pool: sends prepared operations, sees how they end, and writes both down at once."""

import dataclasses
import pickle
import random
import threading
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from poolproof import probe
from poolproof.clock import now_ns
from poolproof.errors import TargetError
from poolproof.history import ClientColumns, Error, Journal, Outcome, Phase
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
    """

    def __init__(self, *, folder: Path, columns: ClientColumns, kinds: dict[str, Kind], journal: Journal) -> None:
        self._records = str(folder / "executions")
        self._columns = columns
        self._kinds = [kinds.get(name) for name in columns.kinds]
        self._errors = ErrorTable(journal)
        self._operations: list[Operation] = []
        self._ended: SimpleQueue[int] = SimpleQueue()
        self._sent = 0
        self.pool: Pool | None = None

    @property
    def next_op(self) -> int:
        """The number that the next prepared operation gets."""
        return len(self._operations)

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
        columns, op = self._columns, len(self._operations)
        name = columns.kinds[kind]
        call = probe.Call(self._records, workload, op, name, payload, session)
        owner = None if session < 0 else session
        self._operations.append(Operation(op=op, kind=name, call=call, session=owner, idempotent=idempotent))
        columns.op[op], columns.kind[op], columns.phase[op] = op, kind, phase
        columns.idempotent[op] = idempotent
        columns.session[op], columns.session_seq[op] = session, session_seq
        columns.error[op] = columns.echoed[op] = -1
        return op

    def set_deadlines(self, first: int, deadlines: list[int]) -> None:
        """Give operations that were prepared their deadlines, now that the start of the load is known; 0 for none.

        Args:
            first: the number of the first of them.
            deadlines: CLOCK_MONOTONIC moments, ns, one an operation.
        """
        for op, deadline in enumerate(deadlines, first):
            if deadline:
                self._operations[op] = dataclasses.replace(self._operations[op], deadline_ns=deadline)
                self._columns.deadline[op] = deadline

    def send(self, op: int) -> bool:
        """Hand an operation to the pool; whether it was accepted. Whatever the pool raises is its answer."""
        columns = self._columns
        self._sent += 1
        columns.sent[op] = now_ns()
        try:
            assert self.pool is not None  # noqa: S101 - the lab opens a pool before it sends
            future = self.pool.submit(self._operations[op])
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
            self._ended.put(op)
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
        right = kind.verify(self._operations[op].call.payload, answer[1])
        return (Outcome.OK if right else Outcome.WRONG), None

    def fault_of_payload(self) -> tuple[str, str] | None:
        """The kind of an operation that did not come back right and whose payload does not pickle, and why it does not.

        Some pools need no pickling, others have a way of their own; where the result is right, nobody asks.
        """
        columns = self._columns
        for op, operation in enumerate(self._operations):
            if not columns.sent[op] or columns.outcome[op] in (Outcome.OK, Outcome.WRONG, Outcome.USER_ERROR):
                continue
            try:
                pickle.dumps(operation.call.payload)
            except Exception as error:  # a user's own `__reduce__` may raise anything
                return operation.kind, f"{type(error).__name__}: {text_of(error)}"
        return None

    def unresolved(self) -> int:
        """How many operations that were sent have no outcome at this moment."""
        return self._sent - self._ended.qsize()

    def drain(self, until_ns: int, leave: int = 0) -> int:
        """Wait until all but `leave` of the operations sent have ended, or until a moment; how many are still open."""
        while self._sent > leave:
            try:
                self._ended.get(timeout=max(0.0, (until_ns - now_ns()) / 1e9))
            except Empty:
                break
            self._sent -= 1
        return self._sent


def payload_source(seed: int) -> random.Random:
    """The seeded source that payloads are made from."""
    return random.Random(f"poolproof payloads {seed}")
