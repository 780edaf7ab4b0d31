"""A benchmark as a value, its measurement, and what its figures say of its thresholds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from poolproof.checks import Verdict, worst
from poolproof.errors import UsageError
from poolproof.experiment import Experiment, Run, Watcher
from poolproof.experiment.run import Target
from poolproof.figures import Judged, judge_objectives
from poolproof.load import Mix, Shape, hold, users
from poolproof.load.shapes import Duration
from poolproof.performance.metrics import PerformanceMetrics, collect_performance_metrics
from poolproof.performance.results import Figure
from poolproof.plan import Objective, seconds

LONGEST_CLOSED_S = 60.0
"""For how long users send who are to send a certain number of operations, and are slower than anybody expects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceBenchmark:
    """What is to be measured, on which pool, under which load, and what it is to come to.

    The load is either of `users`, or of a `rate`, or a whole `shape`; it lasts for `duration` or for so many
    `operations`.

    Attributes:
        name: of the benchmark, and of its run.
        description: what it shows, in a sentence.
        target: the pool; None for the experiment's own.
        workers: how many; None for as many as are configured.
        options: what the target's factory is given by name.
        workload: None for the configured one.
        mix: of which kinds the operations are, and whose.
        warm_up: how many operations are sent and drained before.
        operations: how many are measured; 0 where a duration is given.
        users: how many send, each waiting for the end of what was sent; 0 for none.
        think: how long each thinks between two operations.
        rate: operations a second, whatever became of those before; 0 for none.
        shape: a load of any other form, with its faults.
        duration: how long is measured; 0 where a number of operations is given.
        thresholds: what its figures are to be.
        metrics: figures of your own, each by its name and computed from the run.

    Raises:
        UsageError: there is no load, or more than one, or no end of it.
    """

    name: str
    description: str = ""
    target: Target | None = None
    workers: int | None = None
    options: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    workload: str | None = None
    mix: Mix | Mapping[str, float] | None = None
    warm_up: int = 50
    operations: int = 0
    users: int = 0
    think: Duration = 0.0
    rate: float = 0.0
    shape: Shape | None = None
    duration: Duration = 0.0
    thresholds: tuple[Objective, ...] = ()
    metrics: Mapping[str, Callable[[Run], Figure]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = [name for name in ("users", "rate", "shape") if getattr(self, name)]
        what = f"the benchmark {self.name!r}"
        if len(given) != 1:
            raise UsageError(f"{what} has {' and '.join(given) or 'no load'}: give it users, or a rate, or a shape")
        if self.operations < 0 or self.warm_up < 0:
            raise UsageError(f"{what}: operations = {self.operations}, warm_up = {self.warm_up}: expected 0 or more")
        lasting = bool(seconds(self.duration, what)) + bool(self.operations)
        if lasting != (self.shape is None):
            wanted = "a duration or a number of operations" if self.shape is None else "nothing beside its shape"
            raise UsageError(f"{what} needs {wanted} to say how long it lasts")

    @property
    def load(self) -> Shape:
        """The shape of its load."""
        if self.shape is not None:
            return self.shape
        if self.users:
            return users(self.users, self.duration or LONGEST_CLOSED_S, think=self.think, turns=self.operations)
        return hold(self.rate, self.duration or self.operations / self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a benchmark measured.

    Attributes:
        benchmark: what was to be measured.
        run: the record.
        metrics: what the kit makes of it.
        figures: the benchmark's own.
        analysis: how its thresholds stand.
    """

    benchmark: PerformanceBenchmark
    run: Run
    metrics: PerformanceMetrics
    figures: tuple[Figure, ...]
    analysis: "Analysis"


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """How figures stand to what they were to be: each with its margin, and no grade that would hide one of them.

    Attributes:
        verdict: the worst of all, `unknown` where there is nothing to judge by.
        judged: each objective, in order.
    """

    verdict: Verdict
    judged: tuple[Judged, ...]

    def describe(self) -> str:
        """Each objective on a line, after the verdict."""
        return "\n".join([self.verdict, *(judged.describe() for judged in self.judged)])


def benchmark_pool_operations(
    benchmark: PerformanceBenchmark, experiment: Experiment, *, watcher: Watcher = lambda *_: None
) -> Measurement:
    """Measure: a fresh pool, a warm-up that is drained, then the load.

    Args:
        benchmark: what to measure.
        experiment: on which layer, from which seed, and which pool where the benchmark names none.
        watcher: told of the progress, a few times a second.

    Raises:
        UsageError: something is named that does not exist.
    """
    plan = experiment.plan(
        benchmark.load,
        benchmark.mix,
        objectives=benchmark.thresholds,
        target=benchmark.target,
        workload=benchmark.workload,
        workers=benchmark.workers,
        warm_up=benchmark.warm_up,
        options=benchmark.options,
        name=benchmark.name,
        arrivals="constant" if benchmark.users else None,
    )
    run = experiment.carry_out(plan, watcher=watcher)
    return Measurement(
        benchmark=benchmark,
        run=run,
        metrics=collect_performance_metrics(run),
        figures=tuple(measure(run) for measure in benchmark.metrics.values()),
        analysis=analyze_performance_results(run),
    )


def analyze_performance_results(measured: Measurement | Run, objectives: Iterable[Objective] | None = None) -> Analysis:
    """Judge a measurement by its own thresholds, or by others.

    Args:
        measured: what was measured.
        objectives: what its figures are to be; None for the thresholds that it was measured with.
    """
    run = measured.run if isinstance(measured, Measurement) else measured
    judged = judge_objectives(run.history, None if objectives is None else tuple(objectives))
    return Analysis(verdict=worst(it.verdict for it in judged) if judged else "unknown", judged=judged)
