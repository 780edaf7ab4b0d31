"""The scenarios: named plans, each with the promises that it examines."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from poolproof.errors import UsageError
from poolproof.plan import FaultSpec, Load, Placed, Scenario, Stage, Step
from poolproof.workloads import awkward
from poolproof.workloads.scripted import OVERDUE_S, WAIT_S

LOADED: Final[tuple[Stage, ...]] = ("open", "probe-before", "load", "drain", "probe-after", "close")
SAFETY: Final = ("resolves-every-operation", "runs-at-most-once", "returns-the-right-result", "types-every-error")
CLOSING: Final = ("closes-cleanly", "leaves-nothing-behind")
OF_DEATH: Final = ("survives-worker-death", "contains-the-blast", "restores-capacity")
OF_SESSIONS: Final = ("keeps-sessions-sticky", "isolates-sessions", "keeps-session-order")

OF_DEATHS: Final = frozenset((*OF_DEATH, "degrades-gracefully"))
"""What a pool of threads can't be asked, since there is no worker process to harm."""

OF_ALL: Final = frozenset((*SAFETY, *CLOSING))
"""What every scenario that closes its pool examines beside its own."""

PEAK: Final = 2.5
"""How much higher the rate is at the peak at which most workers are killed: so many must be busy at once."""

STORM: Final = 5
"""How many single kills a storm has."""

OVERLOAD: Final = 3.0
SATURATION: Final = 1.2
MODERATE: Final = 0.4
"""Rates as multiples of the capacity: far beyond it, just beyond it, well below it."""

LONGEST_OVERLOAD_S: Final = 1.5
LONGEST_SATURATION_S: Final = 6.0

SESSIONS_PER_WORKER: Final = 3
BURST: Final = 3
"""How many operations of one session come at once: only what is under way together can get out of order."""

