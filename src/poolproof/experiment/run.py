"""One experiment of the user's own: a shape of load on a pool, with faults, judged by promises and by objectives."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from poolproof import figures
from poolproof.checks import Verdict
from poolproof.config import Effective
from poolproof.errors import UsageError
from poolproof.experiment.proof import (
    COUNTED,
    Outcome,
    Proof,
    Watcher,
    carry_out,
    combine,
    home_of,
    made_empty,
    prove,
    service_of,
)
from poolproof.experiment.scenarios import CLOSING, LOADED, OF_DEATH, OF_SESSIONS, SAFETY
from poolproof.faults import check_plan
from poolproof.history import History
from poolproof.load import Mix, Shape
from poolproof.plan import Abort, Bounds, FaultSpec, Limits, Objective, Plan, Scenario, problems
from poolproof.pools import check_core, find_core, find_target
from poolproof.workloads import choose, reference

DEFAULT_TARGET: Final = "sessionpool"
Target = str | Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of one experiment.

    Attributes:
        proof: every promise that it examined, with evidence.
        history: the record that all of it was judged by.
    """

    proof: Proof
    history: History

    @property
    def outcome(self) -> Outcome:
        """The figures, the objectives, the faults and the findings."""
        return self.proof.scenarios[0]

    @property
    def verdict(self) -> Verdict:
        """The worst of its objectives and of the promises that count."""
        return self.proof.verdict

    @property
    def load(self) -> figures.Load:
        """What was offered, what became of it, and how long that took."""
        return self.outcome.load

    @property
    def objectives(self) -> tuple[figures.Judged, ...]:
        """How each objective stands, in the order in which they were given."""
        return self.outcome.objectives

    def of_kind(self, kind: str) -> figures.Load:
        """The load figures of one kind of operation.

        Raises:
            UsageError: the load had no such kind.
        """
        if kind not in self.history.kinds:
            raise UsageError(f"the load had no operations of the kind {kind!r}: it had {', '.join(self.history.kinds)}")
        return figures.load_figures(self.history, kind)

    def series(self, window: float = figures.WINDOW_S, kind: str = "") -> figures.Series:
        """The course of it, in windows of so many seconds."""
        return figures.series(self.history, window, kind)

    def describe(self) -> str:
        """All that a failed test should tell: what is broken or unknown, and the figures."""
        load, outcome = self.load, self.outcome
        lines = [
            f"{self.proof.target} on layer {self.proof.layer}, seed {self.proof.seed}: {self.verdict}",
            f"offered {load.offered}, completed {load.completed}, failed {load.failed}, unresolved {load.unresolved}; "
            f"response p50 {load.response_ms['p50']} ms, p99 {load.response_ms['p99']} ms, "
            f"max {load.response_ms['max']} ms; own lag p99 {load.lag_ms['p99']} ms",
        ]
        lines += [f"given up: {outcome.given_up}"] if outcome.given_up else []
        lines += [judged.describe() for judged in outcome.objectives]
        for name, promise in self.proof.promises.items():
            if promise.verdict in ("broken", "unknown") and promise.made in COUNTED:
                lines.append(f"{name}: {promise.verdict}")
                lines += [f"  {evidence.text}" for evidence in promise.evidence[:_TOLD]]
        lines += [f"{error.count} × {error.type}: {error.message}" for error in outcome.errors[:_TOLD]]
        return "\n".join(lines)

    def expect_kept(self) -> "Run":
        """The run itself, where all objectives are met and all promises that count are kept.

        Raises:
            AssertionError: something is broken, or could not be told: with all that is known of it.
        """
        if self.verdict != "kept":
            raise AssertionError(self.describe())
        return self


