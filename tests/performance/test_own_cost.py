"""What the kit itself costs: each figure is measured here, printed, and judged by the budgets in `config/`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from poolproof import probe
from poolproof.config import Effective
from poolproof.experiment import prove
from poolproof.plan import Kind, Workload
from poolproof.statistics import percentile

Say = Callable[[str], None]

ROUNDS, CALLS = 20, 1_000

bare = Workload(kinds={"answer": Kind(call=lambda payload, state: payload, payload=lambda rng: 0)})


def nanoseconds_each(call: Callable[[], Any]) -> list[int]:
    """How long each of many calls took."""
    times = []
    for _ in range(CALLS):
        begin = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - begin)
    return times


def test_the_probe_with_its_records_costs_less_than_its_budget(
    tmp_path: Path, layer_config: Effective, say: Say
) -> None:
    workload = f"{__name__}:bare"
    probe._workloads[workload] = bare  # no import by name: pytest's module name is not the worker's business
    probed = probe.Call(str(tmp_path), workload, 1, "answer", 7)
    call, state = bare.kinds["answer"].call, dict[str, Any]()
    probed()

    # Alternately, so that both meet the same machine.
    without, within = [], []
    for _ in range(ROUNDS):
        without += nanoseconds_each(lambda: call(7, state))
        within += nanoseconds_each(probed)
    medians = [percentile(np.array(times), 0.5) for times in (within, without)]
    assert medians[0] is not None
    assert medians[1] is not None
    cost_us = (medians[0] - medians[1]) / 1e3

    say(f"the probe costs {cost_us:.2f} us an operation at p50, of {ROUNDS * CALLS} calls")
    assert cost_us < layer_config.config.budgets.probe_p50_us


def test_the_generator_holds_its_rate_against_a_null_pool(layer_config: Effective, say: Say) -> None:
    config, budgets = layer_config.config, layer_config.config.budgets
    load = msgspec.structs.replace(
        config.load,
        rate_per_worker_per_s=budgets.generator_rate_per_s / config.pool.workers,
        seconds=4.0,
        arrivals="constant",
    )
    effective = Effective(config=msgspec.structs.replace(config, load=load), origins=layer_config.origins)

    proof = prove("tests.pools.null:make", effective, layer=2, seed=1, scenarios=("steady",))

    figures = proof.scenarios[0].load
    lag_ms = figures.lag_ms["p99"]
    say(
        f"the generator offered {figures.offered / load.seconds:.0f} operations a second, own lag p99 {lag_ms} ms, "
        f"response p99 {figures.response_ms['p99']} ms"
    )
    assert figures.completed == figures.offered == budgets.generator_rate_per_s * load.seconds
    assert lag_ms is not None
    assert lag_ms < budgets.generator_lag_p99_ms
