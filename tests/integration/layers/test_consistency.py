"""What a pool does, on every layer: right results, its capacity, deadlines, refusals, order, and an end of all."""

from concurrent.futures import CancelledError

import numpy as np
import pytest

from poolproof.rig import (
    Rig,
    exhaust,
    fill,
    run_concurrent_operations,
    synchronize_pool_operations,
    wait_for_pool_idle,
    wait_for_workers_initialized,
)
from sessionpool.errors import DeadlineExceeded
from tests.integration.layers import means

pytestmark = [pytest.mark.layer(1, 2, 3), pytest.mark.isolation("pool_testing", workers=2)]

# Of the pool alone, which is the same on layers 2 and 3: a pool of the latter costs more than a second.
OF_THE_POOL = pytest.mark.layer(1, 2)


def test_predicts_and_batches_return_their_own_results(pool: Rig) -> None:
    run = run_concurrent_operations(pool, 20)

    assert (run.ends, {it.kind for it in run.operations}) == ({"ok": 20}, {"predict", "batch"})


@OF_THE_POOL
def test_a_pool_is_idle_once_all_that_was_sent_has_ended(pool: Rig) -> None:
    for _ in range(6):
        pool.submit("predict")

    state = wait_for_pool_idle(pool)

    assert (state.pending, state.running, state.completed, state.failed) == (0, 0, 6, 0)


def test_each_worker_is_at_one_operation_at_a_time_and_the_others_wait(pool: Rig) -> None:
    with fill(pool, waiting=3) as full:
        state = pool.state()

        assert len(set(full.held.workers)) == pool.size == 2
        assert (state.running, state.queued) == (2, 3)


@OF_THE_POOL
def test_what_waits_is_served_once_workers_are_free(pool: Rig) -> None:
    with fill(pool, waiting=3) as full:
        assert not any(it.done() for it in full.waiting)
    wait_for_pool_idle(pool)

    assert [it.end for it in full.waiting] == ["ok"] * 3


@OF_THE_POOL
def test_what_waits_beyond_its_deadline_never_begins(pool: Rig) -> None:
    with fill(pool):
        late = pool.submit("predict", deadline_s=0.02)
        assert type(late.exception()) is DeadlineExceeded
    wait_for_pool_idle(pool)

    assert late.op not in pool.executions().op


@OF_THE_POOL
def test_a_deadline_ends_what_runs_and_the_pool_has_all_its_workers_again(pool: Rig) -> None:
    late = means.submit_lasting(pool)

    assert type(late.exception()) is DeadlineExceeded
    assert len(set(wait_for_workers_initialized(pool))) == pool.size


def test_what_waits_can_be_cancelled_and_never_begins(pool: Rig) -> None:
    with fill(pool, waiting=2) as full:
        assert full.waiting[0].cancel()
    wait_for_pool_idle(pool)

    assert [it.end for it in full.waiting] == ["cancelled", "ok"]
    assert full.waiting[0].op not in pool.executions().op


@OF_THE_POOL
def test_who_awaits_what_was_cancelled_is_told(pool: Rig) -> None:
    with fill(pool, waiting=1) as full:
        full.waiting[0].cancel()

        with pytest.raises(CancelledError):
            full.waiting[0].result()


@OF_THE_POOL
def test_what_runs_cannot_be_cancelled(pool: Rig) -> None:
    with synchronize_pool_operations(pool) as held:
        assert not any(it.cancel() for it in held.operations)


@OF_THE_POOL
@pytest.mark.isolation("pool_testing", preset="saturating")
def test_a_pool_that_refuses_more_serves_all_that_it_took(pool: Rig) -> None:
    with exhaust(pool) as exhausted:
        assert len(exhausted.accepted) == 4
    wait_for_pool_idle(pool)

    assert [it.end for it in exhausted.accepted] == ["ok"] * 4


def test_operations_of_a_session_begin_in_the_order_of_their_submit(pool: Rig) -> None:
    sent = [pool.submit("predict", session=f"s{number % 2}") for number in range(12)]
    wait_for_pool_idle(pool)

    found = pool.executions()
    for session in ("s0", "s1"):
        mine = found.session == pool.token(session)
        begun = found.op[mine][np.argsort(found.started[mine], kind="stable")]
        assert begun.tolist() == [it.op for it in sent if it.session == session]


@pytest.mark.parametrize(
    ("cancel", "ends"),
    [pytest.param(False, {"ok"}, marks=OF_THE_POOL, id="wait"), pytest.param(True, {"ok", "cancelled"}, id="cancel")],
)
def test_a_close_with_work_in_flight_resolves_all_of_it(pool: Rig, cancel: bool, ends: set[str]) -> None:
    sent = [pool.submit("predict") for _ in range(8)]

    pool.close(cancel=cancel)

    assert {it.end for it in sent} == ends
    assert pool.pending == 0
