"""What in a plan makes no sense: everything at once, each in a few words."""

import math
from collections.abc import Iterator
from typing import Final

import msgspec

from poolproof.plan.faults import clashes, faulty
from poolproof.plan.load import Load
from poolproof.plan.promises import PROMISES
from poolproof.plan.whole import Plan, Stage

_NEEDS_POOL: Final = frozenset({"probe-before", "load", "drain", "probe-after", "close"})

LONGEST_S: Final = 7 * 86_400.0
"""How long a load may last."""

MOST_SPREAD: Final = 5.0
"""The largest sigma of service times that means anything: by then they differ by factors of hundreds."""

MOST_SKEW: Final = 5.0
"""The steepest popularity that means anything: by then the first session has 96 % of all operations."""

MAX_OPERATIONS: Final = 20_000_000
"""The most that one plan may offer: what fits in the memory of a machine like ours."""


def problems(plan: Plan) -> list[str]:
    """Everything in a plan that makes no sense, each in a few words; none where it can be run."""
    scenario, found = plan.scenario, []
    load = scenario.load
    for number, step in enumerate(load.steps):
        where = f"scenario.load.steps[{number}]"
        if not (0 <= step.seconds < math.inf):
            found.append(f"{where}: seconds = {step.seconds:g}: expected a time of 0 or more")
        if any(not 0 <= rate < math.inf for rate in (step.rate, step.to or 0.0)):
            found.append(f"{where}: a rate below 0, or without end")
    for number, entry in enumerate(load.placed):
        if not (0 <= entry.at_s < math.inf and 0 <= entry.deadline_s < math.inf):
            found.append(
                f"scenario.load.placed[{number}]: at_s = {entry.at_s:g}, deadline_s = {entry.deadline_s:g}: "
                "expected times of 0 or more"
            )
    found += [
        f"scenario.load: {name} = {getattr(load, name):g}: expected a share between 0 and 1"
        for name in ("idempotent", "deadline_share")
        if not 0 <= getattr(load, name) <= 1
    ]
    if load.burst < 1 or load.sessions < 0 or load.deadline_s < 0:
        found.append("scenario.load: burst below 1, or sessions or deadline_s below 0")
    found += _about_the_mix(load)
    expected = sum(step.operations for step in load.steps if load.model == "open") + len(load.placed)
    if not load.service_s and expected > MAX_OPERATIONS:
        found.append(
            f"scenario.load: about {expected:,.0f} operations, the most is {MAX_OPERATIONS:,}: lower the rate or the "
            "seconds"
        )
    if not load.steps:
        found.append("scenario.load: steps is empty: expected one or more")
    if not 0 <= load.warm_up <= MAX_OPERATIONS:
        found.append(f"scenario.load: warm_up = {load.warm_up}: expected a number of operations")
    if not 0 <= load.service_s < math.inf:
        found.append(f"scenario.load: service_s = {load.service_s:g}: expected a time of 0 or more")
    if load.seconds > LONGEST_S:
        found.append(f"scenario.load: it lasts {load.seconds:g} s, a week ({LONGEST_S:g} s) is the most")
    lasting = sum(spec.for_s for spec in scenario.faults)
    if lasting > plan.limits.max_fault_s:
        found.append(
            f"scenario.faults: they last {lasting:g} s together, limits.max_fault_s = {plan.limits.max_fault_s:g}"
        )
    if not 1 <= plan.workers <= plan.limits.max_processes:
        found.append(f"workers = {plan.workers}: expected 1 to limits.max_processes = {plan.limits.max_processes}")
    wrong = [name for name, value in msgspec.structs.asdict(plan.bounds).items() if not 0 < value < math.inf]
    found += [f"bounds: {name} is no time above 0" for name in wrong]
    if plan.layer not in (1, 2, 3):
        found.append(f"layer = {plan.layer}: expected 1, 2 or 3")
    if any(not 0 <= ms < math.inf for ms in plan.service_ms.values()):
        found.append("service_ms: expected times of 0 or more")
    if not 0 <= plan.service_spread <= MOST_SPREAD:
        found.append(f"service_spread = {plan.service_spread:g}: expected 0 to {MOST_SPREAD:g}")
    found += _out_of_order(scenario.stages)
    found += [f"scenario.examines: unknown promise {name!r}" for name in scenario.examines if name not in PROMISES]
    for number, spec in enumerate(scenario.faults):
        found += [f"scenario.faults[{number}] ({spec.kind}): {what}" for what in faulty(spec, plan.layer)]
        if spec.at_s > load.seconds:
            told = f"at_s = {spec.at_s:g}: the load is over after {load.seconds:g} s"
            found.append(f"scenario.faults[{number}] ({spec.kind}): {told}")
    found += clashes(scenario.faults)
    return found


def _about_the_mix(load: Load) -> Iterator[str]:
    if any(not 0 <= weight < math.inf for weight in load.mix.values()):
        yield "scenario.load: mix: expected weights of 0 or more"
    elif load.mix and not any(load.mix.values()):
        yield "scenario.load: mix: all weights are zero"
    if not 0 <= load.skew <= MOST_SKEW:
        yield f"scenario.load: skew = {load.skew:g}: expected 0 to {MOST_SKEW:g}"
    if not 0 <= load.think_s < math.inf:
        yield f"scenario.load: think_s = {load.think_s:g}: expected a time of 0 or more"
    if load.model == "closed" and (load.service_s or load.burst > 1):
        yield "scenario.load: the closed model has users, and neither multiples of the capacity nor bursts"
    if load.turns < 0 or (load.turns and load.model == "open"):
        yield f"scenario.load: turns = {load.turns}: expected 0 or more, and 0 in the open model"
    if load.model == "closed" and load.placed:
        yield "scenario.load: the closed model has users, and places no operations beside theirs"
    for number, abort in enumerate(load.aborts):
        if not (0 <= abort.above < math.inf and 0 < abort.over_s < math.inf):
            told = f"above = {abort.above:g}, over_s = {abort.over_s:g}"
            yield f"scenario.load.aborts[{number}]: {told}: expected a bound of 0 or more, and a time above 0"


def _out_of_order(stages: tuple[Stage, ...]) -> Iterator[str]:
    """The stages for which no pool is open."""
    is_open = False
    if not stages:
        yield "scenario.stages is empty: expected one or more"
    for number, stage in enumerate(stages):
        if stage in _NEEDS_POOL and not is_open:
            yield f"scenario.stages[{number}]: {stage!r} needs a pool, and none is open: put 'open' before it"
        is_open = stage == "open" or (is_open and stage in _NEEDS_POOL and stage != "close")
