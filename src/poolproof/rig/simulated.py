"""The stand of layer 1: a pool's own decisions in a simulated world, whose time goes on only where somebody waits."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Final

import numpy as np

from poolproof.faults import victims_wanted
from poolproof.history import Executions
from poolproof.plan import LASTING, FaultSpec, Limits, Operation
from poolproof.rig.failure import Failure, Proof, missed
from poolproof.rig.values import Incarnation, Usage
from poolproof.simulation import Meeting, SimulatedFuture, SimulatedPool

_SLACK_S: Final = 5.0
"""How much longer than it lasts the pool may take to learn of a victim's end."""


class SimulatedStand:
    """A `SimulatedPool` as a rig uses it; the numbers of its operations are the rig's.

    Args:
        target: a bundled pool, or a class, that has a sans-I/O core.
        workers: how many.
        seed: of the world.
        options: what the target is given by name.
        limits: the blast radius of faults.
    """

    is_virtual = True
    can_close_sessions = True
    touch = ("touch", ("answer", "late"))

    def __init__(self, target: str, workers: int, *, seed: int, options: Mapping[str, Any], limits: Limits) -> None:
        self.pool = SimulatedPool(target, workers, seed=seed, **options)
        self.claims = self.pool.claims
        self._limits = limits
        self._numbers: dict[int, int] = {}
        """The rig's number of each operation, by the simulated pool's."""

    def now_ns(self) -> int:
        return self.pool.now_ns

    def submit(self, operation: Operation) -> "Future[Any]":
        return self._known(operation, self.pool.submit(operation))

    def meet(self, operation: Operation, meeting: Meeting) -> "Future[Any]":
        """Hand over an operation that stays in its worker until the meeting is released."""
        return self._known(operation, self.pool.meet(operation, meeting))

    def _known(self, operation: Operation, future: SimulatedFuture) -> "Future[Any]":
        self._numbers[future.op] = operation.op
        return future

    def close_session(self, session: int) -> "Future[Any]":
        return self.pool.close_session(session)

    def drive(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        return self.pool.wait_for(condition, timeout_s)

    def executions(self) -> Executions:
        found = self.pool.executions()
        return replace(found, op=np.array([self._numbers[op] for op in found.op.tolist()], dtype=np.int64))

    def running(self) -> list[tuple[Incarnation, int]]:
        by_pid = {it.pid: it for it in self.living()}
        return [(by_pid[pid], self._numbers[op]) for pid, op in self.pool.running().items()]

    def living(self) -> tuple[Incarnation, ...]:
        return tuple(Incarnation(pid, start_time, pid) for pid, start_time in self.pool.living())

    def line_up(self) -> "SimulatedLineup":
        return SimulatedLineup(self, Meeting())

    def every(self, seconds: float, call: Callable[[], object]) -> Callable[[], None]:
        is_over = False

        def again() -> None:
            if not is_over:
                call()
                self.pool.later(seconds, again)

        def stop() -> None:
            nonlocal is_over
            is_over = True

        self.pool.later(seconds, again)
        return stop

    def pass_time(self, seconds: float) -> None:
        self.pool.advance(seconds)

    def usage(self, worker: Incarnation) -> Usage | None:
        return None  # a simulated worker uses nothing

    def inject(self, spec: FaultSpec, seed: int) -> Failure:
        live = self.living()
        if live:
            victims_wanted(spec, len(live), self._limits)  # refused before anything is harmed
        struck, told = len(self.pool.struck), len(self.pool.faults)
        self.pool.inject(spec)
        self.pool.wait_for(lambda: len(self.pool.struck) > struck or len(self.pool.faults) > told, spec.patience_s + 1)
        if len(self.pool.struck) == struck:
            return missed(spec.kind, "; ".join(it.why for it in self.pool.faults[told:]) or "nobody was struck in time")
        hit = self.pool.struck[struck]

        def conclude() -> Proof:
            self.pool.wait_for(lambda: len(self.pool.faults) >= told + len(hit), spec.for_s + _SLACK_S)
            found = self.pool.faults[told:]
            effective = len(found) >= len(hit) and all(it.effective == "yes" for it in found)
            return effective, "; ".join(dict.fromkeys(it.why for it in found)) or "it was not over in time"

        return Failure(
            kind=spec.kind,
            victims=tuple(Incarnation(it.pid, it.start_time, it.pid) for it in hit),
            held=tuple(self._numbers[op] for it in hit for op in it.held),
            conclude=conclude,
            lasts=spec.kind in LASTING,
        )

    def says(self) -> str:
        return f"{self.pool.snapshot()}"

    def close(self, *, cancel: bool = False) -> None:
        self.pool.close(cancel=cancel)

    def forget(self) -> None:
        """Nothing of it lies anywhere."""


class SimulatedLineup:
    """Operations that stay in simulated workers."""

    payload = None

    def __init__(self, stand: SimulatedStand, meeting: Meeting) -> None:
        self._stand = stand
        self._meeting = meeting

    def submit(self, operation: Operation) -> "Future[Any]":
        return self._stand.meet(operation, self._meeting)

    @property
    def present(self) -> int:
        return self._meeting.present

    def gather(self, expected: int, timeout_s: float) -> int:
        self._stand.drive(lambda: self._meeting.present >= expected, timeout_s)
        return self.present

    def release(self) -> None:
        self._meeting.release()
