"""poolproof proves worker pools: real load, real faults, and a record that is judged afterwards.

The names here are imported when they are first used: workers import `poolproof.probe`, and must stay light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolproof.config import load_config
    from poolproof.experiment import Experiment, Proof, Run, judge_folder, prove
    from poolproof.isolation import isolated, setup_pool_testing
    from poolproof.load import Mix, Shape, fault, hold, pause, ramp, replay, steps, users
    from poolproof.performance import (
        PerformanceBenchmark,
        analyze_performance_results,
        benchmark_pool_operations,
        collect_performance_metrics,
        find_capacity,
        performance_regression_detector,
    )
    from poolproof.plan import (
        Abort,
        Claim,
        Claims,
        Kind,
        Objective,
        Operation,
        Workload,
        completed,
        error_rate,
        longest,
        memory,
        own_lag,
        p50,
        p90,
        p95,
        p99,
        p999,
        recovery,
        throughput,
    )
    from poolproof.pools import Pool
    from poolproof.rig import (
        Rig,
        drain,
        exhaust,
        fill,
        grow_pool,
        inject_worker_failure,
        monitor_pool_performance,
        move_pool,
        observe_scaling,
        run_concurrent_operations,
        setup_isolated_pool,
        shrink_pool,
        synchronize_pool_operations,
        verify_session_affinity,
        wait_for_pool_condition,
        wait_for_pool_idle,
        wait_for_pool_ready,
        wait_for_process_restart,
        wait_for_session_affinity,
        wait_for_workers_initialized,
        warm_pool_workers,
    )
    from poolproof.waiting import Event, EventStream, wait_for, wait_for_async

_HOMES = {
    "poolproof.config": ("load_config",),
    "poolproof.experiment": ("Experiment", "Proof", "Run", "judge_folder", "prove"),
    "poolproof.isolation": ("isolated", "setup_pool_testing"),
    "poolproof.load": ("Mix", "Shape", "fault", "hold", "pause", "ramp", "replay", "steps", "users"),
    "poolproof.performance": (
        *("PerformanceBenchmark", "analyze_performance_results", "benchmark_pool_operations"),
        *("collect_performance_metrics", "find_capacity", "performance_regression_detector"),
    ),
    "poolproof.plan": (
        *("Abort", "Claim", "Claims", "Kind", "Objective", "Operation", "Workload"),
        *("completed", "error_rate", "longest", "memory", "own_lag", "p50", "p90", "p95", "p99", "p999"),
        *("recovery", "throughput"),
    ),
    "poolproof.pools": ("Pool",),
    "poolproof.rig": (
        *("Rig", "drain", "exhaust", "fill", "grow_pool", "inject_worker_failure", "monitor_pool_performance"),
        *("move_pool", "observe_scaling", "run_concurrent_operations", "setup_isolated_pool", "shrink_pool"),
        *("synchronize_pool_operations", "verify_session_affinity", "wait_for_pool_condition", "wait_for_pool_idle"),
        *("wait_for_pool_ready", "wait_for_process_restart", "wait_for_session_affinity"),
        *("wait_for_workers_initialized", "warm_pool_workers"),
    ),
    "poolproof.waiting": ("Event", "EventStream", "wait_for", "wait_for_async"),
}

__all__ = [
    "Abort",
    "Claim",
    "Claims",
    "Event",
    "EventStream",
    "Experiment",
    "Kind",
    "Mix",
    "Objective",
    "Operation",
    "PerformanceBenchmark",
    "Pool",
    "Proof",
    "Rig",
    "Run",
    "Shape",
    "Workload",
    "analyze_performance_results",
    "benchmark_pool_operations",
    "collect_performance_metrics",
    "completed",
    "drain",
    "error_rate",
    "exhaust",
    "fault",
    "fill",
    "find_capacity",
    "grow_pool",
    "hold",
    "inject_worker_failure",
    "isolated",
    "judge_folder",
    "load_config",
    "longest",
    "memory",
    "monitor_pool_performance",
    "move_pool",
    "observe_scaling",
    "own_lag",
    "p50",
    "p90",
    "p95",
    "p99",
    "p999",
    "pause",
    "performance_regression_detector",
    "prove",
    "ramp",
    "recovery",
    "replay",
    "run_concurrent_operations",
    "setup_isolated_pool",
    "setup_pool_testing",
    "shrink_pool",
    "steps",
    "synchronize_pool_operations",
    "throughput",
    "users",
    "verify_session_affinity",
    "wait_for",
    "wait_for_async",
    "wait_for_pool_condition",
    "wait_for_pool_idle",
    "wait_for_pool_ready",
    "wait_for_process_restart",
    "wait_for_session_affinity",
    "wait_for_workers_initialized",
    "warm_pool_workers",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'poolproof' has no attribute {name!r}")
