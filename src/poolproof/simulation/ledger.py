"""Who holds which operation, as the world counts it; and what follows from that which no pool may do.

The pool's word is not asked. What is wrong here shows in no record of clients and workers, or only as a delay: the
ledger tells its host, and the checks count it (`checks.judge`).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any, Final, Protocol

from poolproof.pools import SansIO
from poolproof.simulation.process import Process
from poolproof.simulation.timeline import SECOND_NS, Timeline

_SLACK_NS: Final = 50_000_000
"""How long, beside two looks at the workers, an operation may wait beside an idle one."""

_GROWTH_NS: Final = SECOND_NS
"""How long work may wait while the pool has fewer workers than it may, and nothing is in the way of more."""

_TROUBLE_NS: Final = 10 * SECOND_NS
"""How long a failed start may keep a pool from the next one."""


_NUMBERS: Final = re.compile(r"[0-9.]+")


class Violated(Protocol):
    """Told what no pool may do."""

    def violated(self, promise: str, what: str) -> None:
        """Which promise it breaks, and what was seen."""


class Ledger:
    """Every operation that was submitted and is not resolved: waiting, or in a worker's hands.

    Attributes:
        trouble_at: when a worker last could not be started, as elapsed time.
        is_tampered: whether the pool's table of sessions, or a worker's states, were harmed on purpose.
    """

    def __init__(self, timeline: Timeline, pool: SansIO, host: Violated, processes: dict[int, Process]) -> None:
        self._timeline = timeline
        self._pool = pool
        self._host = host
        self._processes = processes
        self._waiting: dict[int, tuple[int, bool]] = {}
        """Since when each waits, and whether it belongs to a session."""
        self._held: dict[int, tuple[int, int, bool]] = {}
        """By whom each is held, its sequence number there, and whether it belongs to a session."""
        self._order: list[int] = []
        """A heap of the operations without a session that wait, and of some that do not any more."""
        self._loads: Counter[int] = Counter()
        self._epochs: dict[object, int] = {}
        """The epoch that each session was served under last."""
        self._look_ns = round(pool.look_s * SECOND_NS)
        self._told: set[str] = set()
        self._small_since: int | None = None
        """Since when the pool is seen to have fewer workers than it may."""
        self.trouble_at = -_TROUBLE_NS
        self.is_tampered = False

    @property
    def waiting(self) -> int:
        """How many operations no worker holds."""
        return len(self._waiting)

    def holds(self, op: int) -> bool:
        """Whether a worker has an operation in its hands."""
        return op in self._held

    def in_hands(self, number: int) -> list[int]:
        """The operations that a worker was sent and has not answered."""
        return [op for op, (holder, _, _) in self._held.items() if holder == number] if self._loads[number] else []

    # --- what happens -------------------------------------------------------------------------------------------

    def submitted(self, op: int, session: object) -> None:
        """An operation comes in; it may be sent at once."""
        self._wait(op, session is not None)

    def _wait(self, op: int, has_session: bool) -> None:
        self._waiting[op] = (self._timeline.elapsed, has_session)
        if not has_session:
            heappush(self._order, op)

    def _oldest(self) -> int | None:
        """The operation without a session that was submitted first, of those that wait."""
        order = self._order
        while order and order[0] not in self._waiting:
            heappop(order)
        return order[0] if order else None

    def accepted(self, before: int) -> None:
        """It was taken, with so many waiting before it."""
        limit = self._pool.max_queue
        if limit is not None and self.waiting > max(limit, before):
            self._tell("sheds-overload", f"took an operation while {before} waited, and {limit} may")

    def refused(self, op: int, *, as_too_much: bool) -> None:
        """It was not taken."""
        _, has_session = self._waiting.pop(op)
        limit = self._pool.max_queue
        if not as_too_much or limit is None:
            return
        if self.waiting < limit:
            self._tell("sheds-overload", f"refused an operation while {self.waiting} waited and {limit} may")
        elif not has_session and (idle := self._idle(0)) is not None:
            self._tell("sheds-overload", f"refused an operation while worker pid {idle.pid} was idle")

    def sent(self, number: int, tasks: Iterable[Any]) -> None:
        """A worker is sent operations."""
        process = self._processes.get(number)
        for task in tasks:
            op, has_session = task.payload, task.has_session
            if self._waiting.pop(op, None) is None:
                where = "which a worker holds already" if op in self._held else "which is resolved"
                self._tell("runs-at-most-once", f"sent operation {op} to worker {number}, {where}")
                self.ended(op)
            self._held[op] = (number, task.sequence, has_session)
            self._loads[number] += 1
            if process is None:
                self._tell("survives-worker-death", f"sent operation {op} to worker {number}, which is gone")
            elif process.is_leaving:
                self._tell("survives-worker-death", f"sent operation {op} to worker {number}, which it told to leave")
            if self._waiting and (oldest := self._oldest()) is not None and oldest < op:
                self._tell("serves-fairly", f"sent operation {op} while operation {oldest}, which came before, waited")
            if has_session:
                before = self._epochs.get(task.key)
                if before is not None and before != task.epoch and self._pool.is_strict and not self.is_tampered:
                    self._tell("keeps-sessions-sticky", f"the strict session {task.key} went on with a fresh state")
                self._epochs[task.key] = task.epoch

    def given_back(self, number: int, which: Callable[[int], bool]) -> None:
        """A worker is done with operations that it has not answered: they wait, until they are sent or resolved."""
        if not self._loads[number]:
            return
        for op in self.in_hands(number):
            _, sequence, has_session = self._held[op]
            if which(sequence):
                self._let_go(op)
                self._wait(op, has_session)

    def ended(self, op: int) -> None:
        """An operation is resolved, cancelled or withdrawn."""
        if op in self._held:
            self._let_go(op)
        else:
            self._waiting.pop(op, None)

    def _let_go(self, op: int) -> None:
        number = self._held.pop(op)[0]
        self._loads[number] -= 1
        if not self._loads[number]:
            del self._loads[number]
            if number in self._processes:
                self._processes[number].idle_since = self._timeline.elapsed

    # --- what must not be ---------------------------------------------------------------------------------------

    def look(self, wanted: int) -> None:
        """Whether work waits that could be done.

        Args:
            wanted: how many workers are to be forked.
        """
        now, patience = self._timeline.elapsed, 2 * self._look_ns + _SLACK_NS
        living = sum(not (process.is_dead or process.is_leaving) for process in self._processes.values()) + wanted
        if living >= self._pool.workers:
            self._small_since = None
        elif self._small_since is None:
            self._small_since = now
        oldest = next((since for since, has_session in self._waiting.values() if not has_session), None)
        if oldest is None:
            return
        waited = now - oldest
        if waited > patience and (idle := self._idle(patience)) is not None:
            told = f"an operation waited for {waited / 1e9:.2f} s while worker pid {idle.pid} was idle"
            self._tell("serves-fairly", told)
        small = 0 if self._small_since is None else now - self._small_since
        quiet = now - self.trouble_at > _TROUBLE_NS
        if min(waited, small) > _GROWTH_NS and quiet:
            told = f"an operation waited for {waited / 1e9:.2f} s with {living} of {self._pool.workers} workers"
            self._tell("restores-capacity", told)

    def leaks(self) -> None:
        """Whether a worker holds a state of a session that lives elsewhere by now; asked when all is quiet."""
        if self.is_tampered:
            return
        for process in self._processes.values():
            if process.is_dead or process.is_leaving or process.was_harmed:
                continue
            for epoch, state in process.states.items():
                if state is not None and self._epochs.get(state.token, epoch) != epoch:
                    told = f"worker pid {process.pid} still holds a state of session {state.token}, which left it"
                    self._tell("leaves-nothing-behind", told)

    def _idle(self, at_least: int) -> Process | None:
        """A worker that has had nothing to do for a while, and that nothing ever happened to."""
        since = self._timeline.elapsed - at_least
        for number, process in self._processes.items():
            if (
                process.is_up
                and not (process.is_dead or process.is_leaving or process.was_harmed)
                and number not in self._loads
                and process.idle_since <= since
            ):
                return process
        return None

    def _tell(self, promise: str, what: str) -> None:
        """Once of each kind: a queue that is one too long is so at every submit."""
        kind = f"{promise}: {_NUMBERS.sub('', what)}"
        if kind not in self._told:
            self._told.add(kind)
            self._host.violated(promise, what)
