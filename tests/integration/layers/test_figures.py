"""The figures of the same load on every layer, side by side, and the budgets that key tests judge them by."""

from collections.abc import Callable

import numpy as np
import pytest

from poolproof.config import Effective
from poolproof.isolation import PoolTesting
from poolproof.rig import ConcurrentRun, Monitor, Rig, monitor_pool_performance, run_concurrent_operations
from poolproof.statistics import percentile
from sessionpool.errors import WorkerDied
from tests.integration.layers.conftest import Disturbance, Figures

MIXED = "40 operations, four at once"
POOL = {"workers": 2, "sample_s": 0}
_MB = 1e6


def loaded(
    pool: Rig, count: int, *, kind: str | None = None, meanwhile: Callable[[], object] | None = None
) -> tuple[ConcurrentRun, Monitor]:
    """Twice as many operations at once as there are workers, in sessions that all of them hold."""
    with monitor_pool_performance(pool, 0.02) as monitor:
        run = run_concurrent_operations(
            pool, count, kind=kind, sessions=2 * pool.size, at_once=2 * pool.size, meanwhile=meanwhile
        )
    return run, monitor


def figures(load: str, pool: Rig, run: ConcurrentRun, monitor: Monitor) -> Figures:
    """What came of it; what failed has no time of its own."""
    response_ms = np.array([(it.done_ns - it.sent_ns) / 1e6 for it in run.operations if it.end == "ok"])
    p50, p95 = percentile(response_ms, 0.50), percentile(response_ms, 0.95)
    assert p50 is not None
    assert p95 is not None
    peaks = [used.pss_bytes for sample in monitor.samples for used in sample.usage.values()]
    assert not monitor.failures
    return Figures(
        load=load,
        layer=pool.layer,
        operations=len(run.operations),
        p50_ms=p50,
        p95_ms=p95,
        throughput_per_s=monitor.throughput,
        utilisation=monitor.utilisation,
        memory_mb=max(peaks) / _MB if peaks else None,
    )


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(it, id=f"layer-{it}", marks=[pytest.mark.layer(it), pytest.mark.isolation("pool_testing", **POOL)])
        for it in (1, 2, 3)
    ],
)
def test_the_figures_of_a_small_load_are_told(pool: Rig, number: int, tell: Callable[[Figures], None]) -> None:
    run, monitor = loaded(pool, 40)
    tell(figures(MIXED, pool, run, monitor))

    assert (pool.layer, run.ends) == (number, {"ok": 40})


def keeps_its_budgets(found: Figures, p95_ms: float, config: Effective, disturb: Disturbance) -> None:
    """Judge figures by the budgets of their layer; whoever waits for the successor of a worker waits for longer."""
    budgets = config.config.testing
    assert found.p95_ms <= p95_ms + budgets.successor_ms * bool(disturb.failures)
    assert found.utilisation >= budgets.utilisation
    if found.memory_mb is not None:
        assert found.memory_mb <= budgets.memory_mb


@pytest.mark.key
@pytest.mark.layer(1, 2, 3)
@pytest.mark.isolation("pool_testing", **POOL)
def test_predicts_keep_their_budgets(
    pool: Rig, pool_testing: PoolTesting, disturb: Disturbance, tell: Callable[[Figures], None]
) -> None:
    run, monitor = loaded(pool, 120, kind="predict", meanwhile=lambda: disturb(pool))
    found = figures(f"predict{', a worker killed' * bool(disturb.failures)}", pool, run, monitor)
    tell(found)

    assert {it.op for it in run.operations if it.end != "ok"} <= disturb.held
    assert all(type(error) is WorkerDied for error in run.errors)
    budgets = pool_testing.config.config.testing
    assert found.throughput_per_s >= budgets.throughput_per_s
    keeps_its_budgets(found, budgets.predict_p95_ms, pool_testing.config, disturb)


@pytest.mark.key
@pytest.mark.layer(1, 2, 3)
@pytest.mark.isolation("pool_testing", **POOL)
def test_batches_keep_their_budgets(
    pool: Rig, pool_testing: PoolTesting, disturb: Disturbance, tell: Callable[[Figures], None]
) -> None:
    run, monitor = loaded(pool, 24, kind="batch", meanwhile=lambda: disturb(pool))
    found = figures(f"batch{', a worker killed' * bool(disturb.failures)}", pool, run, monitor)
    tell(found)

    assert {it.op for it in run.operations if it.end != "ok"} <= disturb.held
    assert all(type(error) is WorkerDied for error in run.errors)
    keeps_its_budgets(found, pool_testing.config.config.testing.batch_p95_ms, pool_testing.config, disturb)
