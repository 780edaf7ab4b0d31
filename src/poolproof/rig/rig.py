"""A rig: one pool set up for a test, with all that is sent to it, recorded by its workers and published about it.

Noun by noun: a *stand* is a pool of one layer with its clock and records (`stand`, `real`, `simulated`); a *rig* is a
stand with a workload, a name and a stream of events; a *pending* is an operation that was sent; a *lineup* keeps
operations in their workers until it is released. What the pool says of itself is shown, and is never evidence.
"""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from poolproof.errors import UsageError
from poolproof.faults import Ledger
from poolproof.history import Executions
from poolproof.plan import Claims, FaultSpec, Kind, Operation
from poolproof.pools import TakesOver
from poolproof.probe import NO_SESSION, RENDEZVOUS, Call
from poolproof.rig.failure import Failure
from poolproof.rig.pending import End, Pending
from poolproof.rig.presets import Preset
from poolproof.rig.stand import Lineup, Stand
from poolproof.rig.values import Binding, Incarnation, PoolState, Usage
from poolproof.waiting import Event, EventStream

_UNSET: Final[Any] = object()
_APART: Final = 1_000_003
"""Keeps the victims of one rig's seed apart from those of the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the operations of a rig are.

    Attributes:
        kinds: by their names.
        reference: where a worker finds them, `module:name`.
        records: the folder that workers write their records to; unused on layer 1.
    """

    kinds: Mapping[str, Kind]
    reference: str
    records: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a rig was opened by, whichever layer that came to be on.

    Attributes:
        name: what events and messages call it.
        target: the pool: a name, a reference, or the factory itself.
        workers: how many.
        preset: which pool by name, or one that only says how many workers.
        options: what the factory is given by name besides.
        seed: of payloads, victims and, on layer 1, of all that happens.
        ledger: where undo records of faults are kept.
    """

    name: str
    target: str | Callable[..., Any]
    workers: int
    preset: Preset
    options: Mapping[str, Any]
    seed: int
    ledger: Ledger


class Rig:
    """One pool, set up for a test. `setup_isolated_pool` makes one.

    Operations may be sent from any thread. The lock guards the counts and the tables of sessions; operations end in
    the pool's threads, which write the end of their own `Pending` and then publish: so whoever waits on the rig's
    events looks again after each end, and finds it counted.

    Attributes:
        order: what it was opened by.
        name: what its events and messages call it.
        layer: 1, 2 or 3.
        size: how many workers it was set up with.
        events: everything that is published about it: the pool's own transitions, ends of operations, deaths.
    """

    def __init__(self, order: Order, stand: Stand, work: Work, *, layer: int) -> None:
        self.order = order
        self.name = order.name
        self.layer = layer
        self.size = order.workers
        self.events = EventStream()
        self._stand = stand
        self._work = work
        self._rng = random.Random(f"poolproof rig {order.seed}")
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._operations: list[Pending] = []
        self._ended = self._completed = self._failed = 0
        self._first = 0
        self._tokens: dict[Hashable, int] = {}
        self._forgotten: set[Hashable] = set()
        self._open: set[Hashable] = set()
        self._closings: Counter[Hashable] = Counter()
        self._inherited: set[Hashable] = set()
        """Sessions of a rig that this one replaced, which go on here with a fresh state."""
        self._renewals: Counter[Hashable] = Counter()
        """How often each had done so before this rig."""
        self.is_closed = False

    # --- what it is ---------------------------------------------------------------------------------------------

    @property
    def pool(self) -> Any:
        """The pool itself, as its adapter offers it."""
        return self._stand.pool

    @property
    def claims(self) -> Claims:
        """What the pool says of itself."""
        return self._stand.claims

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What can be sent to it, by name."""
        return self._work.kinds

    @property
    def is_virtual(self) -> bool:
        """Whether its time goes on only where somebody waits: on layer 1."""
        return self._stand.is_virtual

    def now_ns(self) -> int:
        """The moment on its clock, ns."""
        return self._stand.now_ns()

    def subscribe(self, callback: Callable[[Event], object], /) -> Callable[[], None]:
        """Have every event told from now on, in order; returns what ends it."""
        return self.events.subscribe(callback)

    def drive(self, condition: Callable[[], bool], timeout_s: float, /) -> bool:
        """Let virtual time pass until a condition holds; whether it does."""
        return self._stand.drive(condition, timeout_s)

    @property
    def records(self) -> Path:
        """The folder that the workers' records are in; on layer 1 there is none."""
        return Path(self._work.records)

    @property
    def can_close_sessions(self) -> bool:
        """Whether the pool can end a session by itself."""
        return self._stand.can_close_sessions

    # --- operations ---------------------------------------------------------------------------------------------

    def submit(
        self,
        kind: str | None = None,
        payload: Any = _UNSET,
        *,
        session: Hashable = None,
        deadline_s: float | None = None,
        idempotent: bool = False,
    ) -> Pending:
        """Send one operation.

        Args:
            kind: one of `kinds`; the first of those that the workload mixes, if it is not said.
            payload: its argument; without one, the kind makes one from the rig's seed. On layer 1 a scripted command.
            session: the session that it belongs to: anything that can be hashed.
            deadline_s: within how many seconds it must have ended.
            idempotent: whether the pool may run it again.

        Raises:
            UsageError: there is no such kind, or the rig is closed.
            Exception: what the pool refuses it with.
        """
        if kind is None:
            kind = next(name for name, it in self._work.kinds.items() if it.weight > 0)
        found = self._work.kinds.get(kind)
        if found is None:
            raise UsageError(f"{self.name}: no kind {kind!r}: send one of {', '.join(self._work.kinds)}")
        made = found.payload(self._rng) if payload is _UNSET else payload
        pending = Pending(self, next(self._numbers), kind, made, session, found.verify)
        return self._send(pending, partial(self._operation, pending, deadline_s, idempotent))

    def touch(self, *, session: Hashable = None) -> Pending:
        """Send an operation that runs none of the workload's code, though its setup: whoever runs it is recorded."""
        kind, payload = self._stand.touch
        pending = Pending(self, next(self._numbers), kind, payload, session, None)
        return self._send(pending, partial(self._operation, pending, None, False))

    def _operation(self, pending: Pending, deadline_s: float | None, idempotent: bool) -> Operation:
        token = NO_SESSION if pending.session is None else self._token(pending.session)
        work = self._work
        return Operation(
            op=pending.op,
            kind=pending.kind,
            call=Call(work.records, work.reference, pending.op, pending.kind, pending.payload, token),
            session=None if pending.session is None else token,
            deadline_ns=None if deadline_s is None else self.now_ns() + round(deadline_s * 1e9),
            idempotent=idempotent,
        )

    def _send(
        self,
        pending: Pending,
        make: Callable[[], Operation],
        hand_over: "Callable[[Operation], Future[Any]] | None" = None,
    ) -> Pending:
        if self.is_closed:
            raise UsageError(f"{self.name} is closed: nothing can be sent to it any more")
        operation = make()
        with self._lock:
            self._operations.append(pending)
        pending.sent_ns = self.now_ns()
        try:
            pending.future = (hand_over or self._stand.submit)(operation)
        except BaseException as error:
            self._end(pending, "rejected", error)
            raise
        pending.future.add_done_callback(partial(self._resolved, pending))
        return pending

    def _resolved(self, pending: Pending, future: "Future[Any]") -> None:
        if future.cancelled():
            self._end(pending, "cancelled")
        elif (error := future.exception(0)) is not None:
            self._end(pending, "error", error)
        else:
            self._end(pending, "ok" if pending.wrong(future.result(0)) is None else "wrong")

    def _end(self, pending: Pending, end: End, error: BaseException | None = None) -> None:
        pending.done_ns = self.now_ns()
        with self._lock:
            self._ended += 1
            if end == "ok":
                self._completed += 1
            else:
                self._failed += 1
        pending.end = end
        self.events.publish(
            Event(
                at_ns=pending.done_ns,
                source=self.name,
                subject="operation",
                what="ended",
                who=pending.op,
                detail=end if error is None else f"{end}, {type(error).__name__}",
            )
        )

    def line_up(self, count: int) -> tuple[Lineup, tuple[Pending, ...]]:
        """Send operations that stay in their workers until they are released.

        Raises:
            Exception: what the pool refuses one of them with; those before it are released.
        """
        lineup = self._stand.line_up()
        guests: list[Pending] = []
        try:
            for _ in range(count):
                guest = Pending(self, next(self._numbers), RENDEZVOUS, lineup.payload, None, None)
                guests.append(self._send(guest, partial(self._operation, guest, None, False), lineup.submit))
        except BaseException:
            lineup.release()
            raise
        return lineup, tuple(guests)

    def begin_anew(self) -> None:
        """From now on only what is sent from now on counts: what was before is no part of the test.

        Raises:
            UsageError: something of it has not ended.
        """
        with self._lock:
            if len(self._operations) > self._ended:
                raise UsageError(f"{self.name}: {len(self._operations) - self._ended} operations have not ended")
            self._first = next(self._numbers)
            self._operations.clear()
            self._ended = self._completed = self._failed = 0
            self._forgotten = {*self._tokens, *self._forgotten}
            self._open.clear()
            self._closings.clear()
            self._inherited.clear()
            self._renewals.clear()

    @property
    def operations(self) -> tuple[Pending, ...]:
        """All that was sent, in order."""
        with self._lock:
            return tuple(self._operations)

    # --- sessions -----------------------------------------------------------------------------------------------

    def _token(self, session: Hashable) -> int:
        with self._lock:
            self._open.add(session)
            self._forgotten.discard(session)
            return self._tokens.setdefault(session, len(self._tokens))

    def token(self, session: Hashable) -> int:
        """The number by which the records know a session.

        Raises:
            UsageError: nothing was ever sent to it.
        """
        if session not in self._tokens:
            raise UsageError(f"{self.name}: nothing was sent to a session {session!r}")
        return self._tokens[session]

    @property
    def sessions(self) -> tuple[Hashable, ...]:
        """Every session that something was sent to, in the order of their first operation."""
        with self._lock:
            return tuple(key for key in self._tokens if key not in self._forgotten)

    def close_session(self, session: Hashable, *, timeout: float = 30.0) -> None:
        """End a session once its operations so far are over; it may begin anew.

        Raises:
            UsageError: the pool cannot, or nothing was ever sent to that session.
            WaitTimeoutError: it was not over in time.
        """
        if not self._stand.can_close_sessions:
            raise UsageError(f"{self.name}: the pool ends no session by itself ({self._stand.says()})")
        pending = Pending(self, next(self._numbers), "close", None, session, None)
        token = self.token(session)
        with self._lock:
            self._operations.append(pending)
        pending.sent_ns = self.now_ns()
        pending.future = self._stand.close_session(token)
        pending.future.add_done_callback(lambda future: self._end(pending, "error" if future.exception(0) else "ok"))
        error = pending.exception(timeout)
        if error is not None:
            raise error
        with self._lock:
            self._open.discard(session)
            self._inherited.discard(session)  # it begins anew since that was asked for
            self._closings[session] += 1

    def closings(self, session: Hashable) -> int:
        """How often a session was closed."""
        return self._closings[session]

    def binding(self, session: Hashable) -> Binding | None:
        """Where a session's last operation was begun, and in which epoch; None where none was."""
        found = self.executions()
        rows = (found.session == self.token(session)).nonzero()[0]
        if not len(rows):
            return None
        row = rows[-1]
        worker = Incarnation(int(found.pid[row]), int(found.start_time[row]), int(found.tid[row]))
        return Binding(worker, int(found.epoch[row]))

    def take_over(self, old: "Rig", reason: str) -> None:
        """Go on with the open sessions of a rig that this one replaces, by the same keys; their states are gone.

        Sessions that the pool promises to keep or to lose (`strict`) it refuses from now on, until each is closed; the
        others go on with a fresh state, which `renewals` counts.

        Args:
            old: the rig, closed, so that no session is opened there any more.
            reason: why the states are gone, in the words of the pool's own error.

        Raises:
            UsageError: the old one is open, or this one has sessions of its own.
        """
        if not old.is_closed:
            raise UsageError(f"{old.name} is open: close it before another rig goes on with its sessions")
        if self._tokens:
            raise UsageError(f"{self.name} has sessions of its own: take over those of {old.name} before the first")
        held = {key: old.binding(key) for key in old.open_sessions}
        pids = {old.token(key): where.incarnation.pid if where else None for key, where in held.items()}
        are_refused = isinstance(self.pool, TakesOver) and self.pool.take_over(pids, reason)
        renewed = {key: old.renewals(key) for key in held}
        with self._lock, old._lock:
            self._tokens |= old._tokens
            self._forgotten |= old._tokens.keys()
            self._open |= held.keys()
            self._renewals.update(renewed)
            if not are_refused:
                self._inherited |= {key for key, where in held.items() if where is not None}
        for key, token in ((key, old.token(key)) for key in held):
            told = f"{key!r}, refused until it is closed" if are_refused else f"{key!r}, with a fresh state"
            self.events.publish(
                Event(
                    at_ns=self.now_ns(),
                    source=self.name,
                    subject="session",
                    what="taken-over",
                    who=token,
                    detail=f"{told}: {reason}",
                )
            )

    @property
    def open_sessions(self) -> tuple[Hashable, ...]:
        """Those that something was sent to, or that were taken over, and that were not closed."""
        with self._lock:
            return tuple(key for key in self._tokens if key in self._open)

    def renewals(self, session: Hashable) -> int:
        """How often a session has gone on with a fresh state since its rig was replaced, by the records."""
        is_fresh = session in self._inherited and self.binding(session) is not None
        return self._renewals[session] + is_fresh

    # --- what is seen -------------------------------------------------------------------------------------------

    def executions(self) -> Executions:
        """What the workers' records tell so far, by the numbers of the rig's operations."""
        found = self._stand.executions()
        if not self._first:
            return found
        mine = found.op >= self._first
        return replace(found, **{column.name: getattr(found, column.name)[mine] for column in fields(found)})

    def workers(self) -> tuple[Incarnation, ...]:
        """The living incarnations that have begun any operation."""
        return self._stand.living()

    def running(self) -> tuple[tuple[Incarnation, int], ...]:
        """Which living worker is at which operation, by its records."""
        return tuple(self._stand.running())

    def usage(self, worker: Incarnation) -> Usage | None:
        """What a worker uses at this moment; None on layer 1, and of one that is gone."""
        return self._stand.usage(worker)

    @property
    def pending(self) -> int:
        """How many operations were sent and have not ended."""
        with self._lock:
            return len(self._operations) - self._ended

    def every(self, seconds: float, call: Callable[[], object]) -> Callable[[], None]:
        """Have something called each time that so much time has passed on its clock; returns what ends it."""
        return self._stand.every(seconds, call)

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass on its clock."""
        self._stand.pass_time(seconds)

    def state(self) -> PoolState:
        """What is seen at this moment."""
        with self._lock:
            sent, ended = len(self._operations), self._ended
            completed, failed, sessions = self._completed, self._failed, len(self._open)
        running = len(self._stand.running())
        return PoolState(
            at_ns=self.now_ns(),
            pending=sent - ended,
            running=running,
            queued=max(0, sent - ended - running),
            completed=completed,
            failed=failed,
            workers=self.workers(),
            sessions=sessions,
            says=self._stand.says(),
        )

    def inject(self, spec: FaultSpec, *, seed: int = 0) -> Failure:
        """Harm workers; `inject_worker_failure` is how tests do so.

        Raises:
            BlastRadiusError: it would harm more than the limits allow; nothing was harmed.
        """
        failure = self._stand.inject(spec, self.order.seed * _APART + seed)
        for victim in failure.victims:
            self.events.publish(
                Event(
                    at_ns=self.now_ns(),
                    source=self.name,
                    subject="fault",
                    what=failure.kind,
                    pid=victim.pid,
                    detail=failure.why,
                )
            )
        return failure

    def describe(self, last: int = 10) -> str:
        """Its state, the last events and the last operations, for a report."""
        events, operations = self.events.since(max(0, self.events.count - last)), self.operations
        return "\n".join(
            [
                f"layer {self.layer}: {self.state()}",
                f"the last {len(events)} of {self.events.count} events:",
                *(f"  {event}" for event in events),
                f"the last {len(operations[-last:])} of {len(operations)} operations:",
                *(f"  {operation!r}" for operation in operations[-last:]),
            ]
        )

    # --- its end ------------------------------------------------------------------------------------------------

    def close(self, *, cancel: bool = False) -> None:
        """Close the pool and return once it has ended; harmless where it has."""
        if not self.is_closed:
            self.is_closed = True
            self._stand.close(cancel=cancel)

    def forget(self) -> None:
        """Give back what its records lie in, once it is closed; what they tell is still known."""
        self._stand.forget()

    def __repr__(self) -> str:
        return f"<rig {self.name}, layer {self.layer}: {self.state()}>"
