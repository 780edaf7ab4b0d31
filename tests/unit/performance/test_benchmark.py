"""Benchmarks as values, their measurement in virtual time, and what is made of their figures."""

from collections.abc import Callable
from typing import Any

import pytest

from poolproof.config import load_config
from poolproof.errors import UsageError
from poolproof.experiment import Experiment
from poolproof.load import Mix, fault, hold
from poolproof.performance.benchmark import (
    Measurement,
    PerformanceBenchmark,
    analyze_performance_results,
    benchmark_pool_operations,
)
from poolproof.performance.results import Figure
from poolproof.plan import error_rate, p50, p99, throughput

EXPERIMENT = Experiment(effective=load_config(1), layer=1, seed=7)


def measured(**terms: Any) -> Measurement:
    benchmark = PerformanceBenchmark(**{"name": "it", "rate": 100.0, "duration": "2s", "workers": 4, **terms})
    return benchmark_pool_operations(benchmark, EXPERIMENT)


# --- what makes sense ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"duration": 1}, "no load: give it users, or a rate, or a shape"),
        ({"users": 1, "rate": 2.0, "duration": 1}, "users and rate"),
        ({"users": 1}, "a duration or a number of operations"),
        ({"rate": 5.0, "duration": 1, "operations": 5}, "a duration or a number of operations"),
        ({"shape": hold(1, 1), "duration": 1}, "nothing beside its shape"),
        ({"rate": 5.0, "operations": -1}, "operations = -1"),
        ({"rate": 5.0, "duration": "soon"}, "'soon' is no duration"),
    ],
)
def test_a_benchmark_without_one_load_and_one_end_is_refused(terms: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match="the benchmark 'it'") as caught:
        PerformanceBenchmark(name="it", **terms)
    assert words in str(caught.value)


def test_a_number_of_operations_at_a_rate_lasts_as_long_as_they_take() -> None:
    assert PerformanceBenchmark(name="it", rate=50.0, operations=100).load.seconds == 2.0


# --- measuring ----------------------------------------------------------------------------------------------------


def test_the_warm_up_is_drained_and_not_measured() -> None:
    history = measured(warm_up=30).run.history
    warm = history.operations.phase == 0
    # One more shows that the pool is ready.
    assert warm.sum() == 31
    assert history.operations.done[warm].max() < history.origin


def test_users_send_so_many_operations_and_no_more() -> None:
    found = measured(rate=0.0, duration=0.0, users=3, operations=40)
    assert (found.run.load.offered, found.run.load.completed) == (40, 40)
    # Three at a time: most take 10 ms, so 40 of them take a fraction of a second, which the throughput goes by.
    assert found.metrics.throughput_per_s is not None
    assert found.metrics.throughput_per_s > 100


def test_never_more_operations_are_under_way_than_there_are_users() -> None:
    assert measured(rate=0.0, users=3, workers=2).metrics.backlog_max == 3


def test_thresholds_are_judged_each_with_its_margin() -> None:
    found = measured(thresholds=(p50() < "20ms", p99() < "1ms", throughput() > 50))
    assert [it.verdict for it in found.analysis.judged] == ["kept", "broken", "kept"]
    assert found.analysis.verdict == "broken"
    assert found.analysis.judged[0].margin == pytest.approx(0.5, abs=0.1)
    assert found.analysis.describe().splitlines()[0] == "broken"


def test_a_benchmark_without_thresholds_has_no_verdict_to_give() -> None:
    assert analyze_performance_results(measured()).verdict == "unknown"


def test_other_objectives_can_be_asked_afterwards() -> None:
    found = measured(thresholds=(p99() < "1ms",))
    assert analyze_performance_results(found, [p99() < "1s"]).verdict == "kept"
    assert analyze_performance_results(found.run, [p99() < "1ms"]).verdict == "broken"


def test_metrics_of_ones_own_are_computed_from_the_run() -> None:
    def unresolved(run: Any) -> Figure:
        return Figure(name="unresolved", value=float(run.load.unresolved), unit="", better="lower")

    assert [(it.name, it.value) for it in measured(metrics={"u": unresolved}).figures] == [("unresolved", 0.0)]


def test_a_whole_shape_with_its_faults_can_be_measured() -> None:
    shape = hold(100, "1s") >> fault("kill") >> hold(100, "1s")
    found = measured(
        rate=0.0, duration=0.0, shape=shape, mix=Mix(weights={"predict": 1.0}), thresholds=(error_rate() < 0.5,)
    )
    assert [it.kind for it in found.run.history.faults] == ["kill"]
    assert found.analysis.verdict == "kept"


# --- metrics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("success", lambda value: value == 1.0),
        # 100 a second at 10 ms, one of ten at 50 ms, on 4 workers: 100 × 0.014 / 4.
        ("utilisation", lambda value: value == pytest.approx(0.35, abs=0.08)),
        # Little's law: what is under way is the rate times the response time.
        ("backlog_mean", lambda value: value == pytest.approx(1.4, abs=0.7)),
        ("worker_cpu", lambda value: value is None),
        ("worker_pss_mb", lambda value: value is None),
        ("host_cpu", lambda value: value is None),
    ],
)
def test_metrics_are_what_arithmetic_says(name: str, check: Callable[[Any], bool]) -> None:
    assert check(getattr(measured(duration="10s").metrics, name))


def test_what_layer_1_can_not_tell_is_said() -> None:
    assert measured().metrics.unknown == {"processes": "layer 1 simulates no process: what they use is not told"}


def test_without_an_operation_there_is_nothing_to_tell() -> None:
    found = measured(rate=0.0, duration=0.0, shape=hold(0, "1s")).metrics
    assert (found.success, found.throughput_per_s, found.unknown["load"]) == (None, None, "no operation was offered")
