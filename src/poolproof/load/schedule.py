"""When operations are due, of which kind and of which session: whole arrays, made from one seed before the load."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from poolproof.clock import SECOND_NS
from poolproof.errors import UsageError
from poolproof.plan import Kind, Load, Step

_ARRIVALS, _KINDS, _SESSIONS = range(3)
"""Random streams: each draws from its own, so that changing one does not reshuffle the others."""

MAX_OPERATIONS: Final = 20_000_000


def stream(seed: int, number: int) -> np.random.Generator:
    """The random stream of one purpose."""
    return np.random.default_rng(np.random.SeedSequence([seed, number]))


def constant(step: Step, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Evenly spaced arrivals, seconds after the step began; the first at half a gap."""
    count = round(step.rate * step.seconds)
    return (np.arange(count, dtype=np.float64) + 0.5) / max(step.rate, 1e-12)


def poisson(step: Step, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Arrivals of a Poisson process, seconds after the step began.

    The number is drawn first and the moments are the order statistics of that many uniform draws, which is the same
    process (Çinlar, Introduction to Stochastic Processes, 1975, chapter 4) and needs no guess at how many gaps to draw.
    """
    return np.sort(rng.uniform(0, step.seconds, size=rng.poisson(step.rate * step.seconds)))


PACERS: Final = {"constant": constant, "poisson": poisson}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Every operation of the measured window, in the order in which they are due; arrays of shape (operations,).

    Attributes:
        due_ns: ns after the start of the window.
        kind: index into `kinds`.
        session: the session, or -1.
        session_seq: how many operations of that session are due before it.
        deadline_ns: ns after it is due by which it must have ended, or 0.
    """

    kinds: tuple[str, ...]
    due_ns: npt.NDArray[np.int64]
    kind: npt.NDArray[np.uint8]
    session: npt.NDArray[np.int32]
    session_seq: npt.NDArray[np.int32]
    deadline_ns: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.due_ns)


def schedule(load: Load, kinds: Mapping[str, Kind], seed: int) -> Schedule:
    """Lay out the measured window of a load.

    Args:
        load: rates, arrivals, sessions and what is placed beside the mix.
        kinds: the mix and, with a weight of 0, whatever is placed.
        seed: the same seed gives the same schedule.

    Raises:
        UsageError: more operations than fit in memory.
    """
    expected = sum(step.rate * step.seconds for step in load.steps)
    if expected > MAX_OPERATIONS:
        raise UsageError(
            f"the load has about {expected:,.0f} operations, the most is {MAX_OPERATIONS:,}: "
            "lower the rate or the seconds"
        )
    rng = stream(seed, _ARRIVALS)
    begin_s, moments = 0.0, []
    for step in load.steps:
        moments.append(begin_s + PACERS[load.arrivals](step, rng))
        begin_s += step.seconds
    due_s = np.concatenate(moments)
    # A burst is due when its first operation is; so many operations are still due in the same time.
    due_s = due_s[np.arange(len(due_s)) // load.burst * load.burst]
    names = tuple(kinds)
    weights = np.array([kind.weight for kind in kinds.values()])
    kind = stream(seed, _KINDS).choice(len(names), size=len(due_s), p=weights / weights.sum()).astype(np.uint8)

    deadline_s = np.concatenate([np.full(len(due_s), load.deadline_s), [placed.deadline_s for placed in load.placed]])
    due_s = np.concatenate([due_s, [placed.at_s for placed in load.placed]])
    kind = np.concatenate([kind, [names.index(placed.kind) for placed in load.placed]]).astype(np.uint8)
    order = np.argsort(due_s, kind="stable")
    session = np.full(len(due_s), -1, dtype=np.int32)
    if load.sessions:
        bursts = stream(seed, _SESSIONS).integers(0, load.sessions, size=len(due_s), dtype=np.int32)
        session = bursts[np.arange(len(due_s)) // load.burst]
    return Schedule(
        kinds=names,
        due_ns=np.rint(due_s[order] * SECOND_NS).astype(np.int64),
        kind=kind[order],
        session=session,
        session_seq=_sequence(session),
        deadline_ns=np.rint(deadline_s[order] * SECOND_NS).astype(np.int64),
    )


def _sequence(session: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """For each row, how many earlier rows have the same session; -1 where there is none."""
    order = np.argsort(session, kind="stable")
    ordered = session[order]
    first = np.searchsorted(ordered, ordered, side="left")
    sequence = np.empty(len(session), dtype=np.int32)
    sequence[order] = np.arange(len(session)) - first
    return np.where(session < 0, np.int32(-1), sequence)
