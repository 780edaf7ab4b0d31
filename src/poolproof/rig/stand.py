"""What a rig stands on: a pool of one layer, with its clock and its workers' records."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from poolproof.history import Executions
from poolproof.plan import Claims, FaultSpec, Operation
from poolproof.rig.failure import Failure
from poolproof.rig.values import Incarnation, Usage


class Lineup(Protocol):
    """Operations that stay in their workers until they are released."""

    payload: Any
    """What an operation is given that is to stay."""

    def submit(self, operation: Operation) -> "Future[Any]":
        """Hand over one of them; raises what the pool refuses it with."""

    @property
    def present(self) -> int:
        """How many are there now; one whose worker died is not."""

    def gather(self, expected: int, timeout_s: float) -> int:
        """Wait until so many are there, or the time is up; how many are."""

    def release(self) -> None:
        """Let all of them go, and whoever is still to come."""


class Stand(Protocol):
    """A pool of one layer."""

    claims: Claims
    pool: Any
    """The pool itself: a `Pool` as adapters make it, or a `SimulatedPool`."""

    is_virtual: bool
    """Whether its time goes on only where somebody waits."""

    can_close_sessions: bool

    def now_ns(self) -> int:
        """The moment, ns of CLOCK_MONOTONIC or of the virtual clock."""

    def submit(self, operation: Operation) -> "Future[Any]":
        """Hand over an operation; raises what the pool refuses it with."""

    def close_session(self, session: int) -> "Future[Any]":
        """End a session, where the pool can."""

    def drive(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Let virtual time pass until a condition holds."""

    def executions(self) -> Executions:
        """What the workers' records tell so far."""

    def running(self) -> Sequence[tuple[Incarnation, int]]:
        """Which living worker is at which operation, by its records."""

    def living(self) -> tuple[Incarnation, ...]:
        """The living workers that have begun any operation."""

    def line_up(self) -> Lineup:
        """Where operations stay in their workers until they are released."""

    touch: tuple[str, Any]
    """The kind and payload of an operation that runs none of the workload's code."""

    def every(self, seconds: float, call: Callable[[], object]) -> Callable[[], None]:
        """Have something called each time that so much time has passed; returns what ends it."""

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass, and nothing else happen in this thread."""

    def usage(self, worker: Incarnation) -> Usage | None:
        """What a worker uses at this moment; None where there is nothing to be measured, or it is gone."""

    def inject(self, spec: FaultSpec, seed: int) -> Failure:
        """Harm workers, once they do what the fault has to coincide with; returns when it is over or in effect."""

    def says(self) -> str:
        """What the pool says of itself."""

    def close(self, *, cancel: bool = False) -> None:
        """Close the pool; returns when it has ended."""

    def forget(self) -> None:
        """Give back what the records lie in; what they tell is still known."""