_TOLD: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Experiments on one layer, from one seed; the fixture `experiment` of the plugin is one.

    Attributes:
        effective: the configuration of the layer.
        layer: 1, 2 or 3.
        seed: schedules, payloads and choices of victims all come from it.
        report: where run folders stay; None for nowhere.
        target: the pool where none is named.
    """

    effective: Effective
    layer: int
    seed: int
    report: Path | None = None
    target: Target = DEFAULT_TARGET

    def __call__(
        self,
        target: Target,
        *,
        scenarios: tuple[str, ...] = (),
        seed: int | None = None,
        config: Effective | None = None,
    ) -> Proof:
        """Prove a pool by the scenarios of `poolproof prove`."""
        return prove(
            target,
            config or self.effective,
            layer=self.layer,
            seed=self.seed if seed is None else seed,
            scenarios=scenarios,
            report=self.report,
        )

    def run(
        self,
        shape: Shape,
        mix: Mix | Mapping[str, float] | None = None,
        *,
        faults: Iterable[Shape | FaultSpec] = (),
        objectives: Iterable[Objective] = (),
        target: Target | None = None,
        workload: str | None = None,
        workers: int | None = None,
        arrivals: Literal["constant", "poisson"] | None = None,
        warm_up: int | None = None,
        aborts: Iterable[Abort] = (),
        options: Mapping[str, str | int | float | bool | None] | None = None,
        name: str = "experiment",
        seed: int | None = None,
        watcher: Watcher = lambda *_: None,
        stop: int | None = None,
    ) -> Run:
        """Put load on a fresh pool, harm it, and judge the record.

        Args:
            shape: how much load when, with the faults that stand in it.
            mix: of which kinds the operations are, and whose: weights by kind, or a whole `Mix`; None for the
                workload's own.
            faults: more of them, each at its moment.
            objectives: what the figures are to be: `p99("predict") < "50ms"`.
            target: the pool; None for the experiment's own.
            workload: None for the configured one.
            workers: how many; None for as many as are configured.
            arrivals: evenly spaced, or a Poisson process; None for what is configured.
            warm_up: how many operations are sent and drained before; None for as many as are configured.
            aborts: when the load is given up.
            options: what the target's factory is given by name.
            name: of the run, and of its folder in the report.
            seed: None for the experiment's own.
            watcher: told of the progress, a few times a second.
            stop: a descriptor; once it can be read the run is ended, and all its faults undone.

        Raises:
            UsageError: something is named that does not exist, or makes no sense; all of it is told at once.
            KeyboardInterrupt: it was stopped.
        """
        plan = self.plan(
            shape,
            mix,
            faults=faults,
            objectives=objectives,
            target=target,
            workload=workload,
            workers=workers,
            arrivals=arrivals,
            warm_up=warm_up,
            aborts=aborts,
            options=options,
            name=name,
            seed=seed,
        )
        return self.carry_out(plan, watcher=watcher, stop=stop)

    def carry_out(self, plan: Plan, *, watcher: Watcher = lambda *_: None, stop: int | None = None) -> Run:
        """Run a plan, and judge its record: for plans that `plan` made and that were changed since.

        Raises:
            UsageError: it makes no sense, or what it needs is not there.
        """
        name = plan.scenario.name
        with home_of(self.report) as home:
            folder = made_empty(home / name)
            stays = self.report is not None
            watch = partial(watcher, plan.target.name, name)
            history = carry_out(plan, folder, discard=None if stays else home, watcher=watch, stop=stop)
        return Run(proof=combine([(history, str(folder) if stays else "")], {}, plan), history=history)

    async def run_async(self, shape: Shape, mix: Mix | Mapping[str, float] | None = None, **terms: Any) -> Run:
        """As `run`, without blocking the event loop; cancelled, it ends the run and undoes its faults first."""
        ours, theirs = os.pipe()
        try:
            # A future, not a task: the KeyboardInterrupt of a stopped run would go through a task and end the loop.
            work = partial(self.run, shape, mix, stop=ours, **terms)
            running = asyncio.get_running_loop().run_in_executor(None, work)
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                os.write(theirs, b"x")
                while not running.done():  # nothing of it outlives the one who asked for it, even if he asks twice
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.wait([running])
                running.exception()
                raise
        finally:
            os.close(ours)
            os.close(theirs)

    def plan(
        self,
        shape: Shape,
        mix: Mix | Mapping[str, float] | None = None,
        *,
        faults: Iterable[Shape | FaultSpec] = (),
        objectives: Iterable[Objective] = (),
        target: Target | None = None,
        workload: str | None = None,
        workers: int | None = None,
        arrivals: Literal["constant", "poisson"] | None = None,
        warm_up: int | None = None,
        aborts: Iterable[Abort] = (),
        options: Mapping[str, str | int | float | bool | None] | None = None,
        name: str = "experiment",
        seed: int | None = None,
    ) -> Plan:
        """What `run` would do with the same arguments.

        Raises:
            UsageError: as `run`.
        """
        config = self.effective.config
        chosen = self.target if target is None else target
        found = find_core(chosen) if self.layer == 1 else find_target(chosen)
        if self.layer == 1:
            check_core(found)
        works_on, _ = choose(workload or config.load.workload)
        reference(works_on)
        size = config.pool.workers if workers is None else workers
        if not shape.steps:
            raise UsageError("the shape lasts no time: put load around its faults, as in hold(100, '10s') >> fault(…)")
        terms = (mix if isinstance(mix, Mix) else Mix(weights=mix or {})).terms()
        harms = (*shape.faults, *_specs(faults))
        limits = Limits(**msgspec.structs.asdict(config.limits))
        check_plan(harms, size, limits)
        plan = Plan(
            target=found,
            workload=works_on,
            scenario=Scenario(
                name=name,
                summary=shape.describe(),
                stages=LOADED,
                examines=_examined(harms, terms["sessions"]),
                load=shape.load(
                    arrivals=arrivals or config.load.arrivals,
                    warm_up=config.load.warm_up_operations if warm_up is None else warm_up,
                    aborts=tuple(aborts),
                    **terms,
                ),
                faults=harms,
                objectives=tuple(objectives),
            ),
            layer=self.layer,
            workers=size,
            seed=self.seed if seed is None else seed,
            service_ms=service_of(config),
            options=dict(options or {}),
            bounds=Bounds(**msgspec.structs.asdict(config.bounds)),
            limits=limits,
            watch_s=config.watch.interval_s,
            usage_s=config.watch.usage_interval_s,
        )
        if wrong := problems(plan):
            raise UsageError(f"this experiment makes no sense: {'; '.join(wrong)}")
        return plan

    def with_config(self, **sections: msgspec.Struct) -> "Experiment":
        """The same experiments with other sections of the configuration."""
        config = msgspec.structs.replace(self.effective.config, **sections)
        return replace(self, effective=replace(self.effective, config=config))


def _specs(faults: Iterable[Shape | FaultSpec]) -> Iterable[FaultSpec]:
    for one in faults:
        if isinstance(one, FaultSpec):
            yield one
        elif one.steps:
            raise UsageError("faults=[…]: expected what `fault(…)` makes; load is composed by >>")
        else:
            yield from one.faults


def _examined(faults: tuple[FaultSpec, ...], sessions: int) -> tuple[str, ...]:
    """What such a run can show of a pool."""
    harmed = OF_DEATH if any(fault.target == "worker" and fault.kind == "kill" for fault in faults) else ()
    return (*SAFETY, *CLOSING, *harmed, *(OF_SESSIONS if sessions else ()))
