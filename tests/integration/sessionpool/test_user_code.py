"""What user code may do to its worker: whatever it is, the pool answers on, and the worker lives on where it can."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from poolproof import processes
from sessionpool import SessionPool, Timing, WorkerDied
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Open
from tests.integration.sessionpool.witnesses import (
    LONG_S,
    Diary,
    Ear,
    Meeting,
    bounded,
    failure,
    is_gone,
    kill,
    outcome,
    send,
)

# --- what it raises ---------------------------------------------------------------------------------------------

UNUSUAL: list[BaseException] = [
    SystemExit(3),
    KeyboardInterrupt("now"),
    GeneratorExit("over"),
    deeds.Odd("odd"),
    StopIteration(4),
    MemoryError("much"),
    RecursionError("deep"),
    TimeoutError("late"),
    BrokenPipeError(32, "broken"),
    EOFError("end"),
]


@pytest.mark.parametrize("given", UNUSUAL, ids=lambda given: type(given).__name__)
def test_whatever_is_raised_arrives_as_itself(given: BaseException, one_worker: SessionPool) -> None:
    error = failure(one_worker.submit(deeds.fail, given), type(given))

    assert error.args == given.args
    assert "in fail" in str(error.__cause__)


@pytest.mark.parametrize("given", UNUSUAL, ids=lambda given: type(given).__name__)
def test_the_worker_lives_on_whatever_was_raised_in_it(given: BaseException, one_worker: SessionPool) -> None:
    before = one_worker.submit(deeds.pid).result(LONG_S)

    failure(one_worker.submit(deeds.fail, given), type(given))

    assert one_worker.submit(deeds.pid).result(LONG_S) == before


def test_the_callable_that_takes_other_arguments_fails_with_the_type_error_of_the_call(pool: SessionPool) -> None:
    error = failure(pool.submit(deeds.add, 1, 2, 3), TypeError)

    assert "positional argument" in str(error)


def test_unbounded_recursion_is_an_error_of_the_operation_alone(one_worker: SessionPool) -> None:
    failure(one_worker.submit(deeds.recurse), RecursionError)

    assert one_worker.submit(deeds.echo, 1).result(LONG_S) == 1


# --- what it does to descriptors --------------------------------------------------------------------------------


@pytest.mark.parametrize("fd", [1, 2])
@pytest.mark.usefixtures("capfd")
def test_what_is_written_to_a_standard_stream_is_no_answer(fd: int, one_worker: SessionPool) -> None:
    assert one_worker.submit(deeds.write_to, fd, 1 << 18).result(LONG_S) == "written"
    assert one_worker.submit(deeds.echo, "after").result(LONG_S) == "after"


def test_standard_input_is_at_its_end_for_workers(pool: SessionPool) -> None:
    assert outcome(pool.submit(deeds.read_standard_input)) in ("", ValueError, OSError, AttributeError)


def test_the_pool_answers_on_where_an_operation_closed_every_descriptor(one_worker: SessionPool) -> None:
    assert outcome(one_worker.submit(deeds.close_everything)) in ("closed", WorkerDied)

    assert one_worker.submit(deeds.echo, "after").result(LONG_S) == "after"


def test_others_are_unaffected_by_an_operation_that_closes_every_descriptor(
    pool: SessionPool, meeting: Meeting
) -> None:
    other = pool.submit(deeds.meet, meeting.address)
    guest = meeting.guest()

    outcome(pool.submit(deeds.close_everything))

    guest.release("fine")
    assert other.result(LONG_S) == "fine"


def test_an_operation_that_becomes_another_program_costs_its_worker(one_worker: SessionPool) -> None:
    worker = one_worker.submit(deeds.pid).result(LONG_S)

    failure(one_worker.submit(deeds.become_another_program), WorkerDied)

    assert is_gone(worker)
    assert one_worker.submit(deeds.echo, "after").result(LONG_S) == "after"


# --- how it forks -----------------------------------------------------------------------------------------------


def test_an_operation_whose_fork_returns_as_well_is_answered_by_the_worker(one_worker: SessionPool) -> None:
    worker = one_worker.submit(deeds.pid).result(LONG_S)

    assert one_worker.submit(deeds.fork_and_return).result(LONG_S) == (worker, False)


def test_a_fork_that_returns_disturbs_no_later_answer(one_worker: SessionPool) -> None:
    worker = one_worker.submit(deeds.pid).result(LONG_S)

    for number in range(10):
        assert one_worker.submit(deeds.fork_and_return).result(LONG_S) == (worker, False)
        assert one_worker.submit(deeds.echo, number).result(LONG_S) == number


def test_a_fork_that_returns_does_not_stay(one_worker: SessionPool) -> None:
    worker = one_worker.submit(deeds.pid).result(LONG_S)

    one_worker.submit(deeds.fork_and_return).result(LONG_S)

    for child in processes.descendants(worker, processes.everyone()).values():
        assert child.state in "ZX" or is_gone(child.pid, 5.0)


def test_a_fork_that_raises_disturbs_no_answer(one_worker: SessionPool) -> None:
    worker = one_worker.submit(deeds.pid).result(LONG_S)

    assert one_worker.submit(deeds.fork_and_raise).result(LONG_S) == worker
    assert one_worker.submit(deeds.pid).result(LONG_S) == worker


def test_the_death_of_a_worker_is_noticed_while_a_child_of_it_holds_its_descriptors(
    one_worker: SessionPool, meeting: Meeting
) -> None:
    future = one_worker.submit(deeds.fork_and_stay, meeting.address)
    child, worker = meeting.guests(2)
    behind = one_worker.submit(deeds.echo, "behind")

    kill(worker.pid)

    assert failure(future, WorkerDied).pid == worker.pid
    assert behind.result(LONG_S) == "behind"
    assert child.is_there() or is_gone(child.pid)


def test_a_shutdown_ends_while_a_child_of_a_worker_holds_its_descriptors(
    one_worker: SessionPool, meeting: Meeting
) -> None:
    future = one_worker.submit(deeds.fork_and_stay, meeting.address)
    _, worker = meeting.guests(2)
    worker.release()
    future.result(LONG_S)

    bounded(one_worker.shutdown)

    assert is_gone(worker.pid, 0)


def test_user_code_may_use_multiprocessing(pool: SessionPool) -> None:
    assert pool.submit(deeds.run_a_process_of_ones_own, 5).result(LONG_S) == 5


# --- how it keeps its worker ------------------------------------------------------------------------------------


def test_an_operation_that_keeps_the_gil_for_longer_than_a_stall_is_not_taken_for_one(open_pool: Open) -> None:
    pool = open_pool(max_workers=1, timing=Timing(stall_s=0.2))

    assert pool.submit(deeds.keep_the_gil, 1.0).result(LONG_S) == "done"


def test_an_operation_that_takes_longer_than_a_stall_is_not_taken_for_one(open_pool: Open, meeting: Meeting) -> None:
    pool = open_pool(max_workers=1, timing=Timing(stall_s=0.1))
    future = pool.submit(deeds.meet, meeting.address)
    guest = meeting.guest()

    assert meeting.is_empty_for(0.5)

    guest.release("done")
    assert future.result(LONG_S) == "done"


def test_a_thread_that_an_operation_left_behind_does_not_keep_the_worker_from_answering(
    one_worker: SessionPool, meeting: Meeting
) -> None:
    worker = one_worker.submit(deeds.leave_a_thread, meeting.address).result(LONG_S)
    meeting.guest()

    assert one_worker.submit(deeds.pid).result(LONG_S) == worker


def test_a_thread_that_an_operation_left_behind_keeps_a_shutdown_waiting_no_longer_than_stop_s(
    open_pool: Open, meeting: Meeting
) -> None:
    pool = open_pool(max_workers=1, timing=Timing(stop_s=0.3))
    worker = pool.submit(deeds.leave_a_thread, meeting.address).result(LONG_S)
    meeting.guest()
    began = time.monotonic()

    bounded(pool.shutdown)

    assert time.monotonic() - began < 3.0
    assert is_gone(worker, 0)


def test_a_worker_that_ignores_signals_leaves_when_it_is_asked_to(open_pool: Open) -> None:
    pool = open_pool(max_workers=1, timing=Timing(stop_s=0.5))
    worker = pool.submit(deeds.ignore_requests_to_leave).result(LONG_S)

    bounded(pool.shutdown)

    assert is_gone(worker, 0)


def test_a_signal_handler_that_raises_between_operations_does_not_end_the_pool(
    one_worker: SessionPool, ear: Ear
) -> None:
    one_worker.submit(deeds.raise_later, 0.1).result(LONG_S)

    assert ear.is_silent_for(0.2)

    assert one_worker.submit(deeds.echo, "after").result(LONG_S) == "after"


def test_a_signal_handler_that_raises_during_an_operation_fails_it(one_worker: SessionPool, meeting: Meeting) -> None:
    one_worker.submit(deeds.raise_later, 0.2).result(LONG_S)

    assert "a bug of the handler" in str(failure(one_worker.submit(deeds.meet, meeting.address), ValueError))


def test_a_quick_operation_does_not_wait_for_a_slow_one_of_the_same_function_while_a_worker_idles(
    pool: SessionPool, meeting: Meeting
) -> None:
    for _ in range(300):  # so that they are known to be quick, and are sent several at once
        pool.submit(deeds.meet_or_return, "").result(LONG_S)
    futures = [pool.submit(deeds.meet_or_return, "" if number != 30 else meeting.address) for number in range(200)]
    del futures[30]
    began = time.monotonic()

    assert [future.result(LONG_S) for future in futures] == ["quick"] * 199
    assert time.monotonic() - began < LONG_S / 3  # nor does who waits for it


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT], ids=lambda number: number.name)
def test_an_operation_whose_worker_gets_a_deadly_signal_tells_which(
    number: signal.Signals, one_worker: SessionPool, meeting: Meeting
) -> None:
    future = one_worker.submit(deeds.meet, meeting.address)
    guest = meeting.guest()

    send(guest.pid, number)

    assert failure(future, WorkerDied).exit == f"signal {number.name}"


@pytest.mark.parametrize("harm", [deeds.kill_oneself, deeds.close_everything, deeds.fork_and_return, deeds.recurse])
def test_harmful_operations_are_resolved_and_harm_no_other(
    harm: Callable[[], object], pool: SessionPool, diary: Diary
) -> None:
    futures = []
    for number in range(5):
        futures += [pool.submit(deeds.note, diary.path, f"{number}"), pool.submit(harm)]

    outcomes = [outcome(future) for future in futures]

    assert all(type(answer) is int for answer in outcomes[::2])
    assert diary.at_most_once()
    assert os.getpid() not in outcomes
