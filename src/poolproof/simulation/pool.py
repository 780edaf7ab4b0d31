"""A simulated pool to play with: futures and waits that run the world forward, instead of waiting for it."""

import math
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final

import msgspec

from poolproof.history import Executions, Fault, Phase
from poolproof.plan import Claims, FaultSpec, Limits, Operation, faulty
from poolproof.pools import build_core, find_core
from poolproof.probe import Call
from poolproof.simulation.client import CLOSING, Client
from poolproof.simulation.faults import Conductor, Hit
from poolproof.simulation.guard import RealTimeError, no_real_world
from poolproof.simulation.marks import Marks
from poolproof.simulation.meeting import Meeting
from poolproof.simulation.process import Command
from poolproof.simulation.timeline import SECOND_NS, Timeline
from poolproof.simulation.world import World
from poolproof.workloads.commands import is_command

_NO_CALL: Final = Call("", "", -1, "", None)
"""What stands where nothing of a workload is called."""

FOREVER_S: Final = 3600.0
"""Who waits without a time-out is told after an hour of virtual time that what it waits for never comes."""

_LIMITS: Final = Limits(max_share=1.0, min_survivors=0, max_fault_s=FOREVER_S, max_processes=1 << 20)


class NeverError(RuntimeError):
    """What somebody waits for does not come, however long the world goes on."""


