"""From a plan that breaks a promise to a small one that breaks the same: delta debugging, by the true simulation.

First whole faults are left out, then operations, then what is left is made weaker. A candidate is accepted only if the
same promise is broken by it: another one may be another defect (Zeller and Hildebrandt, Simplifying and Isolating
Failure-Inducing Input, IEEE TSE 2002).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from poolproof.checks import judge
from poolproof.exploration.swarm import examined, is_fair
from poolproof.plan import FaultSpec, Load, Plan, problems
from poolproof.simulation import materialise, simulate

MOST_RUNS: Final = 1500
"""How many simulations a plan is shrunk for at most."""

_T = TypeVar("_T")


def breaks(plan: Plan, promise: str) -> bool:
    """Whether a plan, carried out on layer 1, breaks a promise by the pool's fault.

    What the world itself saw counts in any plan; what the checks say, in one from which they can tell.
    """
    if not is_fair(plan):
        return False
    history = simulate(plan)
    if any(event.event == "violation" and event.stage == promise for event in history.lifecycle):
        return True
    scenario = plan.scenario
    tells = promise in examined(scenario.stages, plan.options, scenario.load, scenario.faults)
    return tells and any(it.promise == promise and it.verdict == "broken" for it in judge(history))


class Shrinker:
    """Makes one plan smaller, as long as it goes on breaking its promise.

    Attributes:
        plan: the smallest so far.
        runs: how many simulations that took.
    """

    def __init__(self, plan: Plan, promise: str, most_runs: int = MOST_RUNS) -> None:
        self.plan = plan
        self.runs = 0
        self._promise = promise
        self._most = most_runs

    def shrink(self) -> Plan:
        """Shrink until nothing more can be left out, or the runs are used up."""
        self._try(_examining(self.plan, self._promise))
        self._fewer_faults()
        self._try_each(_simpler_stages)
        self._write_out()
        before = None
        while before != self.plan and self.runs < self._most:
            before = self.plan
            self._fewer_faults()
            self._fewer_operations()
            self._try_each(_weaker)
        return self.plan

    def _try(self, candidate: Plan) -> bool:
        if self.runs >= self._most or candidate == self.plan or problems(candidate):
            return False
        self.runs += 1
        try:
            accepted = breaks(candidate, self._promise)
        except Exception:  # a candidate that cannot even be run is none
            return False
        if accepted:
            self.plan = candidate
        return accepted

    def _try_each(self, variants: Callable[[Plan], Iterator[Plan]]) -> None:
        """Accept what can be accepted of the variants of the plan, each time from those of the new one."""
        progress = True
        while progress and self.runs < self._most:
            progress = any(self._try(candidate) for candidate in variants(self.plan))

    def _write_out(self) -> None:
        """Have each operation in the plan by itself, where the promise is broken then too."""
        if not self.plan.scenario.load.placed and "load" in self.plan.scenario.stages:
            self._try(materialise(self.plan))

    def _fewer_faults(self) -> None:
        def without(kept: Sequence[FaultSpec]) -> bool:
            return self._try(_with_faults(self.plan, tuple(kept)))

        _minimise(lambda: self.plan.scenario.faults, without)

    def _fewer_operations(self) -> None:
        def without(kept: Sequence[Any]) -> bool:
            return self._try(_with_load(self.plan, replace(self.plan.scenario.load, placed=tuple(kept))))

        _minimise(lambda: self.plan.scenario.load.placed, without)


def _minimise(entries: Callable[[], Sequence[_T]], keep: Callable[[Sequence[_T]], bool]) -> None:
    """Leave out chunks of what there is, ever smaller ones, down to single ones, as long as `keep` accepts the rest."""
    size = len(entries())
    while size:
        start = 0
        while start < len(entries()):
            now = entries()
            if not keep([*now[:start], *now[start + size :]]):
                start += size
        size = min(size // 2, len(entries()))


def _with_faults(plan: Plan, faults: tuple[FaultSpec, ...]) -> Plan:
    return replace(plan, scenario=replace(plan.scenario, faults=faults))


def _with_load(plan: Plan, load: Load) -> Plan:
    return replace(plan, scenario=replace(plan.scenario, load=load))


def _examining(plan: Plan, promise: str) -> Plan:
    return replace(plan, scenario=replace(plan.scenario, examines=(promise,)))


def _simpler_stages(plan: Plan) -> Iterator[Plan]:
    for number in range(len(plan.scenario.stages)):
        stages = plan.scenario.stages[:number] + plan.scenario.stages[number + 1 :]
        if "open" in stages or "load" not in stages:
            yield replace(plan, scenario=replace(plan.scenario, stages=stages))


def _weaker(plan: Plan) -> Iterator[Plan]:
    """The plan with one thing in it weaker: a smaller pool, an option less, a shorter or a narrower fault."""
    for name in plan.options:
        yield replace(plan, options={key: value for key, value in plan.options.items() if key != name})
    for workers in range(1, plan.workers):
        yield replace(plan, workers=workers)
    if plan.service_spread:
        yield replace(plan, service_spread=0.0)
    load = plan.scenario.load
    for change in _weaker_loads(load):
        yield _with_load(plan, change)
    for number, spec in enumerate(plan.scenario.faults):
        for other in _weaker_faults(spec):
            faults = (*plan.scenario.faults[:number], other, *plan.scenario.faults[number + 1 :])
            yield _with_faults(plan, faults)


def _weaker_loads(load: Load) -> Iterator[Load]:
    if load.warm_up > 1:
        yield replace(load, warm_up=1)
    for name in ("sessions", "deadline_s", "idempotent"):
        if getattr(load, name):
            yield replace(load, **{name: type(getattr(load, name))(0)})
    if load.burst > 1:
        yield replace(load, burst=1)
    if any(step.rate for step in load.steps):
        yield replace(load, steps=tuple(replace(step, rate=0.0, to=None) for step in load.steps))
        if load.steps and max(step.rate for step in load.steps) > _LOWEST_RATE:
            yield replace(load, steps=tuple(replace(step, rate=step.rate / 2) for step in load.steps))
        if len(load.steps) > 1:
            for number in range(len(load.steps)):
                yield replace(load, steps=load.steps[:number] + load.steps[number + 1 :])
    for number, entry in enumerate(load.placed):
        for change in ({"idempotent": False}, {"deadline_s": 0.0}, {"session": -1}):
            if getattr(entry, next(iter(change))) != next(iter(change.values())):
                yield replace(
                    load, placed=(*load.placed[:number], replace(entry, **change), *load.placed[number + 1 :])
                )


def _weaker_faults(spec: FaultSpec) -> Iterator[FaultSpec]:
    if spec.share:
        yield replace(spec, share=0.0, count=1)
    if spec.count > 1:
        yield replace(spec, count=1)
    if spec.toward == "both" and spec.kind in _DIRECTED:
        yield replace(spec, toward="pool")
        yield replace(spec, toward="worker")
    if spec.for_s > _SHORTEST_S:
        yield replace(spec, for_s=round(spec.for_s / 2, 4))
    if spec.coincide != "any" and spec.target == "worker":
        yield replace(spec, coincide="any")
    for name, unit in (("at_s", 0.1), ("at_s", 0.01)):
        rounded = round(round(getattr(spec, name) / unit) * unit, 3)
        if rounded != getattr(spec, name):
            yield replace(spec, **{name: rounded})


_DIRECTED: Final = frozenset({"partition", "delay", "duplicate", "corrupt", "truncate"})
_SHORTEST_S: Final = 0.01
_LOWEST_RATE: Final = 1.0
