"""What becomes of an operation: its result or exception, once at most, whatever becomes of its worker."""

import os
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any

import pytest

from sessionpool import Restarts, SessionPool, WorkerDied
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Disturbance, Hold, Open
from tests.integration.sessionpool.witnesses import (
    LONG_S,
    Diary,
    Meeting,
    failure,
    is_gone,
    kill,
    outcome,
    submitted_at_once,
)

# --- results ----------------------------------------------------------------------------------------------------


def test_an_operation_answers_with_what_its_function_returned(pool: SessionPool) -> None:
    assert pool.submit(deeds.add, 2, right=3).result(LONG_S) == 5


@pytest.mark.parametrize(
    ("function", "result"),
    [(len, 3), (partial(deeds.named, 1), ((1, "abc"), {})), (list, ["a", "b", "c"]), ("<{0}>".format, "<abc>")],
    ids=["builtin", "partial", "class", "method-of-a-builtin"],
)
def test_any_callable_that_pickles_is_run(function: Callable[[str], Any], result: object, pool: SessionPool) -> None:
    assert pool.submit(function, "abc").result(LONG_S) == result


def test_a_callable_object_and_its_methods_are_run(pool: SessionPool) -> None:
    assert pool.submit(deeds.Adder(2), 3).result(LONG_S) == 5
    assert pool.submit(deeds.Adder(2).method, 3).result(LONG_S) == 5


def test_arguments_may_be_named_as_the_parameters_of_submit_are(pool: SessionPool) -> None:
    given = {"fn": 1, "self": 2, "timeout": 3, "key": 4}

    assert pool.submit(deeds.named, **given).result(LONG_S) == ((), given)


def test_operations_run_in_other_processes_and_as_many_at_once_as_there_are_workers(
    pool: SessionPool, meeting: Meeting
) -> None:
    futures = [pool.submit(deeds.meet, meeting.address) for _ in range(2)]

    pids = {guest.pid for guest in meeting.guests(2)}

    assert len(pids) == 2
    assert os.getpid() not in pids
    meeting.close()
    assert [future.result(LONG_S) for future in futures] == ["go", "go"]


def test_every_answer_of_many_belongs_to_its_own_question(pool: SessionPool, disturb: Disturbance) -> None:
    view = pool.options(idempotent=True)
    futures = [view.submit(deeds.echo, number) for number in range(300)]
    disturb(pool)
    futures += [view.submit(deeds.echo, number) for number in range(300, 600)]

    assert [future.result(LONG_S) for future in futures] == list(range(600))


def test_many_threads_submit_at_once_and_each_gets_its_own_answers(pool: SessionPool, disturb: Disturbance) -> None:
    view = pool.options(idempotent=True)

    pairs = submitted_at_once(
        8, lambda thread: [((thread, number), view.submit(deeds.echo, (thread, number))) for number in range(50)]
    )
    disturb(pool)

    assert len(pairs) == 400
    assert all(future.result(LONG_S) == asked for asked, future in pairs)


# --- exceptions -------------------------------------------------------------------------------------------------


def test_an_exception_arrives_as_itself_with_its_arguments(pool: SessionPool) -> None:
    error = failure(pool.submit(deeds.fail, KeyError("a", 1)), KeyError)

    assert error.args == ("a", 1)


def test_an_exception_keeps_its_attributes_and_notes(pool: SessionPool) -> None:
    given = deeds.RichError("bad", code=7)
    given.add_note("seen on a Monday")

    error = failure(pool.submit(deeds.fail, given), deeds.RichError)

    assert (error.code, error.__notes__) == (7, ["seen on a Monday"])


def test_the_cause_of_an_exception_is_its_traceback_in_the_worker(pool: SessionPool) -> None:
    error = failure(pool.submit(deeds.fail, KeyError("a")), KeyError)

    assert "deeds.py" in str(error.__cause__)
    assert "in fail" in str(error.__cause__)


def test_the_remote_traceback_tells_of_the_cause_that_the_exception_had_there(pool: SessionPool) -> None:
    error = failure(pool.submit(deeds.fail_because), deeds.RichError)

    assert "KeyError: 'inner'" in str(error.__cause__)


# --- a worker's death -------------------------------------------------------------------------------------------


def test_the_operation_of_a_killed_worker_fails_with_its_pid_and_how_it_ended(
    one_worker: SessionPool, hold: Hold
) -> None:
    [(future, guest)] = hold(one_worker)

    kill(guest.pid)

    error = failure(future, WorkerDied)
    assert (error.pid, error.exit, error.attempts) == (guest.pid, "signal SIGKILL", 1)


