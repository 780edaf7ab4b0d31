"""The schema of the configuration: every section and key, its type, its unit (in the name) and its range."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(gt=0, le=1)]
Count = Annotated[int, Meta(ge=1)]


class Pool(Struct, frozen=True, kw_only=True):
    """The pool under test."""

    workers: Annotated[int, Meta(ge=2, le=256)]
    fallback: tuple[Literal[1, 2, 3], ...]


class Load(Struct, frozen=True, kw_only=True):
    """The load of a scenario: its workload, its rate, and how long its measured window lasts."""

    workload: str
    rate_per_worker_per_s: Annotated[float, Meta(gt=0, le=100_000)]
    seconds: Annotated[float, Meta(ge=2, le=86_400)]
    arrivals: Literal["constant", "poisson"]
    warm_up_operations: Count


class Service(Struct, frozen=True, kw_only=True):
    """How long the scripted operations occupy a worker."""

    predict_ms: Positive
    batch_ms: Positive


class Limits(Struct, frozen=True, kw_only=True):
    """The blast radius of faults, and how many processes a pool may have before its experiment is ended."""

    max_share: Share
    min_survivors: Annotated[int, Meta(ge=0)]
    max_fault_s: Positive
    max_processes: Count


class Bounds(Struct, frozen=True, kw_only=True):
    """How long anything may take."""

    open_s: Positive
    close_s: Positive
    drain_s: Annotated[float, Meta(ge=3)]
    rendezvous_s: Positive
    outlive_s: Positive
    total_s: Positive


class Watch(Struct, frozen=True, kw_only=True):
    """How often the conductor looks at the processes of a run, and how often at what each of them uses."""

    interval_s: Annotated[float, Meta(ge=0.01, le=10)]
    usage_interval_s: Annotated[float, Meta(ge=0.1, le=3600)]


class Budgets(Struct, frozen=True, kw_only=True):
    """What the kit itself may cost: judged by `nox -s performance`."""

    probe_p50_us: Positive
    generator_rate_per_s: Positive
    generator_lag_p99_ms: Positive
    judge_million_s: Positive
    judge_million_gb: Positive
    simulated_per_s: Positive
    long_shapes_s: Positive
    wake_p99_ms: Positive
    isolated_pool_ms: Positive
    tested_pool_ms: Positive


class Testing(Struct, frozen=True, kw_only=True):
    """What key tests judge the monitored figures of a test's pool by: see tests/integration/layers."""

    predict_p95_ms: Positive
    batch_p95_ms: Positive
    successor_ms: Positive
    throughput_per_s: Positive
    utilisation: Share
    memory_mb: Positive


class Performance(Struct, frozen=True, kw_only=True):
    """What benchmarks and load scenarios work on, and how much of their time they take where that is to be little."""

    workload: str
    workers: Annotated[int, Meta(ge=2, le=256)]
    predict_ms: Positive
    batch_ms: Positive
    sustained_per_s: Positive
    time_scale: Share


class Objectives(Struct, frozen=True, kw_only=True):
    """What load scenarios and benchmarks are to come to: judged by `poolproof bench` and `nox -s performance`."""

    completed: Share
    lag_p99_ms: Positive
    ramp_p99_ms: Positive
    sustained_p99_ms: Positive
    spike_p99_ms: Positive
    spike_drain_s: Positive
    predict_p99_ms: Positive
    batch_p99_ms: Positive
    failures_p99_ms: Positive
    failures_steady_ms: Positive
    latency_p50_ms: Positive
    latency_p99_ms: Positive
    throughput_per_s: Positive
    initialisation_s: Positive
    affinity_price: Positive
    grow_s: Positive
    shrink_s: Positive


class Config(Struct, frozen=True, kw_only=True):
    """The whole configuration, validated."""

    pool: Pool
    load: Load
    service: Service
    limits: Limits
    bounds: Bounds
    watch: Watch
    budgets: Budgets
    testing: Testing
    performance: Performance
    objectives: Objectives