class SimulatedPool:
    """A pool whose decisions are the true ones, and whose workers, wires and clock are simulated.

    Time stands still between calls; `result()` of a future, `wait_for`, `advance` and `close` let it pass.

    Args:
        target: a bundled pool, or a class, that has a sans-I/O core.
        workers: how many.
        seed: the same seed, and the same calls, give the same run.
        options: what the target is given by name.

    Raises:
        TargetError: it has no core that could be simulated, or can't be made so.
    """

    def __init__(self, target: str = "sessionpool", workers: int = 4, *, seed: int = 0, **options: Any) -> None:
        self._timeline = Timeline()
        self._futures: dict[int, SimulatedFuture] = {}
        self._pool = build_core(find_core(target), workers, options)
        self._client = Client(self._timeline, self._pool.max_runs)
        self._client.ended = self._settle
        self.claims: Claims = self._pool.claims
        self.marks = Marks()
        self._world = World(self._timeline, self._pool, f"poolproof world {seed} 1", self._client, self.marks)
        self._kinds: dict[str, int] = {}
        self._listeners: list[Callable[[Any], object]] = []
        self._world.publish = self._publish
        self._conductor = Conductor(self._world, self._pool, self._client.record, _LIMITS, seed)

    def __enter__(self) -> "SimulatedPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:  # where something went wrong, that is what is to be told; there is nothing to give back
            self.close()

    @property
    def now_s(self) -> float:
        """The virtual time, in seconds; it begins at 1,000."""
        return self._timeline.now_s

    @property
    def now_ns(self) -> int:
        """The same in ns: what `Operation.deadline_ns` goes by here."""
        return self._timeline.now

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What became of the faults that are over: whether each took effect, and how that is known."""
        return tuple(self._client.record.faults)

    @property
    def struck(self) -> tuple[tuple[Hit, ...], ...]:
        """The workers that faults have hit, fault by fault, also of those that are not over."""
        return tuple(self._conductor.struck)

    def submit(self, operation: Operation) -> "SimulatedFuture":
        """Hand over one operation whose payload is a scripted command; returns at once, and no time passes.

        Raises:
            ValueError: its payload is no command, or its session no whole number of 0 or more.
            Exception: what the pool refuses it with.
        """
        session: Any = operation.session
        if not (session is None or (isinstance(session, int) and session >= 0)):
            raise ValueError(f"operation {operation.op}: session {session!r} is no whole number of 0 or more")
        command = operation.call.payload
        if not is_command(command):
            raise ValueError(f"operation {operation.op}: {command!r} is no scripted command, such as ('wait', 0.01, 7)")
        return self._send(operation, command)

    def close_session(self, session: int) -> "SimulatedFuture":
        """End a session once its operations so far are over; its key may begin anew at once.

        Raises:
            Exception: what the pool refuses it with.
        """
        return self._send(Operation(op=-1, kind="close", call=_NO_CALL, session=session), CLOSING)

    def take_over(self, sessions: Mapping[int, int | None], reason: str) -> bool:
        """Know sessions that were open elsewhere, and whose states are gone; whether they are refused until closed."""
        takes: Any = getattr(self._pool, "take_over", None)
        return takes is not None and bool(takes(self._world.core, sessions, reason))

    def meet(self, operation: Operation, meeting: Meeting) -> "SimulatedFuture":
        """Submit an operation that stays in its worker until a meeting is released.

        Raises:
            Exception: what the pool refuses it with.
        """
        return self._send(operation, ("meet", meeting))

    def _send(self, operation: Operation, command: Command) -> "SimulatedFuture":
        client = self._client
        op = client.prepare(
            self._kinds.setdefault(operation.kind, len(self._kinds)),
            Phase.MEASURED,
            command,
            session=-1 if operation.session is None else operation.session,
            deadline=operation.deadline_ns or 0,
            idempotent=int(operation.idempotent),
        )
        future = self._futures[op] = SimulatedFuture(self, op, operation)
        with no_real_world():
            accepted = client.send(self._world, op)
        if not accepted:
            self._futures.pop(op, None)
            error = future.exception(0)
            assert error is not None  # noqa: S101 - by the line before
            raise error
        return future

    def advance(self, seconds: float) -> None:
        """Let so much time pass.

        Raises:
            ValueError: it is no time of 0 or more.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"advance({seconds!r}): expected a time of 0 or more, in seconds")
        with no_real_world():
            self._world.run(self._timeline.now + round(seconds * SECOND_NS))

    def wait_for(self, condition: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Let time pass until a condition holds; whether it does, once the time is up.

        Raises:
            NeverError: without a time-out, it still does not hold after an hour.
        """
        limit = FOREVER_S if timeout_s is None else max(0.0, timeout_s)
        with no_real_world():
            holds = self._world.run_while(lambda: not condition(), self._timeline.now + round(limit * SECOND_NS))
        if not holds and timeout_s is None:
            raise NeverError(
                f"what is waited for has not come within {FOREVER_S:g} s of virtual time; give a time-out where it "
                "takes longer than that"
            )
        return holds

    def wait(self, futures: Iterable["SimulatedFuture"], timeout_s: float | None = None) -> bool:
        """Let time pass until all these have ended; whether they have. What `concurrent.futures.wait` is elsewhere."""
        some = list(futures)
        return self.wait_for(lambda: all(future.done() for future in some), timeout_s)

    def inject(self, fault: FaultSpec) -> None:
        """Plan a fault, `fault.at_s` from now.

        Raises:
            ValueError: it makes no sense; everything that is wrong with it is told.
        """
        try:
            fault = msgspec.convert(msgspec.to_builtins(fault), FaultSpec)
        except (msgspec.ValidationError, TypeError) as error:
            raise ValueError(f"{fault!r}: {error}") from error
        if wrong := faulty(fault):
            raise ValueError(f"{fault.describe()}: {'; '.join(wrong)}")
        self._conductor.plan((fault,), self._timeline.now)

    def snapshot(self) -> Any:
        """What the pool says of itself."""
        return self._world.core.snapshot()

    def describe(self) -> str:
        """What there is in its world, in words."""
        return self._world.describe()

    def executions(self) -> Executions:
        """What the workers' records tell so far; `op` is the number of the future that stands for the operation."""
        return self._client.record.executions()

    def running(self) -> dict[int, int]:
        """The operations that workers are at, by the pid of the worker."""
        return {process.pid: op for process in self._world.processes.values() for op in process.in_hand()}

    def living(self) -> tuple[tuple[int, int], ...]:
        """The workers that live and have begun an operation, by pid and start time."""
        return tuple((it.pid, it.start_time) for it in self._world.processes.values() if it.begun and not it.is_dead)

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Have something called once so much virtual time has passed."""
        self._timeline.after(round(seconds * SECOND_NS), call)

    def subscribe(self, callback: Callable[[Any], object], /) -> Callable[[], None]:
        """Have every event that the pool publishes told from now on, in order; returns what ends it."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def _publish(self, event: Any) -> None:
        for callback in tuple(self._listeners):
            callback(event)

    def close(self, *, cancel: bool = False, immediate: bool = False) -> None:
        """Close the pool and let time pass until it has ended.

        Args:
            cancel: cancel what waits.
            immediate: fail what runs as well, and kill the workers.

        Raises:
            NeverError: it does not end within an hour.
        """
        with no_real_world():
            self._world.tell(self._world.core.shutdown, cancel=cancel, immediate=immediate)
        self.wait_for(lambda: self._world.is_over)

    def withdraw(self, op: int) -> bool:
        """Cancel an operation by its number in this pool; whether that was still possible."""
        with no_real_world():
            is_withdrawn = self._world.withdraw(op)
        if is_withdrawn:
            self._client.dropped(op)
        return is_withdrawn

    def _settle(self, op: int, end: Any) -> None:
        future = self._futures.pop(op, None)
        if future is None or future.cancelled():
            return
        if end is None:
            future.cancel_from_inside()
        elif isinstance(end, BaseException):
            future.set_exception(end)
        else:
            echoed, value = end
            future.set_result((future.operation.op if echoed == op else echoed, value))


class _NoWaiters(list[Any]):
    """Where `concurrent.futures.wait` would enter itself, to wait in real time for what only virtual time brings."""

    def append(self, waiter: object) -> None:
        raise RealTimeError("a simulated future can't be waited for in real time: use `pool.wait` or `result()`")


class SimulatedFuture(Future[Any]):
    """A future whose `result` and `exception` run the simulated world forward until it is done."""

    def __init__(self, pool: SimulatedPool, op: int, operation: Operation) -> None:
        super().__init__()
        self.operation = operation
        self.op = op
        self._waiters = _NoWaiters()
        self._pool = pool

    def result(self, timeout: float | None = None) -> Any:
        """The result: `(operation, value)`.

        Raises:
            TimeoutError: it is not there after `timeout` seconds of virtual time.
            NeverError: without a time-out, it is not there after an hour of it.
        """
        self._let_happen(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception that it ended with, or None; raises as `result` does."""
        self._let_happen(timeout)
        return super().exception(0)

    def cancel(self) -> bool:
        """Cancel it, unless a worker was sent it already."""
        if self.done():
            return self.cancelled()
        return self._pool.withdraw(self.op)

    def cancel_from_inside(self) -> None:
        """The pool itself cancels it."""
        super().cancel()

    def _let_happen(self, timeout: float | None) -> None:
        if not self.done() and timeout != 0:
            self._pool.wait_for(self.done, None if timeout in (None, math.inf) else timeout)