def test_the_operation_that_exits_its_worker_fails_with_the_status(one_worker: SessionPool) -> None:
    error = failure(one_worker.submit(deeds.exit_at_once, 7), WorkerDied)

    assert (error.exit, error.attempts) == ("exit status 7", 1)


def test_what_is_queued_behind_the_operation_of_a_killed_worker_succeeds(one_worker: SessionPool, hold: Hold) -> None:
    [(future, guest)] = hold(one_worker)
    behind = [one_worker.submit(deeds.echo, number) for number in range(20)]

    kill(guest.pid)

    failure(future, WorkerDied)
    assert [each.result(LONG_S) for each in behind] == list(range(20))


def test_what_was_sent_ahead_to_a_worker_that_dies_and_not_begun_succeeds(one_worker: SessionPool) -> None:
    for _ in range(200):  # so that it takes them for short, and sends several at once
        one_worker.submit(deeds.echo, 0).result(LONG_S)
    futures = [one_worker.submit(deeds.echo, number) for number in range(50)]
    killer = one_worker.submit(deeds.kill_oneself)
    behind = [one_worker.submit(deeds.echo, number) for number in range(50)]

    failure(killer, WorkerDied)
    assert [each.result(LONG_S) for each in futures + behind] == [*range(50), *range(50)]


def test_the_operation_of_another_worker_goes_on(pool: SessionPool, hold: Hold) -> None:
    (doomed, victim), (other, guest) = hold(pool, 2)

    kill(victim.pid)

    failure(doomed, WorkerDied)
    assert guest.is_there()
    guest.release("fine")
    assert other.result(LONG_S) == "fine"


def test_after_deaths_as_many_operations_run_at_once_as_before(pool: SessionPool, hold: Hold) -> None:
    for _, guest in hold(pool, 2):
        kill(guest.pid)

    assert len({guest.pid for _, guest in hold(pool, 2)}) == 2


def test_nothing_fails_where_an_idle_worker_is_killed(pool: SessionPool) -> None:
    victim = pool.workers()[0].pid

    kill(victim)

    futures = [pool.submit(deeds.pid) for _ in range(20)]
    assert victim not in {future.result(LONG_S) for future in futures}


def test_no_side_effect_happens_twice_however_many_workers_die(pool: SessionPool, diary: Diary) -> None:
    futures = []
    for number in range(60):
        futures.append(pool.submit(deeds.note, diary.path, f"note {number}"))
        if number % 10 == 5:
            futures.append(pool.submit(deeds.note_and_exit, diary.path, f"exit {number}", 1))

    outcomes = [outcome(future) for future in futures]

    assert diary.at_most_once()
    assert outcomes.count(WorkerDied) == 6
    assert len(diary.lines()) == len(futures)


def test_every_side_effect_that_was_answered_happened_once(
    pool: SessionPool, diary: Diary, disturb: Disturbance
) -> None:
    futures = {str(number): pool.submit(deeds.note, diary.path, str(number)) for number in range(200)}
    disturb(pool)

    answered = {word for word, future in futures.items() if outcome(future) is not WorkerDied}

    assert diary.at_most_once()
    assert answered <= set(diary.lines())
    assert len(futures) - len(answered) <= 1


@pytest.mark.parametrize("sessions", [0, 5])
def test_nothing_runs_twice_or_out_of_turn_where_quick_and_slow_operations_of_a_function_mix(
    sessions: int, pool: SessionPool, diary: Diary, meeting: Meeting, disturb: Disturbance
) -> None:
    def submit(number: int, address: str) -> "Future[str]":
        word = f"{number % (sessions or 1)} {number}"
        if not sessions:
            return pool.submit(deeds.note_and_meet, diary.path, word, address)
        session = pool.options(affinity="restart").session(number % sessions)
        return session.submit(deeds.session_note_and_meet, diary.path, word, address)

    meeting.release_all_who_come(after_s=0.04)
    for number in range(200):  # so that they are known to be quick, and are sent several at once
        submit(number, "").result(LONG_S)

    futures = [submit(number, meeting.address if number % 40 == 20 else "") for number in range(200, 500)]
    disturb(pool)

    outcomes = [outcome(future) for future in futures]
    assert diary.at_most_once()
    assert [kind for kind in outcomes if kind not in ("quick", "go")] in ([], [WorkerDied])
    assert len(diary.lines()) in (500, 499)
    for key in range(sessions):
        numbers = [int(line.split()[1]) for line in diary.lines() if line.startswith(f"{key} ")]
        assert numbers == sorted(numbers)


# --- idempotent operations --------------------------------------------------------------------------------------


