import concurrent.futures
import math
import time
from typing import Any

import pytest

from poolproof.errors import TargetError
from poolproof.plan import FaultSpec, Operation
from poolproof.probe import Call
from poolproof.simulation import NeverError, RealTimeError, SimulatedFuture, SimulatedPool
from poolproof.workloads.commands import ScriptedError
from sessionpool.errors import DeadlineExceeded, PoolClosed, PoolSaturated, WorkerDied


def operation(op: int, *command: Any, **terms: Any) -> Operation:
    return Operation(op=op, kind="obey", call=Call("", "scripted", op, "obey", command), **terms)


def give(pool: SimulatedPool, *command: Any, op: int = 42, **terms: Any) -> SimulatedFuture:
    return pool.submit(operation(op, *command, **terms))


def test_a_result_is_that_of_the_command_with_the_operation_of_the_caller() -> None:
    assert give(SimulatedPool(), "wait", 0.1, 7).result() == (42, 7)


def test_time_stands_still_between_calls() -> None:
    pool = SimulatedPool()
    before = pool.now_s
    future = give(pool, "wait", 0.1, 7)
    assert (pool.now_s, future.done()) == (before, False)


def test_waiting_for_a_result_takes_as_long_as_it_takes() -> None:
    pool = SimulatedPool()
    pool.advance(0.1)
    before = pool.now_s
    give(pool, "wait", 0.1, 7).result()
    assert 0.1 <= pool.now_s - before < 0.11


def test_a_result_that_is_there_takes_no_time() -> None:
    pool = SimulatedPool()
    future = give(pool, "wait", 0.1, 7)
    future.result()
    before = pool.now_s
    assert (future.result(), pool.now_s) == ((42, 7), before)


@pytest.mark.parametrize(
    ("command", "terms", "error"),
    [
        (("fail", "sorry"), {}, ScriptedError),
        (("exit", 3), {}, WorkerDied),
        (("wait", 1.0, 7), {"deadline_ns": 1_000_500_000_000}, DeadlineExceeded),
    ],
)
def test_an_operation_that_fails_raises_that(
    command: tuple[Any, ...], terms: dict[str, Any], error: type[Exception]
) -> None:
    future = give(SimulatedPool(), *command, **terms)
    assert isinstance(future.exception(), error)
    with pytest.raises(error):
        future.result()


def test_what_succeeds_has_no_exception() -> None:
    assert give(SimulatedPool(), "answer", 7).exception() is None


def test_the_same_calls_give_the_same_run() -> None:
    def run(seed: int) -> float:
        pool = SimulatedPool(seed=seed)
        give(pool, "wait", 0.1, 7).result()
        return pool.now_s

    assert run(1) == run(1) != run(2)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [("frobnicate", 1), (), [1], "wait", 7])
def test_what_is_no_command_is_refused(payload: Any) -> None:
    given = Operation(op=1, kind="obey", call=Call("", "scripted", 1, "obey", payload))
    with pytest.raises(ValueError, match="is no scripted command"):
        SimulatedPool().submit(given)


@pytest.mark.parametrize("session", [-1, "ann", 1.5])
def test_a_session_that_is_no_whole_number_is_refused(session: Any) -> None:
    with pytest.raises(ValueError, match="is no whole number of 0 or more"):
        give(SimulatedPool(), "answer", 7, session=session)


@pytest.mark.parametrize("seconds", [-0.1, math.inf, math.nan])
def test_time_can_not_go_back_nor_on_for_ever(seconds: float) -> None:
    with pytest.raises(ValueError, match="expected a time of 0 or more, in seconds"):
        SimulatedPool().advance(seconds)


def test_a_pool_without_a_core_is_refused() -> None:
    with pytest.raises(TargetError, match="sans-I/O core"):
        SimulatedPool("loky")


def test_a_closed_pool_refuses_with_its_own_error() -> None:
    pool = SimulatedPool()
    pool.close()
    with pytest.raises(PoolClosed):
        give(pool, "answer", 7)


def test_a_full_pool_refuses_with_its_own_error() -> None:
    pool = SimulatedPool(workers=1, max_queue=1)
    give(pool, "wait", 1.0, 7)
    with pytest.raises(PoolSaturated):
        give(pool, "wait", 1.0, 7)


@pytest.mark.parametrize(
    "spec",
    [
        FaultSpec(kind="kill", target="parent", at_s=0.0),
        FaultSpec(kind="kill", at_s=0.0),
        FaultSpec(kind="stall", count=1, at_s=0.0),
        FaultSpec(kind="jump-clock", at_s=0.0, amount=1.0, count=1),
    ],
    ids=["parent", "nobody", "for no time", "clock of a worker"],
)
def test_a_fault_that_makes_no_sense_is_refused(spec: FaultSpec) -> None:
    with pytest.raises(ValueError, match=r"."):
        SimulatedPool().inject(spec)


# --- time-outs --------------------------------------------------------------------------------------------------------


def test_a_result_that_is_not_there_in_time_is_a_time_out_after_as_long() -> None:
    pool = SimulatedPool()
    before = pool.now_s
    with pytest.raises(TimeoutError):
        give(pool, "wait", 5.0, 7).result(1)
    assert pool.now_s - before == pytest.approx(1)


def test_no_time_passes_where_none_is_given() -> None:
    pool = SimulatedPool()
    before = pool.now_s
    with pytest.raises(TimeoutError):
        give(pool, "wait", 5.0, 7).result(0)
    assert pool.now_s == before


