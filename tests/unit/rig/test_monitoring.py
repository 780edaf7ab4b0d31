from typing import Any

import pytest

from poolproof.errors import EvidenceError
from poolproof.rig import Incarnation, Monitor, PoolState, Usage

A, B = Incarnation(11, 1, 11), Incarnation(12, 1, 12)


def using(cpu_s: float, pss: int) -> Usage:
    return Usage(cpu_s=cpu_s, rss_bytes=2 * pss, pss_bytes=pss, uss_bytes=pss // 2, threads=1, files=5)


class Measured:
    """As much of a rig as a monitor needs: one look after the other, at two seconds' distance."""

    name = "p"

    def __init__(self, *looks: dict[Incarnation, Usage | None], running: int = 1) -> None:
        self._looks = iter(looks)
        self._now: dict[Incarnation, Usage | None] = {}
        self._at = 0
        self._running = running

    def state(self) -> PoolState:
        self._now = next(self._looks)
        self._at += 2 * 10**9
        return PoolState(
            at_ns=self._at,
            pending=3,
            running=self._running,
            queued=2,
            completed=self._at // 10**9,
            failed=0,
            workers=tuple(self._now),
            sessions=1,
            says="nothing",
        )

    def usage(self, worker: Incarnation) -> Usage | None:
        return self._now[worker]


def sampled(*looks: dict[Incarnation, Usage | None], **how: Any) -> Monitor:
    monitor = Monitor(Measured(*looks, **how))  # type: ignore[arg-type] # as much of a rig as it looks at
    for _ in looks:
        monitor.take()
    return monitor


def test_the_processor_time_of_each_worker_is_told_as_a_share_since_the_sample_before() -> None:
    monitor = sampled({A: using(1.0, 10), B: using(5.0, 10)}, {A: using(2.0, 10), B: using(5.5, 10)})
    assert [it.cpu for it in monitor.samples] == [{}, {A: 0.5, B: 0.25}]


def test_a_worker_that_was_not_there_before_has_no_share_yet() -> None:
    assert sampled({A: using(1.0, 10)}, {B: using(9.0, 10)}).samples[1].cpu == {}


def test_the_peak_is_the_most_that_all_workers_had_at_one_moment() -> None:
    monitor = sampled({A: using(0, 10), B: using(0, 40)}, {A: using(0, 45)}, {A: using(0, 1), B: using(0, 2)})
    assert monitor.peak_pss_bytes == 50


def test_a_worker_that_is_gone_when_it_is_measured_is_left_out() -> None:
    monitor = sampled({A: using(0, 10), B: None}, {A: None, B: None})
    assert ([list(it.usage) for it in monitor.samples], monitor.peak_pss_bytes) == ([[A], []], 10)


@pytest.mark.parametrize(("running", "share"), [(0, 0.0), (1, 0.5), (2, 1.0), (3, 1.0)])
def test_utilisation_is_the_share_of_workers_at_an_operation(running: int, share: float) -> None:
    look: dict[Incarnation, Usage | None] = {A: None, B: None}
    assert sampled(look, look, running=running).utilisation == share


def test_a_pool_without_workers_is_not_utilised() -> None:
    assert sampled({}, {}).utilisation == 0.0


def test_throughput_is_what_was_completed_between_the_first_sample_and_the_last() -> None:
    assert sampled({}, {}, {}).throughput == 1.0


def test_a_sample_that_could_not_be_taken_is_told() -> None:
    monitor = sampled({})
    monitor.take()
    assert monitor.failures == ["StopIteration: "]
    with pytest.raises(EvidenceError, match="or for longer; StopIteration"):
        _ = monitor.throughput
