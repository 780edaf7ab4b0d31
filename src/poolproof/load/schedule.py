"""When operations are due, of which kind and of which session: whole arrays, made from one seed before the load."""

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from types import MappingProxyType
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from poolproof.clock import SECOND_NS
from poolproof.errors import UsageError
from poolproof.plan import MAX_OPERATIONS, Kind, Load, Step


def stream(seed: int, purpose: str) -> random.Random:
    """The random stream of one purpose: each draws from its own, so that changing one does not reshuffle the others.

    `random.Random`, whose streams are the same on every version of Python from the same text; numpy promises that for
    none of its own.
    """
    return random.Random(f"poolproof {purpose} {seed}")


def constant(step: Step, rng: random.Random) -> npt.NDArray[np.float64]:
    """Evenly spaced arrivals, seconds after the step began; the first at half a gap."""
    count = round(step.operations)
    return _when(step, np.arange(count, dtype=np.float64) + 0.5)


def poisson(step: Step, rng: random.Random) -> npt.NDArray[np.float64]:
    """Arrivals of a Poisson process, seconds after the step began.

    One of unit rate, its time rescaled by the rate's integral, which gives one of that rate, be it constant or not
    (Çinlar, Introduction to Stochastic Processes, 1975, chapter 4).
    """
    expected = step.operations

    def unit() -> Iterator[float]:
        at = -math.log(1.0 - rng.random())
        while at < expected:
            yield at
            at -= math.log(1.0 - rng.random())

    return _when(step, np.fromiter(unit(), dtype=np.float64))


PACERS: Final = {"constant": constant, "poisson": poisson}


