"""The scenarios: named plans, each with the promises that it examines."""

from collections.abc import Callable
from typing import Final

from poolproof.errors import UsageError
from poolproof.plan import FaultSpec, Load, Placed, Scenario, Stage, Step
from poolproof.workloads import awkward

_LOADED: Final[tuple[Stage, ...]] = ("open", "probe-before", "load", "drain", "probe-after", "close")
_SAFETY: Final = ("resolves-every-operation", "runs-at-most-once", "returns-the-right-result", "types-every-error")
_CLOSING: Final = ("closes-cleanly", "leaves-nothing-behind")
_DEATH: Final = ("survives-worker-death", "contains-the-blast", "restores-capacity")

PEAK: Final = 2.5
"""How much higher the rate is at the peak at which most workers are killed: so many must be busy at once."""

Ingredients = tuple[float, float, str, int]
"""Rate (operations a second), seconds, arrivals, warm-up operations."""


def _load(ingredients: Ingredients, steps: tuple[Step, ...] = (), placed: tuple[Placed, ...] = ()) -> Load:
    rate, seconds, arrivals, warm_up = ingredients
    return Load(
        steps=steps or (Step(rate=rate, seconds=seconds),),
        arrivals="constant" if arrivals == "constant" else "poisson",
        placed=placed,
        warm_up=warm_up,
    )


def steady(ingredients: Ingredients) -> Scenario:
    """Load and no harm, after opening and closing the pool four times: what is broken here is broken always."""
    return Scenario(
        name="steady",
        summary="load without any fault, after four cycles of opening and closing",
        stages=("cycles", *_LOADED),
        examines=(*_SAFETY, *_CLOSING),
        load=_load(ingredients),
    )


def kill_one(ingredients: Ingredients) -> Scenario:
    """SIGKILL to one worker that runs an operation."""
    return Scenario(
        name="kill-one",
        summary="SIGKILL to one busy worker under load",
        stages=_LOADED,
        examines=(*_SAFETY, *_CLOSING, *_DEATH),
        load=_load(ingredients),
        faults=(FaultSpec(kind="kill", count=1, at_s=0.25 * ingredients[1]),),
    )


def kill_idle(ingredients: Ingredients) -> Scenario:
    """SIGKILL to one worker that waits for work, in a pause of the load."""
    rate, seconds, _, _ = ingredients
    before, pause = 0.25 * seconds, 0.2 * seconds
    return Scenario(
        name="kill-idle",
        summary="SIGKILL to one idle worker in a pause of the load",
        stages=_LOADED,
        examines=(*_SAFETY, *_CLOSING, *_DEATH),
        load=_load(
            ingredients,
            steps=(
                Step(rate=rate, seconds=before),
                Step(rate=0, seconds=pause),
                Step(rate=rate, seconds=seconds - before - pause),
            ),
        ),
        faults=(FaultSpec(kind="kill", count=1, at_s=before + 0.6 * pause, coincide="idle", patience_s=0.4 * pause),),
    )


def kill_most(ingredients: Ingredients) -> Scenario:
    """SIGKILL to 60 % of the workers at once, all of them busy."""
    rate, seconds, _, _ = ingredients
    before, peak = 0.25 * seconds, 0.15 * seconds
    return Scenario(
        name="kill-most",
        summary="SIGKILL to 60 % of the workers at once, all busy, at a peak of the load",
        stages=_LOADED,
        examines=(*_SAFETY, *_CLOSING, *_DEATH),
        load=_load(
            ingredients,
            steps=(
                Step(rate=rate, seconds=before),
                Step(rate=PEAK * rate, seconds=peak),
                Step(rate=rate, seconds=seconds - before - peak),
            ),
        ),
        faults=(FaultSpec(kind="kill", share=0.6, at_s=before + 0.2 * peak, patience_s=0.25 * seconds),),
    )


def stall_one(ingredients: Ingredients) -> Scenario:
    """SIGSTOP to one worker that runs an operation; SIGCONT after half the window."""
    seconds = ingredients[1]
    return Scenario(
        name="stall-one",
        summary="one busy worker stopped for half of the window",
        stages=_LOADED,
        examines=(*_SAFETY, *_CLOSING, "contains-the-blast", "restores-capacity"),
        load=_load(ingredients),
        faults=(FaultSpec(kind="stall", count=1, at_s=0.25 * seconds, for_s=0.5 * seconds),),
    )


def awkward_work(ingredients: Ingredients) -> Scenario:
    """Operations that raise, that exit, that do not pickle, that return much: one of each, amid ordinary ones."""
    kinds = tuple(awkward.workload.kinds)
    seconds = ingredients[1]
    gap = 0.75 * seconds / len(kinds)
    placed = tuple(Placed(at_s=0.1 * seconds + index * gap, kind=kind) for index, kind in enumerate(kinds))
    return Scenario(
        name="awkward-work",
        summary="operations that raise, exit, do not pickle or unpickle, return 64 MB, amid ordinary ones",
        stages=_LOADED,
        examines=(*_SAFETY, *_CLOSING, "contains-the-blast", "restores-capacity"),
        load=_load(ingredients, placed=placed),
    )


def shutdown(ingredients: Ingredients) -> Scenario:
    """Closing with work in flight, first without and then with cancellation, each time a fresh pool."""
    return Scenario(
        name="shutdown",
        summary="closing with work in flight, without and with cancellation",
        stages=("close-loaded", "close-cancelling"),
        examines=(*_SAFETY, *_CLOSING),
        load=_load(ingredients, steps=(Step(rate=0, seconds=0),)),
    )


def parent_death(ingredients: Ingredients) -> Scenario:
    """SIGKILL to the pool's own process while its workers are busy."""
    return Scenario(
        name="parent-death",
        summary="SIGKILL to the pool's own process under load",
        stages=("open", "load"),
        examines=("leaves-nothing-behind",),
        load=_load(ingredients),
        faults=(FaultSpec(kind="kill", target="parent", at_s=0.25 * ingredients[1]),),
    )


SCENARIOS: Final[dict[str, Callable[[Ingredients], Scenario]]] = {
    "steady": steady,
    "kill-one": kill_one,
    "kill-idle": kill_idle,
    "kill-most": kill_most,
    "stall-one": stall_one,
    "awkward-work": awkward_work,
    "shutdown": shutdown,
    "parent-death": parent_death,
}


def find_scenarios(names: tuple[str, ...], ingredients: Ingredients) -> tuple[Scenario, ...]:
    """The named scenarios, or all of them, in their own order.

    Raises:
        UsageError: there is no scenario of such a name.
    """
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise UsageError(f"unknown scenario {unknown[0]!r}: name one of {', '.join(SCENARIOS)}")
    return tuple(make(ingredients) for name, make in SCENARIOS.items() if not names or name in names)
