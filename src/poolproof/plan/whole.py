"""Scenarios and plans: the whole of one experiment, as plain values."""

from itertools import pairwise
from typing import Final, Literal

import msgspec

from poolproof.plan.faults import FaultSpec
from poolproof.plan.load import Load
from poolproof.plan.objectives import Objective
from poolproof.plan.promises import Claims
from poolproof.plan.value import Value

SCHEMA: Final = "poolproof/plan-3"

STARTS: Final = 2
"""How many times the observed start of a pool is waited for, on top of every bound within which a worker may start."""

CYCLES: Final = 3
"""How often the stage `cycles` opens and closes the pool again after the first, uncounted time."""

CYCLE_OPERATIONS: Final = 2
"""How many operations a worker each of those times."""

SHUTDOWN_OPERATIONS: Final = 10
"""How many operations a worker, at most, a pool is given that is closed at work."""

ATTEMPTS: Final = 3
"""How often it is tried at most to have as many operations at once as there are workers."""

LEAD_NS: Final = 50_000_000
"""How long before its measured window everything of a load is laid out."""

SLACK_S: Final = 5.0
"""What is added to a bound, so that whoever keeps his own is not ended for telling so late."""

Stage = Literal[
    "cycles", "open", "probe-before", "load", "drain", "probe-after", "close", "close-loaded", "close-cancelling"
]


class Scenario(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A named experiment together with the promises that it examines.

    Attributes:
        stages: what the lab does, in order.
        examines: the promises that are judged on its history.
        objectives: what its figures are to be.
        workload: its own, where a promise can be measured with certain operations alone; empty for the run's.
    """

    name: str
    summary: str
    stages: tuple[Stage, ...]
    examines: tuple[str, ...]
    load: Load
    workload: str = ""
    faults: tuple[FaultSpec, ...] = ()
    objectives: tuple[Objective, ...] = ()

    @property
    def closes_under_load(self) -> bool:
        """Whether the pool is closed right after the load: what faults are to come, come while it closes."""
        return ("load", "close") in pairwise(self.stages)

    @property
    def fault_s(self) -> float:
        """How long the faults may take to be over, one after the other."""
        return sum(fault.for_s + fault.patience_s for fault in self.faults)


class Bounds(Value, frozen=True, kw_only=True):
    """How long anything may take, in seconds; whoever exceeds its bound is ended, and that is recorded."""

    open_s: float
    close_s: float
    drain_s: float
    rendezvous_s: float
    outlive_s: float
    total_s: float


class Limits(Value, frozen=True, kw_only=True):
    """The blast radius: faults beyond it are refused before anything is harmed."""

    max_share: float
    min_survivors: int
    max_fault_s: float
    max_processes: int


class Target(Value, frozen=True, kw_only=True):
    """The pool to be proven, and the reference of its factory; what it claims is known once it is built."""

    name: str
    factory: str


class Plan(Value, frozen=True, kw_only=True):
    """One experiment whole: judged again from a saved file, it means the same.

    Attributes:
        workload: the run's, for scenarios that have none of their own.
        service_ms: how long the scripted operations occupy a worker, by kind.
        service_spread: by how much that varies: the sigma of a lognormal distribution with that median.
        options: what the target's factory is given by name, beside the number of workers.
        watch_s: how often it is seen which processes there are.
        usage_s: how often, during the load, what each of them uses; that takes longer.
    """

    schema: str = SCHEMA
    target: Target
    workload: str
    scenario: Scenario
    layer: int
    workers: int
    seed: int
    service_ms: dict[str, float] = msgspec.field(default_factory=dict)
    service_spread: float = 0.0
    options: dict[str, str | int | float | bool | None] = msgspec.field(default_factory=dict)
    bounds: Bounds
    limits: Limits
    watch_s: float = 0.1
    usage_s: float = 1.0

    @property
    def works_on(self) -> str:
        """The workload that is run: the scenario's own, else the run's."""
        return self.scenario.workload or self.workload

    def resolution_s(self, claims: Claims, start_s: float) -> float:
        """How long after the last heal or send an operation may stay unresolved, in seconds.

        Args:
            claims: what the pool says of itself.
            start_s: how long a fresh pool was seen to take to its first answer: a lost worker has to be started anew,
                perhaps beside others, and that takes what the imports and the setup of the user's work take.
        """
        return max(self.bounds.drain_s, 3 * claims.detection_s) + STARTS * start_s

    def close_bound_s(self, claims: Claims, start_s: float) -> float:
        """How long a close may take, in seconds: it may have to wait for workers that are just being started."""
        return max(self.bounds.close_s, 3 * claims.detection_s) + STARTS * start_s

    def first_probe_s(self, start_s: float) -> float:
        """How long the first probe of a fresh pool's capacity may take, in seconds: not all workers may be up yet."""
        return max(self.bounds.open_s / 4, STARTS * start_s)

    def shutdown_operations(self, claims: Claims, start_s: float, service_s: float) -> int:
        """How many operations of so many seconds a worker can still be worked off by a bounded close."""
        return max(2, min(SHUTDOWN_OPERATIONS, int(self.close_bound_s(claims, start_s) / 2 / max(service_s, 1e-6))))
