"""A rig: one pool set up for a test, with what is sent to it, what its workers record, and what it publishes."""

from poolproof.rig.affinity import AffinityReport, Stay, verify_session_affinity
from poolproof.rig.concurrency import ConcurrentRun, WarmUp, run_concurrent_operations, warm_pool_workers
from poolproof.rig.failure import Failure
from poolproof.rig.injecting import inject_worker_failure
from poolproof.rig.monitoring import Monitor, Sample, monitor_pool_performance
from poolproof.rig.moving import move_pool
from poolproof.rig.pending import Pending
from poolproof.rig.presets import PRESETS, Preset
from poolproof.rig.pressure import (
    Exhausted,
    Full,
    Scaling,
    drain,
    exhaust,
    fill,
    grow_pool,
    observe_scaling,
    shrink_pool,
)
from poolproof.rig.rig import Rig
from poolproof.rig.setup import LayerFallbackWarning, hear_of_rigs, setup_isolated_pool
from poolproof.rig.values import Binding, Incarnation, PoolState, Usage
from poolproof.rig.waits import (
    Held,
    synchronize_pool_operations,
    wait_for_pool_condition,
    wait_for_pool_idle,
    wait_for_pool_ready,
    wait_for_process_restart,
    wait_for_session_affinity,
    wait_for_workers_initialized,
)

__all__ = [
    "PRESETS",
    "AffinityReport",
    "Binding",
    "ConcurrentRun",
    "Exhausted",
    "Failure",
    "Full",
    "Held",
    "Incarnation",
    "LayerFallbackWarning",
    "Monitor",
    "Pending",
    "PoolState",
    "Preset",
    "Rig",
    "Sample",
    "Scaling",
    "Stay",
    "Usage",
    "WarmUp",
    "drain",
    "exhaust",
    "fill",
    "grow_pool",
    "hear_of_rigs",
    "inject_worker_failure",
    "monitor_pool_performance",
    "move_pool",
    "observe_scaling",
    "run_concurrent_operations",
    "setup_isolated_pool",
    "shrink_pool",
    "synchronize_pool_operations",
    "verify_session_affinity",
    "wait_for_pool_condition",
    "wait_for_pool_idle",
    "wait_for_pool_ready",
    "wait_for_process_restart",
    "wait_for_session_affinity",
    "wait_for_workers_initialized",
    "warm_pool_workers",
]