def _when(step: Step, due: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """When the integral of a step's rate reaches these values, seconds after it began; shape as given."""
    if step.to is None or step.to == step.rate:
        return due / max(step.rate, 1e-12)
    # rate t + slope t^2 / 2 = due, by the form of the solution that has no cancellation.
    slope = (step.to - step.rate) / step.seconds
    return np.asarray(2 * due / (step.rate + np.sqrt(np.maximum(step.rate**2 + 2 * slope * due, 0.0))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Every operation of the measured window, in the order in which they are due; arrays of shape (operations,).

    Attributes:
        due_ns: ns after the start of the window.
        kind: index into `kinds`.
        session: the session, or -1.
        session_seq: how many operations of that session are due before it.
        deadline_ns: ns after it is due by which it must have ended, or 0.
        idempotent: 1 where it is declared so.
        commands: what placed operations obey, by their row, where the plan says it.
    """

    kinds: tuple[str, ...]
    due_ns: npt.NDArray[np.int64]
    kind: npt.NDArray[np.uint8]
    session: npt.NDArray[np.int32]
    session_seq: npt.NDArray[np.int32]
    deadline_ns: npt.NDArray[np.int64]
    idempotent: npt.NDArray[np.uint8]
    commands: Mapping[int, tuple[str | int | float, ...]]

    def __len__(self) -> int:
        return len(self.due_ns)


def mix_and_placed(
    load: Load, kinds: Mapping[str, Kind], beside: Mapping[str, Kind] = MappingProxyType({})
) -> tuple[dict[str, Kind], dict[str, Kind]]:
    """The kinds of the mix; and those that the load places, which come only there: with a weight of 0.

    Args:
        load: what is placed, and the mix where it has one of its own.
        kinds: the workload's; those with a weight are the mix where the load has none.
        beside: others that may be placed.

    Raises:
        UsageError: the mix, or what is placed, has a kind that there is not.
    """
    strange = {it.kind for it in load.placed} - {*kinds, *beside, ""}
    if unknown := sorted({*load.mix} - kinds.keys() | strange):
        raise UsageError(f"the load has operations of the kind {unknown[0]!r}: the workload has {', '.join(kinds)}")
    weights = load.mix or {name: kind.weight for name, kind in kinds.items()}
    mix = {name: replace(kinds[name], weight=weight) for name, weight in weights.items() if weight > 0}
    wanted = {entry.kind for entry in load.placed} - mix.keys()
    placed = {name: replace(kind, weight=0) for name, kind in {**kinds, **beside}.items() if name in wanted}
    return mix, placed


def schedule(load: Load, kinds: Mapping[str, Kind], seed: int) -> Schedule:
    """Lay out the measured window of a load.

    Args:
        load: rates, arrivals, sessions and what is placed beside the mix.
        kinds: the mix and, with a weight of 0, whatever is placed.
        seed: the same seed gives the same schedule.

    Raises:
        UsageError: more operations than fit in memory.
    """
    expected = sum(step.operations for step in load.steps if load.model == "open")
    if expected > MAX_OPERATIONS:
        raise UsageError(
            f"the load has about {expected:,.0f} operations, the most is {MAX_OPERATIONS:,}: "
            "lower the rate or the seconds"
        )
    rng = stream(seed, "arrivals")
    begin_s, moments = 0.0, []
    for step in load.steps if load.model == "open" else ():
        moments.append(begin_s + PACERS[load.arrivals](step, rng))
        begin_s += step.seconds
    due_s = np.concatenate([[], *moments])
    return _filled(load, kinds, seed, due_s)


def turns(load: Load, kinds: Mapping[str, Kind], seed: int, count: int) -> Schedule:
    """What the operations of the closed model are, in the order in which users send them; none is due before that.

    Args:
        load: of the closed model.
        kinds: the mix.
        seed: the same seed gives the same operations.
        count: how many at most.
    """
    return _filled(msgspec.structs.replace(load, placed=()), kinds, seed, np.zeros(count))


def _filled(load: Load, kinds: Mapping[str, Kind], seed: int, due_s: npt.NDArray[np.float64]) -> Schedule:
    """Everything about operations that are due at these moments, seconds; and what is placed among them."""
    count = len(due_s)
    # A burst is due when its first operation is; so many operations are still due in the same time.
    burst = np.arange(count) // load.burst
    due_s = due_s[burst * load.burst]
    names = tuple(kinds)
    kind = np.array(_choices(stream(seed, "kinds"), kinds, count), dtype=np.uint8)
    session = np.full(count, -1, dtype=np.int32)
    if load.sessions and count:
        draw = stream(seed, "sessions").random
        bursts = np.fromiter((draw() for _ in range(int(burst[-1]) + 1)), dtype=np.float64)
        session = _popular(bursts, load.sessions, load.skew)[burst]
    idempotent = _share(seed, "idempotence", load.idempotent, count).astype(np.uint8)
    hurried = _share(seed, "deadlines", load.deadline_share, count) if load.deadline_s else np.zeros(count, dtype=bool)

    placed = load.placed
    due_s = np.concatenate([due_s, [one.at_s for one in placed]])
    order = np.argsort(due_s, kind="stable")
    drawn = _choices(stream(seed, "placed kinds"), kinds, len(placed)) if any(not it.kind for it in placed) else ()
    said = [names.index(one.kind) if one.kind else drawn[number] for number, one in enumerate(placed)]
    kind = np.concatenate([kind, said]).astype(np.uint8)
    session = np.concatenate([session, [one.session for one in placed]]).astype(np.int32)[order]
    deadline_s = np.concatenate([hurried * load.deadline_s, [one.deadline_s for one in placed]])
    idempotent = np.concatenate([idempotent, [one.idempotent for one in placed]]).astype(np.uint8)
    commands = {at: placed[row - count].command for at, row in enumerate(order.tolist()) if row >= count}
    return Schedule(
        kinds=names,
        due_ns=np.rint(due_s[order] * SECOND_NS).astype(np.int64),
        kind=kind[order],
        session=session,
        session_seq=_sequence(session),
        deadline_ns=np.rint(deadline_s[order] * SECOND_NS).astype(np.int64),
        idempotent=idempotent[order],
        commands={at: command for at, command in commands.items() if command},
    )


def _popular(uniform: npt.NDArray[np.float64], sessions: int, skew: float) -> npt.NDArray[np.int32]:
    """Sessions drawn by Zipf's law, from numbers of [0, 1), by the inverse of its cumulative shares; shape as given."""
    if not skew:
        return (uniform * sessions).astype(np.int32)
    shares = np.cumsum(np.arange(1, sessions + 1, dtype=np.float64) ** -skew)
    return np.searchsorted(shares / shares[-1], uniform, side="right").astype(np.int32)


def _share(seed: int, purpose: str, share: float, count: int) -> npt.NDArray[np.bool_]:
    """Which of so many are of a share of them; shape (count,)."""
    if share in (0.0, 1.0):
        return np.full(count, bool(share))
    draw = stream(seed, purpose).random
    return np.asarray(np.fromiter((draw() for _ in range(count)), dtype=np.float64) < share)


def _choices(rng: random.Random, kinds: Mapping[str, Kind], count: int) -> list[int]:
    weights = list(accumulate(kind.weight for kind in kinds.values()))
    return rng.choices(range(len(weights)), cum_weights=weights, k=count) if count else []


def _sequence(session: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """For each row, how many earlier rows have the same session; -1 where there is none."""
    order = np.argsort(session, kind="stable")
    ordered = session[order]
    first = np.searchsorted(ordered, ordered, side="left")
    sequence = np.empty(len(session), dtype=np.int32)
    sequence[order] = np.arange(len(session)) - first
    return np.where(session < 0, np.int32(-1), sequence)
