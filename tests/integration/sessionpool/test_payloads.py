"""What crosses to the workers and back: large, broken or too large, it concerns its own operation alone."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from sessionpool import (
    FrameTooLarge,
    NotPicklable,
    NotUnpicklable,
    RemoteTraceback,
    SessionPool,
    SessionPoolError,
    Timing,
    WorkerDied,
)
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Disturbance, Hold, Open
from tests.integration.sessionpool.witnesses import LONG_S, Diary, Interposer, failure, kill, outcome, stop

MIB = 1 << 20
LARGE = 100_000_000

Submit = Callable[[SessionPool], "Future[Any]"]

MISFITS: dict[str, tuple[Submit, type[SessionPoolError]]] = {
    "a-lambda": (lambda pool: pool.submit(lambda: 1), NotPicklable),
    "an-argument-that-does-not-pickle": (lambda pool: pool.submit(deeds.echo, lambda: 1), NotPicklable),
    "a-named-argument-that-does-not-pickle": (lambda pool: pool.submit(deeds.named, it=lambda: 1), NotPicklable),
    "an-argument-that-raises-when-pickled": (lambda pool: pool.submit(deeds.echo, deeds.Undumpable()), NotPicklable),
    "an-argument-that-does-not-unpickle": (lambda pool: pool.submit(deeds.echo, deeds.Unloadable()), NotUnpicklable),
    "an-argument-that-exits-when-unpickled": (
        lambda pool: pool.submit(deeds.echo, deeds.RaisesSystemExitWhereLoaded()),
        NotUnpicklable,
    ),
    "a-result-that-does-not-pickle": (lambda pool: pool.submit(deeds.make_lambda), NotPicklable),
    "a-result-that-raises-when-pickled": (lambda pool: pool.submit(deeds.make, deeds.Undumpable), NotPicklable),
    "a-result-that-half-pickles": (lambda pool: pool.submit(deeds.half_pickle), NotPicklable),
    "a-result-that-does-not-unpickle": (lambda pool: pool.submit(deeds.make, deeds.Unloadable), NotUnpicklable),
    "a-result-that-exits-when-unpickled": (
        lambda pool: pool.submit(deeds.make, deeds.RaisesSystemExitWhereLoaded),
        NotUnpicklable,
    ),
    "an-exception-that-does-not-pickle": (lambda pool: pool.submit(deeds.fail_by, deeds.locked_error), NotPicklable),
    "an-exception-that-does-not-unpickle": (
        lambda pool: pool.submit(deeds.fail_by, deeds.careless_error),
        NotUnpicklable,
    ),
    "an-argument-that-is-too-large": (lambda pool: pool.submit(len, bytes(3 * MIB)), FrameTooLarge),
    "a-result-that-is-too-large": (lambda pool: pool.submit(deeds.zeros, 3 * MIB), FrameTooLarge),
    "an-exception-that-is-too-large": (lambda pool: pool.submit(deeds.large_error, 3 * MIB), FrameTooLarge),
}

misfits = pytest.mark.parametrize(("submit", "kind"), MISFITS.values(), ids=MISFITS)


@pytest.fixture
def narrow(open_pool: Open) -> SessionPool:
    """One worker, and frames of two mebibytes at most."""
    return open_pool(max_workers=1, max_frame_bytes=2 * MIB)


@misfits
def test_what_does_not_cross_is_a_typed_error_of_its_future(
    submit: Submit, kind: type[SessionPoolError], narrow: SessionPool
) -> None:
    failure(submit(narrow), kind)


@misfits
def test_the_worker_lives_on_after_what_does_not_cross(
    submit: Submit, kind: type[SessionPoolError], narrow: SessionPool
) -> None:
    before = narrow.submit(deeds.pid).result(LONG_S)

    failure(submit(narrow), kind)

    assert narrow.submit(deeds.pid).result(LONG_S) == before


@misfits
def test_others_are_whole_beside_what_does_not_cross(
    submit: Submit, kind: type[SessionPoolError], open_pool: Open, disturb: Disturbance
) -> None:
    pool = open_pool(max_frame_bytes=2 * MIB)
    view = pool.options(idempotent=True)

    before = [view.submit(deeds.echo, number) for number in range(20)]
    misfit = submit(pool)
    disturb(pool)
    after = [view.submit(deeds.echo, number) for number in range(20)]

    assert [future.result(LONG_S) for future in before + after] == [*range(20), *range(20)]
    assert type(misfit.exception(LONG_S)) in (kind, WorkerDied)


@pytest.mark.parametrize(
    ("submit", "words"),
    [
        (MISFITS["an-argument-that-does-not-pickle"][0], "lambda"),
        (MISFITS["an-argument-that-raises-when-pickled"][0], "cannot be pickled"),
        (MISFITS["an-argument-that-does-not-unpickle"][0], "cannot be rebuilt"),
        (MISFITS["a-result-that-does-not-pickle"][0], "lambda"),
        (MISFITS["a-result-that-does-not-unpickle"][0], "cannot be rebuilt"),
        (MISFITS["an-exception-that-does-not-pickle"][0], "LockedError"),
        (MISFITS["an-exception-that-does-not-unpickle"][0], "1 and 2"),
    ],
    ids=["argument", "argument-raises", "argument-there", "result", "result-here", "exception", "exception-here"],
)
def test_an_error_about_what_does_not_cross_says_what_it_was_and_why(
    submit: Submit, words: str, narrow: SessionPool
) -> None:
    error = submit(narrow).exception(LONG_S)

    told, seen = "", 0
    while error is not None and seen < 5:
        told, seen = f"{told}\n{error}", seen + 1
        error = error.__cause__ or error.__context__
    assert words in told


def test_the_cause_of_an_argument_that_does_not_unpickle_is_the_traceback_in_the_worker(narrow: SessionPool) -> None:
    error = failure(narrow.submit(deeds.echo, deeds.Unloadable()), NotUnpicklable)

    assert isinstance(error.__cause__, RemoteTraceback)


def test_an_argument_that_ends_the_process_which_rebuilds_it_costs_its_own_operation(pool: SessionPool) -> None:
    behind = [pool.submit(deeds.echo, number) for number in range(5)]
    error = failure(pool.submit(deeds.echo, deeds.ExitsWhereLoaded()), WorkerDied)
    behind += [pool.submit(deeds.echo, number) for number in range(5)]

    assert error.exit == "exit status 9"
    assert [future.result(LONG_S) for future in behind] == [*range(5), *range(5)]


def test_an_argument_is_rebuilt_once_and_in_the_worker(one_worker: SessionPool, diary: Diary) -> None:
    assert one_worker.submit(deeds.echo, deeds.Recorded(diary.path)).result(LONG_S) == one_worker.workers()[0].pid
    assert diary.lines() == ["rebuilt"]


# --- large ------------------------------------------------------------------------------------------------------


def test_an_argument_of_100_mb_arrives_whole(pool: SessionPool) -> None:
    assert pool.submit(deeds.end_of, bytes(LARGE) + b"tail").result(LONG_S) == (LARGE + 4, b"tail")


def test_a_result_of_100_mb_arrives_whole(pool: SessionPool) -> None:
    assert pool.submit(deeds.zeros, LARGE).result(LONG_S) == bytes(LARGE)


def test_large_values_go_both_ways_at_once_beside_small_ones(pool: SessionPool) -> None:
    data = bytes(range(256)) * (1 << 15)
    large = [pool.submit(deeds.echo, data) for _ in range(4)]
    small = [pool.submit(deeds.echo, number) for number in range(50)]

    assert all(future.result(LONG_S) == data for future in large)
    assert [future.result(LONG_S) for future in small] == list(range(50))


@pytest.mark.parametrize("size", [0, 1, (1 << 16) - 200, (1 << 16) - 40, 1 << 16, (1 << 16) + 1, (1 << 17) + 3])
def test_values_around_the_size_of_a_read_arrive_whole(size: int, one_worker: SessionPool) -> None:
    data = bytes(index & 0xFF for index in range(size))
    futures = [one_worker.submit(deeds.echo, data) for _ in range(5)]

    assert all(future.result(LONG_S) == data for future in futures)


def test_a_worker_that_dies_before_it_has_read_a_large_argument_costs_no_operation(open_pool: Open) -> None:
    pool = open_pool(max_workers=1, timing=Timing(stall_s=LONG_S))
    victim = pool.workers()[0].pid
    stop(victim)
    large = pool.submit(deeds.end_of, bytes(30 * MIB) + b"tail")
    behind = [pool.submit(deeds.echo, number) for number in range(10)]

    kill(victim)

    assert large.result(LONG_S) == (30 * MIB + 4, b"tail")
    assert [future.result(LONG_S) for future in behind] == list(range(10))


def test_a_worker_killed_while_it_reads_a_large_argument_costs_no_operation(
    interposer: Interposer, open_pool: Open
) -> None:
    pool = open_pool(max_workers=1, transport=interposer, timing=Timing(stall_s=LONG_S))
    interposer.hold_up("to-worker", after_bytes=5 * MIB)
    large = pool.submit(deeds.end_of, bytes(30 * MIB) + b"tail")
    assert interposer.held.wait(LONG_S)
    behind = [pool.submit(deeds.echo, number) for number in range(10)]

    kill(pool.workers()[0].pid)

    interposer.go_on()
    assert large.result(LONG_S) == (30 * MIB + 4, b"tail")
    assert [future.result(LONG_S) for future in behind] == list(range(10))


def test_a_worker_killed_while_it_writes_a_large_result_costs_that_operation_alone(
    interposer: Interposer, open_pool: Open
) -> None:
    pool = open_pool(max_workers=1, transport=interposer, timing=Timing(stall_s=LONG_S))
    interposer.hold_up("to-pool", after_bytes=5 * MIB)
    large = pool.submit(deeds.zeros, 30 * MIB)
    assert interposer.held.wait(LONG_S)
    behind = [pool.submit(deeds.echo, number) for number in range(10)]

    kill(pool.workers()[0].pid)

    interposer.go_on()
    failure(large, WorkerDied)
    assert [future.result(LONG_S) for future in behind] == list(range(10))


def test_others_are_answered_while_a_worker_is_slow_to_read_a_large_argument(
    interposer: Interposer, open_pool: Open
) -> None:
    pool = open_pool(transport=interposer, timing=Timing(stall_s=LONG_S))
    interposer.hold_up("to-worker", after_bytes=5 * MIB)
    large = pool.submit(deeds.end_of, bytes(30 * MIB) + b"tail")
    assert interposer.held.wait(LONG_S)
    interposer.let_others_pass()

    assert pool.submit(deeds.echo, 1).result(LONG_S) == 1

    interposer.go_on()
    assert large.result(LONG_S) == (30 * MIB + 4, b"tail")


def test_submitting_a_large_argument_does_not_wait_until_the_worker_has_read_it(open_pool: Open) -> None:
    pool = open_pool(max_workers=1, timing=Timing(stall_s=LONG_S))
    victim = pool.workers()[0].pid
    stop(victim)

    large = pool.submit(deeds.end_of, bytes(30 * MIB))

    assert not large.done()
    kill(victim)
    large.result(LONG_S)


# --- too large --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["argument", "result"])
def test_a_frame_that_is_too_large_tells_its_size_and_the_limit(what: str, narrow: SessionPool) -> None:
    future = narrow.submit(len, bytes(3 * MIB)) if what == "argument" else narrow.submit(deeds.zeros, 3 * MIB)

    error = failure(future, FrameTooLarge)

    assert 3 * MIB <= error.size < 3 * MIB + 1000
    assert error.limit == 2 * MIB


def test_what_just_fits_into_a_frame_crosses(narrow: SessionPool) -> None:
    data = bytes(2 * MIB - 1000)

    assert narrow.submit(deeds.echo, data).result(LONG_S) == data


def test_an_operation_that_is_refused_for_its_size_never_runs(narrow: SessionPool, diary: Diary) -> None:
    failure(narrow.submit(deeds.note, diary.path, "x" * 3 * MIB), FrameTooLarge)

    narrow.submit(deeds.note, diary.path, "small").result(LONG_S)
    assert diary.lines() == ["small"]


def test_a_misfit_of_a_session_leaves_its_state_as_it_was(narrow: SessionPool) -> None:
    session = narrow.session("s")
    session.submit(deeds.count).result(LONG_S)

    failure(session.submit(deeds.session_echo, lambda: 1), NotPicklable)
    failure(session.submit(deeds.session_echo, deeds.Unloadable()), NotUnpicklable)
    failure(session.submit(deeds.session_echo, bytes(3 * MIB)), FrameTooLarge)

    assert session.submit(deeds.count).result(LONG_S)[0] == 2


def test_an_operation_that_does_not_unpickle_may_be_the_first_of_its_session(narrow: SessionPool) -> None:
    session = narrow.session("s")

    failure(session.submit(deeds.session_echo, deeds.Unloadable()), NotUnpicklable)

    assert session.submit(deeds.count).result(LONG_S)[0] == 1


# --- damaged ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after_bytes", [2, 20, 61, 70])
def test_an_answer_that_is_damaged_on_its_way_is_no_answer(
    after_bytes: int, interposer: Interposer, open_pool: Open
) -> None:
    pool = open_pool(max_workers=1, transport=interposer, timing=Timing(stall_s=0.5))
    interposer.damage("to-pool", after_bytes)

    assert isinstance(pool.submit(deeds.echo, b"x" * 100).exception(LONG_S), WorkerDied)

    assert pool.submit(deeds.echo, "after").result(LONG_S) == "after"


@pytest.mark.parametrize("after_bytes", [2, 20, 61, 70])
def test_a_question_that_is_damaged_on_its_way_is_never_run(
    after_bytes: int, interposer: Interposer, open_pool: Open, diary: Diary
) -> None:
    pool = open_pool(max_workers=1, transport=interposer, timing=Timing(stall_s=0.5))
    interposer.damage("to-worker", after_bytes)

    first = outcome(pool.submit(deeds.note, diary.path, "first"))
    pool.submit(deeds.note, diary.path, "second").result(LONG_S)

    assert diary.lines() == (["second"] if first is WorkerDied else ["first", "second"])


def test_behind_a_held_worker_what_does_not_pickle_fails_at_once(one_worker: SessionPool, hold: Hold) -> None:
    hold(one_worker)

    failure(one_worker.submit(lambda: 1), NotPicklable)
