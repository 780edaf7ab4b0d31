"""Pools' decisions with exactly one defect each, for layer 1, and one that is no such pool."""

import random
from typing import Any, Final

from poolproof.plan import Kind, Workload
from poolproof.pools.sessionpool import SessionPoolCore
from sessionpool.core import Core, Effect, Resolve, Task


def _same(payload: Any, state: dict[str, Any]) -> Any:
    return payload


class _Amnesiac(Core):
    """Says nothing of what it held when a worker died."""

    def exited(self, now: float, worker: int, *, started: int, exit: str) -> list[Effect]:  # noqa: A002 - as its base
        effects = super().exited(now, worker, started=started, exit=exit)
        return [it for it in effects if not (isinstance(it, Resolve) and isinstance(it.answer, Exception))]


class Amnesiac(SessionPoolCore):
    """Loses, without a word, what a dead worker held."""

    def make_core(self, chance: random.Random) -> Core:
        return _with_settings(_Amnesiac, self, chance)


class _Restless(Core):
    """Wants to be asked again at once, for ever."""

    def tick(self, now: float) -> list[Effect]:
        effects = super().tick(now)
        self.due = now
        return effects

    def submit(self, now: float, task: Task) -> list[Effect]:
        effects = super().submit(now, task)
        self.due = now
        return effects


class Restless(SessionPoolCore):
    """Spins."""

    def make_core(self, chance: random.Random) -> Core:
        return _with_settings(_Restless, self, chance)


class _Clumsy(Core):
    """Stumbles over the death of a worker."""

    def exited(self, now: float, worker: int, *, started: int, exit: str) -> list[Effect]:  # noqa: A002 - as its base
        raise KeyError(worker)


class Clumsy(SessionPoolCore):
    """Raises where it should decide."""

    def make_core(self, chance: random.Random) -> Core:
        return _with_settings(_Clumsy, self, chance)


def _with_settings(kind: type[Core], of: SessionPoolCore, chance: random.Random) -> Core:
    core = SessionPoolCore.make_core(of, chance)
    return kind(core.settings, chance)


unscripted: Final = Workload(kinds={"predict": Kind(call=_same, payload=lambda rng: rng.random())})
"""Operations that obey nothing."""


class Unmakeable(SessionPoolCore):
    """Can't be made."""

    def __init__(self, workers: int, **options: Any) -> None:
        raise RuntimeError("no core today")