def test_an_idempotent_operation_runs_again_in_another_worker(one_worker: SessionPool, meeting: Meeting) -> None:
    future = one_worker.options(idempotent=True).submit(deeds.meet, meeting.address)
    first = meeting.guest()

    kill(first.pid)

    second = meeting.guest()
    second.release("done")
    assert second.pid != first.pid
    assert future.result(LONG_S) == "done"


def test_an_idempotent_operation_is_given_up_after_its_retries_and_tells_how_often_it_was_tried(
    open_pool: Open, diary: Diary, quick_restarts: Restarts
) -> None:
    pool = open_pool(max_workers=1, restarts=quick_restarts)

    error = failure(pool.options(idempotent=True).submit(deeds.note_and_exit, diary.path, "x", 4), WorkerDied)

    assert error.attempts == quick_restarts.max_retries + 1
    assert diary.lines() == ["x"] * error.attempts


def test_an_idempotent_operation_that_raises_is_not_run_again(pool: SessionPool, diary: Diary) -> None:
    view = pool.options(idempotent=True)

    failure(view.submit(deeds.fail, OSError("no")), OSError)
    view.submit(deeds.note, diary.path, "once").result(LONG_S)

    assert diary.lines() == ["once"]


def test_idempotent_operations_all_succeed(
    pool: SessionPool, hold: Hold, disturb: Disturbance, meeting: Meeting
) -> None:
    held = hold(pool.options(idempotent=True), 2)
    behind = [pool.options(idempotent=True).submit(deeds.echo, number) for number in range(50)]

    disturb(pool)

    meeting.release_all_who_come()
    for _, guest in held:
        guest.release()
    assert [future.result(LONG_S) for future, _ in held] == ["go", "go"]
    assert [future.result(LONG_S) for future in behind] == list(range(50))


# --- cancelling -------------------------------------------------------------------------------------------------


def test_a_queued_operation_can_be_cancelled_and_never_runs(one_worker: SessionPool, hold: Hold, diary: Diary) -> None:
    [(_, guest)] = hold(one_worker)
    queued = one_worker.submit(deeds.note, diary.path, "cancelled")
    behind = one_worker.submit(deeds.note, diary.path, "behind")

    assert queued.cancel()

    guest.release()
    behind.result(LONG_S)
    assert diary.lines() == ["behind"]
    with pytest.raises(CancelledError):
        queued.result(LONG_S)


def test_an_operation_that_runs_cannot_be_cancelled(one_worker: SessionPool, hold: Hold) -> None:
    [(future, guest)] = hold(one_worker)

    assert not future.cancel()

    assert future.running()
    guest.release("done")
    assert future.result(LONG_S) == "done"


def test_an_operation_that_was_answered_is_done_and_cannot_be_cancelled(pool: SessionPool) -> None:
    future = pool.submit(deeds.echo, 1)

    future.result(LONG_S)

    assert future.done()
    assert not future.cancel()


def test_cancelling_from_many_threads_leaves_each_operation_either_run_or_cancelled(
    pool: SessionPool, diary: Diary
) -> None:
    futures = [pool.submit(deeds.note, diary.path, str(number)) for number in range(200)]

    cancelled = submitted_at_once(
        4, lambda thread: [number for number in range(thread, 200, 4) if futures[number].cancel()]
    )

    ran = {
        str(number) for number, future in enumerate(futures) if number not in set(cancelled) and future.result(LONG_S)
    }
    assert set(diary.lines()) == ran
    assert diary.at_most_once()


def test_an_idle_pool_replaces_a_worker_without_being_asked_for_anything(pool: SessionPool) -> None:
    victim = pool.workers()[0].pid

    kill(victim)

    pool.wait_for(lambda seen: seen.restarts >= 1 and seen.ready == 2, timeout=LONG_S)
    assert is_gone(victim)
    assert victim not in {worker.pid for worker in pool.workers()}


# --- callbacks --------------------------------------------------------------------------------------------------


def test_a_callback_of_a_future_may_submit(one_worker: SessionPool, hold: Hold) -> None:
    [(future, guest)] = hold(one_worker)
    chained: Future[Future[str]] = Future()
    future.add_done_callback(lambda done: chained.set_result(one_worker.submit(deeds.echo, done.result())))

    guest.release("first")

    assert chained.result(LONG_S).result(LONG_S) == "first"


def test_a_callback_of_a_future_that_raises_harms_nobody(
    one_worker: SessionPool, hold: Hold, caplog: pytest.LogCaptureFixture
) -> None:
    [(future, guest)] = hold(one_worker)
    future.add_done_callback(lambda done: deeds.refuse("a bug of the user"))

    guest.release()

    assert future.result(LONG_S) == "go"
    assert one_worker.submit(deeds.echo, 1).result(LONG_S) == 1
    assert "a bug of the user" in caplog.text