EASY_S: Final = 2.5
TIGHT_S: Final = 0.4
"""Deadlines: one that leaves plenty of time, and one that passes while an `overdue` operation runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """What every scenario is made from: the configured load, and the number of workers that were asked for."""

    rate_per_s: float
    seconds: float
    arrivals: Literal["constant", "poisson"]
    warm_up: int
    workers: int

    def load(self, *shares: tuple[float, float], placed: tuple[Placed, ...] = (), sessions: int = 0) -> Load:
        """A load of (share of the window, multiple of the rate) steps, or the plain one where none is given."""
        return Load(
            steps=self._steps(self.rate_per_s, shares or ((1.0, 1.0),)),
            arrivals=self.arrivals,
            placed=placed,
            sessions=sessions,
            burst=BURST if sessions else 1,
            warm_up=self.warm_up,
        )

    def waits(self, *shares: tuple[float, float], placed: tuple[Placed, ...] = (), deadline_s: float = 0.0) -> Load:
        """A load of the workload `waits`, of (share of the window, multiple of the capacity) steps."""
        return Load(
            steps=self._steps(1.0, shares),
            service_s=WAIT_S,
            arrivals="constant",
            placed=placed,
            deadline_s=deadline_s,
            warm_up=self.warm_up,
        )

    def _steps(self, unit: float, shares: tuple[tuple[float, float], ...]) -> tuple[Step, ...]:
        return tuple(Step(rate=times * unit, seconds=share * self.seconds) for share, times in shares)


def steady(given: Ingredients) -> Scenario:
    """Load and no harm, after opening and closing the pool four times: what is broken here is broken always."""
    return Scenario(
        name="steady",
        summary="load without any fault, after four cycles of opening and closing",
        stages=("cycles", *LOADED),
        examines=(*SAFETY, *CLOSING),
        load=given.load(),
    )


def kill_one(given: Ingredients) -> Scenario:
    """SIGKILL to one worker that runs an operation."""
    return Scenario(
        name="kill-one",
        summary="SIGKILL to one busy worker under load",
        stages=LOADED,
        examines=(*SAFETY, *CLOSING, *OF_DEATH),
        load=given.load(),
        faults=(FaultSpec(kind="kill", count=1, at_s=0.25 * given.seconds),),
    )


def kill_idle(given: Ingredients) -> Scenario:
    """SIGKILL to one worker that waits for work, in a pause of the load."""
    before, pause = 0.25, 0.2
    return Scenario(
        name="kill-idle",
        summary="SIGKILL to one idle worker in a pause of the load",
        stages=LOADED,
        examines=(*SAFETY, *CLOSING, *OF_DEATH),
        load=given.load((before, 1.0), (pause, 0.0), (1 - before - pause, 1.0)),
        faults=(
            FaultSpec(
                kind="kill",
                count=1,
                at_s=(before + 0.6 * pause) * given.seconds,
                coincide="idle",
                patience_s=0.4 * pause * given.seconds,
            ),
        ),
    )


def kill_most(given: Ingredients) -> Scenario:
    """SIGKILL to 60 % of the workers at once, all of them busy."""
    before, peak = 0.25, 0.15
    return Scenario(
        name="kill-most",
        summary="SIGKILL to 60 % of the workers at once, all busy, at a peak of the load",
        stages=LOADED,
        examines=(*SAFETY, *CLOSING, *OF_DEATH),
        load=given.load((before, 1.0), (peak, PEAK), (1 - before - peak, 1.0)),
        faults=(
            FaultSpec(
                kind="kill", share=0.6, at_s=(before + 0.2 * peak) * given.seconds, patience_s=0.25 * given.seconds
            ),
        ),
    )


def kill_storm(given: Ingredients) -> Scenario:
    """SIGKILL to one busy worker after the other, each perhaps before the pool got over the one before."""
    first, last = 0.1, 0.45
    gap = (last - first) / (STORM - 1)
    return Scenario(
        name="kill-storm",
        summary=f"SIGKILL to one busy worker, {STORM} times in a row",
        stages=LOADED,
        examines=(*SAFETY, *CLOSING, *OF_DEATH),
        load=given.load(),
        faults=tuple(
            FaultSpec(kind="kill", count=1, at_s=(first + number * gap) * given.seconds, patience_s=0.1 * given.seconds)
            for number in range(STORM)
        ),
    )


def stall_one(given: Ingredients) -> Scenario:
    """SIGSTOP to one worker that runs an operation; SIGCONT after half the window."""
    return Scenario(
        name="stall-one",
        summary="one busy worker stopped for half of the window",
        stages=LOADED,
        examines=(*SAFETY, *CLOSING, "contains-the-blast", "restores-capacity"),
        load=given.load(),
        faults=(FaultSpec(kind="stall", count=1, at_s=0.25 * given.seconds, for_s=0.5 * given.seconds),),
    )


def degradation(given: Ingredients) -> Scenario:
    """SIGKILL to half of the workers while there is more to do than the pool can: how much of it still gets done."""
    saturated = min(1.0, LONGEST_SATURATION_S / given.seconds)
    return Scenario(
        name="degradation",
        summary=f"SIGKILL to half of the workers at {SATURATION:g} times the capacity",
        stages=LOADED,
        examines=(*SAFETY, *CLOSING, "contains-the-blast", "restores-capacity", "degrades-gracefully"),
        load=given.waits((saturated, SATURATION), (1 - saturated, MODERATE)),
        workload="waits",
        faults=(FaultSpec(kind="kill", share=0.5, at_s=0.4 * saturated * given.seconds),),
    )


def overload(given: Ingredients) -> Scenario:
    """Three times as much as the pool can do, for a while: does it refuse in time, and whom does it make wait?"""
    # No longer than what is left over can be worked off before anyone asks where it remains.
    high = min(0.35, LONGEST_OVERLOAD_S / given.seconds)
    return Scenario(
        name="overload",
        summary=f"{OVERLOAD:g} times the capacity for a while",
        stages=LOADED,
        examines=(*SAFETY, *CLOSING, "sheds-overload", "serves-fairly"),
        load=given.waits((0.2, MODERATE), (high, OVERLOAD), (0.8 - high, MODERATE)),
        workload="waits",
    )


def sessions(given: Ingredients) -> Scenario:
    """Operations of sessions, and SIGKILL to one busy worker: who serves them, in what order, from what state?"""
    return Scenario(
        name="sessions",
        summary="operations of sessions, and SIGKILL to one busy worker",
        stages=LOADED,
        examines=(*SAFETY, *CLOSING, "contains-the-blast", "restores-capacity", *OF_SESSIONS),
        load=given.load(sessions=SESSIONS_PER_WORKER * given.workers),
        faults=(FaultSpec(kind="kill", count=1, at_s=0.5 * given.seconds),),
    )


def deadlines(given: Ingredients) -> Scenario:
    """Operations with deadlines: nearly all can be met, some pass while their operation runs, some while it waits."""
    running = tuple(Placed(at_s=at * given.seconds, kind="overdue", deadline_s=TIGHT_S) for at in (0.1, 0.35, 0.6))
    # Every worker gets something that takes long, and what comes next has little time.
    occupied = tuple(Placed(at_s=0.7 * given.seconds, kind="overdue") for _ in range(given.workers))
    waiting = tuple(
        Placed(at_s=0.7 * given.seconds + share * OVERDUE_S, kind="wait", deadline_s=TIGHT_S)
        for share in (0.05, 0.1, 0.15)
    )
    return Scenario(
        name="deadlines",
        summary="operations with deadlines, some of which take, or wait, longer",
        stages=LOADED,
        examines=(*SAFETY, *CLOSING, "restores-capacity", "honours-deadlines"),
        load=given.waits((1.0, MODERATE), placed=(*running, *occupied, *waiting), deadline_s=EASY_S),
        workload="waits",
    )


def awkward_work(given: Ingredients) -> Scenario:
    """Operations that raise, that exit, that do not pickle, that return much: one of each, amid ordinary ones."""
    kinds = tuple(awkward.workload.kinds)
    gap = 0.75 / len(kinds)
    placed = tuple(Placed(at_s=(0.1 + index * gap) * given.seconds, kind=kind) for index, kind in enumerate(kinds))
    return Scenario(
        name="awkward-work",
        summary="operations that raise, exit, do not pickle or unpickle, return 64 MB, amid ordinary ones",
        stages=LOADED,
        examines=(*SAFETY, *CLOSING, "contains-the-blast", "restores-capacity"),
        load=given.load(placed=placed),
    )


def shutdown(given: Ingredients) -> Scenario:
    """Closing with work in flight, first without and then with cancellation, each time a fresh pool."""
    return Scenario(
        name="shutdown",
        summary="closing with work in flight, without and with cancellation",
        stages=("close-loaded", "close-cancelling"),
        examines=(*SAFETY, *CLOSING),
        load=given.load((0.0, 0.0)),
    )


def parent_death(given: Ingredients) -> Scenario:
    """SIGKILL to the pool's own process while its workers are busy."""
    return Scenario(
        name="parent-death",
        summary="SIGKILL to the pool's own process under load",
        stages=("open", "load"),
        examines=("leaves-nothing-behind",),
        load=given.load(),
        faults=(FaultSpec(kind="kill", target="parent", at_s=0.25 * given.seconds),),
    )


SCENARIOS: Final[dict[str, Callable[[Ingredients], Scenario]]] = {
    "steady": steady,
    "sessions": sessions,
    "deadlines": deadlines,
    "overload": overload,
    "kill-one": kill_one,
    "kill-idle": kill_idle,
    "kill-most": kill_most,
    "kill-storm": kill_storm,
    "stall-one": stall_one,
    "degradation": degradation,
    "awkward-work": awkward_work,
    "shutdown": shutdown,
    "parent-death": parent_death,
}


def find_scenarios(names: tuple[str, ...], given: Ingredients) -> tuple[Scenario, ...]:
    """The named scenarios, or all of them, in their own order.

    Raises:
        UsageError: there is no scenario of such a name.
    """
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise UsageError(f"unknown scenario {unknown[0]!r}: name one of {', '.join(SCENARIOS)}")
    return tuple(make(given) for name, make in SCENARIOS.items() if not names or name in names)
