"""What isolation costs a test, and how soon a wait returns; judged by the budgets in `config/`."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from poolproof.config import Effective
from poolproof.isolation import Scene, isolated, setup_pool_testing
from poolproof.rig import setup_isolated_pool
from poolproof.statistics import percentile
from poolproof.waiting import Event, EventStream, wait_for

Say = Callable[[str], None]

WAKES, TIMES = 2_000, {1: 400, 2: 60, 3: 5}


def quantile(samples: list[float], which: float) -> float:
    found = percentile(np.array(samples), which)
    assert found is not None
    return found


@pytest.mark.layer(2)
def test_a_wait_returns_within_its_budget_of_the_event(layer_config: Effective, say: Say) -> None:
    stream, waits, took_ms = EventStream(), threading.Semaphore(0), list[float]()
    published: list[int] = []
    event = Event(at_ns=0, source="a pool", subject="worker", what="ready")

    def publish() -> None:
        for _ in range(WAKES):
            waits.acquire()
            published.append(time.monotonic_ns())
            stream.publish(event)

    publisher = threading.Thread(target=publish)
    publisher.start()
    for number in range(WAKES):
        # The publisher is let go by the first look: what comes before the wait has begun is in the figure as well.
        looks = iter([waits.release])

        def came(number: int = number, looks: object = looks) -> bool:
            for release in looks:  # type: ignore[attr-defined] # an iterator, made above
                release()
            return len(published) > number

        wait_for(came, timeout=30, on=stream)
        took_ms.append((time.monotonic_ns() - published[number]) / 1e6)
    publisher.join()

    p50, p99 = quantile(took_ms, 0.5), quantile(took_ms, 0.99)
    say(f"a wait returns {p50:.3f} ms after the event at p50, {p99:.3f} ms at p99, of {WAKES}")
    assert p99 < layer_config.config.budgets.wake_p99_ms


def scene(layer_config: Effective, number: int) -> Scene:
    return Scene(test="a benchmark", seed=number, worker="main", config=lambda layer: layer_config)


def test_a_pool_of_a_tests_own_is_set_up_and_taken_down_within_its_budget(
    layer: int, layer_config: Effective, say: Say
) -> None:
    bare, tested = list[float](), list[float]()
    for number in range(TIMES[layer] + 1):
        begin = time.perf_counter()
        with setup_isolated_pool(layer=layer, workers=2, config=layer_config):
            pass
        middle = time.perf_counter()
        with setup_pool_testing(scene=scene(layer_config, number), layer=layer, workers=2):
            pass
        if number:  # the first imports what all use
            bare.append((middle - begin) * 1e3)
            tested.append((time.perf_counter() - middle) * 1e3)
    budgets = layer_config.config.budgets
    say(
        f"an isolated pool of two workers on layer {layer}: {np.median(bare):.2f} ms, "
        f"in pool_testing {np.median(tested):.2f} ms, p50 of {TIMES[layer]}"
    )
    assert np.median(bare) < budgets.isolated_pool_ms
    assert np.median(tested) < budgets.tested_pool_ms


@pytest.mark.layer(2)
def test_what_looks_for_contamination_costs_a_clean_test_little(layer_config: Effective, say: Say) -> None:
    took_ms = []
    for number in range(TIMES[1]):
        begin = time.perf_counter()
        with isolated("contamination_detection", scene=scene(layer_config, number)):
            pass
        took_ms.append((time.perf_counter() - begin) * 1e3)

    say(f"contamination_detection around a clean test: {np.median(took_ms):.2f} ms, p50 of {len(took_ms)}")
    assert np.median(took_ms) < 2.0
