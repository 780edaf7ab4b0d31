"""The small protocols through which poolproof knows pools: one as they run, one as they decide."""

import random
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Protocol, runtime_checkable

from poolproof.plan import Claims, Operation


@runtime_checkable
class Pool(Protocol):
    """A pool as poolproof drives it. What it says of itself is never evidence."""

    claims: Claims
    """What its documentation promises and declines, with the sources."""

    def submit(self, operation: Operation) -> "Future[Any]":
        """Hand over one operation: `operation.call()` is to run in a worker; what that returns is the result."""

    def close(self, *, cancel: bool = False) -> None:
        """End the pool and return once it has ended; with `cancel`, what has not begun need not run."""


@runtime_checkable
class ClosesSessions(Protocol):
    """What a pool may offer besides: that a session ends before the pool does."""

    def close_session(self, session: int) -> "Future[Any]":
        """End a session once its operations so far are over; its key may begin anew at once."""


@runtime_checkable
class TakesOver(Protocol):
    """What a pool may offer besides: to go on with the sessions of a pool that it replaces."""

    def take_over(self, sessions: Mapping[int, int | None], reason: str) -> bool:
        """Know sessions that were open elsewhere, and whose states are gone; none of them was used here yet.

        Args:
            sessions: the pid of the worker that held each, or None, by its key.
            reason: what became of their states.

        Returns:
            whether the pool refuses them until each is closed, by an error of its own; else they go on afresh.
        """


class SansIO(Protocol):
    """A pool's decisions without its I/O, as layer 1 drives them: a class, made with the number of workers.

    Its core has the methods of `sessionpool.core.Core`, each of which takes the time in seconds and returns effects of
    the types there.
    """

    claims: Claims
    max_queue: int | None
    """How many operations may wait for a worker, by its documentation; None where it says nothing of that."""

    workers: int
    """How many workers it may have."""

    is_strict: bool
    """Whether a session that has lost its state is over, and never goes on with a fresh one."""

    max_runs: int
    """How often an idempotent operation may be run, if its workers die."""

    look_s: float
    """How often a worker is to be looked at."""

    def make_core(self, chance: random.Random) -> Any:
        """A fresh core that draws its chance from there."""

    def make_task(self, op: int, *, kind: int, session: int | None, deadline_s: float | None, idempotent: bool) -> Any:
        """What an operation is to the core; its `payload` must be `op`. Those of one kind take about as long.

        One whose pool closes sessions takes `closes` too: whether it is no operation, but the end of its session.
        """

    def tamper(self, core: Any, how: str, count: int, chance: random.Random) -> list[int]:
        """Harm the entries of some sessions in the core's own table; which sessions it befell.

        Args:
            core: the core.
            how: `lose-affinity`, `swap-affinity` or `stale-affinity`.
            count: how many sessions at most.
            chance: by which they are chosen.
        """
