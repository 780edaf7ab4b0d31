"""What the workers of each layer take, and that it is given back."""

import pytest

from poolproof import processes
from poolproof.errors import IsolationError
from poolproof.isolation import PoolTesting
from poolproof.rig import Rig, monitor_pool_performance, run_concurrent_operations, setup_isolated_pool

pytestmark = [pytest.mark.layer(1, 2, 3), pytest.mark.isolation("pool_testing", workers=2, sample_s=0)]


# A simulated worker has no memory.
@pytest.mark.layer(2, 3)
def test_the_memory_of_each_worker_is_sampled_and_bounded(pool: Rig, pool_testing: PoolTesting) -> None:
    with monitor_pool_performance(pool, 0.02) as monitor:
        run_concurrent_operations(pool, 8, sessions=2)

    bound = pool_testing.config.config.testing.memory_mb * 1e6
    assert all(set(it.usage) == set(pool.workers()) for it in monitor.samples)
    assert all(0 < used.uss_bytes <= used.pss_bytes <= bound for it in monitor.samples for used in it.usage.values())


@pytest.mark.layer(1)
def test_a_simulated_worker_uses_nothing_and_says_so(pool: Rig) -> None:
    with monitor_pool_performance(pool, 0.02) as monitor:
        run_concurrent_operations(pool, 8, sessions=2)

    assert all(pool.usage(worker) is None for worker in pool.workers())
    assert monitor.peak_pss_bytes is None


# A simulated pool has no process to be seen.
@pytest.mark.layer(2, 3)
@pytest.mark.isolation("pool_testing", opens=False)
def test_processes_and_descriptors_are_seen_while_a_pool_is_open_and_gone_once_it_is_closed(
    pool_testing: PoolTesting, layer: int
) -> None:
    with setup_isolated_pool(layer=layer, workers=2, workload="scripted") as pool:
        pool.submit("predict").result()
        workers = pool.workers()
        with pytest.raises(IsolationError) as seen:
            pool_testing.detection.check()

    assert any(str(workers[0].pid) in problem for problem in seen.value.problems)
    pool_testing.detection.check()
    assert all(processes.look_up(it.pid) is None for it in workers)


@pytest.mark.layer(1)
@pytest.mark.isolation("pool_testing", opens=False)
def test_a_simulated_pool_takes_no_process_and_no_descriptor_even_while_it_is_open(pool_testing: PoolTesting) -> None:
    with setup_isolated_pool(layer=1, workers=2) as pool:
        pool.submit("predict").result()

        pool_testing.detection.check()
