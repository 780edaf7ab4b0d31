"""What a rig does to real processes: whom it may harm, what is undone by whom, and who counts as living."""

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import cache
from pathlib import Path

import msgspec
import pytest

from poolproof import probe, processes
from poolproof.config import Effective, load_config
from poolproof.errors import BlastRadiusError
from poolproof.plan import Limits
from poolproof.pools.executor import ExecutorPool
from poolproof.rig import (
    Rig,
    inject_worker_failure,
    setup_isolated_pool,
    synchronize_pool_operations,
    wait_for_workers_initialized,
)
from poolproof.rig.real import RealStand
from poolproof.waiting import wait_for

pytestmark = pytest.mark.layer(2)


@cache
def config() -> Effective:
    return load_config(2)


class Kept:
    """A ledger that writes down what it is told."""

    def __init__(self) -> None:
        self.open: list[int] = []
        self.recorded = 0

    def record(self, handle: processes.Handle) -> bool:
        self.recorded += 1
        self.open.append(handle.process.pid)
        return True

    def healed(self, handle: processes.Handle) -> None:
        self.open.remove(handle.process.pid)


@pytest.fixture
def ledger() -> Kept:
    return Kept()


@pytest.fixture
def pool(ledger: Kept) -> Iterator[Rig]:
    with setup_isolated_pool(layer=2, workers=3, config=config(), ledger=ledger) as it:
        wait_for_workers_initialized(it)
        yield it


def test_no_more_is_harmed_than_the_limits_allow(pool: Rig) -> None:
    before = set(pool.workers())
    with (
        synchronize_pool_operations(pool),
        pytest.raises(BlastRadiusError, match=r"3 of 3 workers are more than limits\.max_share = 0\.8"),
    ):
        inject_worker_failure(pool, count=3, patience_s=0.1)
    assert set(pool.workers()) == before


def test_whoever_is_stopped_is_in_the_ledger_for_as_long_as_that_lasts(pool: Rig, ledger: Kept) -> None:
    with synchronize_pool_operations(pool):
        stalled = inject_worker_failure(pool, "stall", for_s=30)
        during = list(ledger.open)
        stalled.heal()
    assert (during, ledger.open) == ([stalled.victims[0].pid], [])


def test_the_dead_are_taken_out_of_the_ledger(pool: Rig, ledger: Kept) -> None:
    with synchronize_pool_operations(pool):
        inject_worker_failure(pool)
    assert (ledger.recorded > 0, ledger.open) == (True, [])


def test_a_stall_ends_by_itself_when_its_time_is_up(pool: Rig) -> None:
    with synchronize_pool_operations(pool):
        stalled = inject_worker_failure(pool, "stall", for_s=0.2)
        wait_for(lambda: stalled.is_over, timeout=10)
    assert (stalled.effective, stalled.why) == (True, "it was found stopped to the end and wrote no record")


def test_a_stall_ends_at_the_latest_with_its_pool(ledger: Kept) -> None:
    with setup_isolated_pool(layer=2, workers=3, config=config(), ledger=ledger) as pool:
        wait_for_workers_initialized(pool)
        sent = pool.submit("obey", ("wait", 0.5, 1))
        stalled = inject_worker_failure(pool, "stall", for_s=600)
        lasting = stalled.is_over
    assert ([lasting, stalled.is_over, ledger.open], sent.done()) == ([False, True, []], True)


def test_what_has_returned_is_counted(pool: Rig) -> None:
    for number in range(50):
        pool.submit("obey", ("answer", number)).result()
        assert pool.state().completed == number + 4  # three that lined up came before
        assert not pool.pending


def nothing() -> Executor:
    return ProcessPoolExecutor(1)  # which starts no process before it is given work


def test_a_zombie_is_not_among_the_living(tmp_path: Path, ledger: Kept) -> None:
    limits = msgspec.convert(msgspec.to_builtins(config().config.limits), Limits)
    stand = RealStand(lambda: ExecutorPool(nothing()), tmp_path, ledger, limits)
    pid = os.fork()
    if pid == 0:
        probe.Call(str(tmp_path / "executions"), "", 1, probe.RENDEZVOUS, ("\0poolproof-nobody", 0.1))()
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    seen = [it.pid for it in stand.living()]
    recorded = stand.executions().pid.tolist()
    os.waitpid(pid, 0)
    stand.close()
    stand.forget()
    assert (recorded, seen) == ([pid], [])