def test_what_timed_out_can_be_waited_for_again() -> None:
    future = give(SimulatedPool(), "wait", 5.0, 7)
    with pytest.raises(TimeoutError):
        future.result(1)
    assert future.result(10) == (42, 7)


@pytest.mark.parametrize("timeout", [None, math.inf])
def test_what_never_comes_is_told_so_after_an_hour(timeout: float | None) -> None:
    pool = SimulatedPool(workers=1)
    before = pool.now_s
    with pytest.raises(NeverError, match="give a time-out where it takes longer"):
        give(pool, "hang").result(timeout)
    assert pool.now_s - before == pytest.approx(3600)


# --- waits ------------------------------------------------------------------------------------------------------------


def test_waiting_for_some_ends_with_the_last_of_them() -> None:
    pool = SimulatedPool(workers=2)
    futures = [give(pool, "wait", seconds, 7) for seconds in (0.1, 0.3)]
    assert (pool.wait(futures), [future.done() for future in futures]) == (True, [True, True])


def test_waiting_for_some_ends_when_the_time_is_up() -> None:
    pool = SimulatedPool(workers=2)
    pool.advance(0.1)
    futures = [give(pool, "wait", seconds, 7) for seconds in (0.1, 0.3)]
    assert (pool.wait(futures, 0.2), [future.done() for future in futures]) == (False, [True, False])


def test_whatever_can_be_asked_can_be_waited_for() -> None:
    pool = SimulatedPool(workers=3)
    assert (pool.wait_for(lambda: pool.snapshot().ready == 3), pool.snapshot().ready) == (True, 3)


def test_what_does_not_hold_in_time_does_not() -> None:
    assert SimulatedPool().wait_for(lambda: False, 2.0) is False


def test_what_never_holds_is_told_so() -> None:
    with pytest.raises(NeverError):
        SimulatedPool(workers=1).wait_for(lambda: False)


def test_time_can_be_let_pass() -> None:
    pool = SimulatedPool()
    before = pool.now_s
    pool.advance(2.5)
    assert pool.now_s - before == pytest.approx(2.5)


def test_a_condition_that_reads_a_real_clock_is_an_error_and_the_clock_is_restored() -> None:
    with pytest.raises(RealTimeError):
        SimulatedPool().wait_for(lambda: time.time() > 0)
    assert time.time() > 0


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_what_waits_can_be_cancelled() -> None:
    pool = SimulatedPool(workers=1)
    future = give(pool, "wait", 0.1, 7)
    assert (future.cancel(), future.cancelled()) == (True, True)
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()


def test_what_a_worker_was_sent_can_not_be_cancelled() -> None:
    pool = SimulatedPool(workers=1)
    pool.advance(0.1)
    future = give(pool, "wait", 0.1, 7)
    assert (future.cancel(), future.result()) == (False, (42, 7))


def test_what_is_done_can_not_be_cancelled() -> None:
    future = give(SimulatedPool(), "answer", 7)
    future.result()
    assert future.cancel() is False


def test_what_was_cancelled_stays_so() -> None:
    pool = SimulatedPool(workers=1)
    future = give(pool, "answer", 7)
    assert [future.cancel(), future.cancel()] == [True, True]


def test_what_was_cancelled_is_not_run() -> None:
    pool = SimulatedPool(workers=1)
    future = give(pool, "answer", 7)
    future.cancel()
    pool.advance(1)
    assert pool.snapshot().queued == 0
    assert len(pool._client.record._began) == 0


# --- closing ----------------------------------------------------------------------------------------------------------


def test_a_close_lets_everything_end_first() -> None:
    pool = SimulatedPool(workers=1)
    futures = [give(pool, "wait", 0.1, 7) for _ in range(3)]
    pool.close()
    assert [future.result(0) for future in futures] == [(42, 7)] * 3


def test_a_close_that_cancels_cancels_what_waits() -> None:
    pool = SimulatedPool(workers=1)
    pool.advance(0.1)
    futures = [give(pool, "wait", 0.1, 7) for _ in range(3)]
    pool.close(cancel=True)
    assert [future.cancelled() for future in futures] == [False, True, True]


def test_a_pool_is_closed_at_the_end_of_its_block() -> None:
    with SimulatedPool() as pool:
        pass
    assert pool.snapshot().closed


def test_what_goes_wrong_in_its_block_is_told_and_not_what_a_close_would_wait_for() -> None:
    pool = SimulatedPool(workers=1)
    give(pool, "hang")
    with pytest.raises(ZeroDivisionError), pool:
        raise ZeroDivisionError
    assert not pool.snapshot().closed


def test_a_pool_can_be_closed_again() -> None:
    with SimulatedPool() as pool:
        pool.close()
    assert pool.snapshot().closed


def test_a_close_that_never_ends_is_told_so() -> None:
    pool = SimulatedPool(workers=1)
    give(pool, "hang")
    with pytest.raises(NeverError):
        pool.close()


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_fault_is_injected_so_long_from_now() -> None:
    pool = SimulatedPool(workers=1)
    pool.advance(0.1)
    future = give(pool, "wait", 1.0, 7)
    pool.inject(FaultSpec(kind="kill", count=1, at_s=0.5))
    pool.advance(0.49)
    before = future.done()
    pool.advance(0.02)
    assert (before, type(future.exception(0))) == (False, WorkerDied)


def test_what_was_reached_is_counted() -> None:
    pool = SimulatedPool(workers=1)
    future = give(pool, "wait", 1.0, 7)
    pool.inject(FaultSpec(kind="kill", count=1, at_s=0.0))
    future.exception()
    assert pool.marks.reached["operation lost with its worker"] == 1
