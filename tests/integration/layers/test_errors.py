"""Each kind of error arrives with the same type, the same fields and the same words, whichever layer it comes from."""

import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pytest

from poolproof.plan import Operation
from poolproof.probe import Call
from poolproof.rig import Rig, exhaust, fill, inject_worker_failure
from poolproof.waiting import wait_for
from sessionpool import PoolBroken, errors
from sessionpool.errors import (
    DeadlineExceeded,
    NotPicklable,
    PoolClosed,
    PoolSaturated,
    SessionExpired,
    SessionLost,
    WorkerDied,
)
from tests.integration.layers import means
from tests.integration.layers.test_sessions import lose_a_worker

LAYERS = pytest.mark.layer(1, 2, 3)

Is = Callable[[Any], bool]


def is_pid(value: Any) -> bool:
    return type(value) is int and value > 1


def about(expected: float) -> Is:
    # What is handed over as a moment on the clock is a time again where it arrives: a few microseconds less.
    return lambda value: type(value) is float and expected * 0.5 < value <= expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An error: how to have it, its type, what each of its fields is or fulfils, and a pattern of its whole message."""

    provoke: Callable[[Rig], BaseException | None]
    type: type[Exception]
    fields: Mapping[str, Any] = field(default_factory=dict)
    message: str


def run_into_a_kill(pool: Rig) -> BaseException | None:
    with fill(pool) as full:
        failure = inject_worker_failure(pool)
        assert failure.effective, failure.why
        return next(it for it in full.held.operations if it.op in failure.held).exception()


def wait_too_long(pool: Rig) -> BaseException | None:
    with fill(pool):
        return pool.submit("predict", deadline_s=0.02).exception()


def run_too_long(pool: Rig) -> BaseException | None:
    return means.submit_lasting(pool).exception()


def overfill(pool: Rig) -> BaseException | None:
    with exhaust(pool) as exhausted:
        return exhausted.refusal


def open_too_many_sessions(pool: Rig) -> BaseException | None:
    pool.submit("predict", session="the only one").result()
    try:
        pool.submit("predict", session="one too many")
    except PoolSaturated as error:
        return error
    return None


def come_back_to_a_lost_session(pool: Rig) -> BaseException | None:
    _, (lost, *_), _ = lose_a_worker(pool)
    return pool.submit("predict", session=lost).exception()


def come_back_too_late(pool: Rig) -> BaseException | None:
    pool.submit("predict", session="forgotten").result()
    mark = pool.token("forgotten")
    wait_for(
        lambda: any((it.subject, it.what, it.who) == ("session", "expired", mark) for it in pool.events.since()),
        timeout=10,
        on=pool,
        what="the session's expiry",
        seen=pool.state,
    )
    return pool.submit("predict", session="forgotten").exception()


def submit_after_the_close(pool: Rig) -> BaseException | None:
    # The rig itself sends nothing to a pool that it has closed: this goes past it.
    late = Operation(op=1, kind="predict", call=Call("", "", 1, "predict", ("answer", 1)))
    pool.close()
    try:
        taken: Future[Any] = pool.pool.submit(late)
    except PoolClosed as error:
        return error
    return taken.exception(10)


def submit_what_does_not_pickle(pool: Rig) -> BaseException | None:
    return pool.submit("predict", lambda: None).exception()


KILLED = "signal SIGKILL"
UNREADY = r"(worker \d+ did not become ready: )?its initializer failed\b"
"""Whose words they are, the pool knows where it was told of the fork before the words came; mostly it was."""

# SessionUnknown is what `existing=True` is answered with, which no operation of a rig says; NotUnpicklable,
# FrameTooLarge and MalformedFrame are of the wire alone, and the pool's own tests provoke them on it.
CASES: Mapping[str, tuple[Case, Mapping[str, Any]]] = {
    "worker-died": (
        Case(
            provoke=run_into_a_kill,
            type=WorkerDied,
            fields={"reason": "it died", "pid": is_pid, "exit": KILLED, "attempts": 1},
            message=r"worker \d+ was lost while it held the operation: it died \(signal SIGKILL\)\. The operation was "
            r"taken up 1 time and may have had effects; declare it idempotent to have it run again",
        ),
        {"workers": 2},
    ),
    "deadline-waiting": (
        Case(
            provoke=wait_too_long,
            type=DeadlineExceeded,
            fields={"deadline_s": about(0.02), "started": False, "pid": None},
            message=r"the operation had not ended within 0\.0[12]\d* s: it was never started",
        ),
        {"workers": 2},
    ),
    "deadline-running": (
        Case(
            provoke=run_too_long,
            type=DeadlineExceeded,
            fields={"deadline_s": about(means.DEADLINE_S), "started": True, "pid": is_pid},
            message=r"the operation had not ended within 0\.[12]\d* s: its worker \d+ was killed, where it may "
            r"have run",
        ),
        {"workers": 2},
    ),
    "queue-full": (
        Case(
            provoke=overfill,
            type=PoolSaturated,
            fields={"what": "queue", "limit": 4},
            message=r"as many operations wait as may \(4\): raise max_queue, or offer less",
        ),
        {"preset": "saturating"},
    ),
    "sessions-full": (
        Case(
            provoke=open_too_many_sessions,
            type=PoolSaturated,
            fields={"what": "sessions", "limit": 1},
            message=r"as many sessions are open as may be \(1\): close some, or raise Sessions\.max_count",
        ),
        {"workers": 2, "options": {"max_count": 1}, "verify_sessions": False},  # that opens two
    ),
    "session-lost": (
        Case(
            provoke=come_back_to_a_lost_session,
            type=SessionLost,
            fields={
                "key": lambda value: type(value) is int,
                "reason": lambda value: bool(
                    re.fullmatch(rf"its worker \d+ is gone: it died \({KILLED}\)", str(value))
                ),
                "pid": is_pid,
                "epoch": lambda value: type(value) is int and value >= 1,
            },
            message=r"session \d+: its worker \d+ is gone: it died \(signal SIGKILL\); close\(\) the session to begin "
            r"a new one under the same key, or give it the affinity `restart`",
        ),
        {"preset": "sticky"},
    ),
    "session-expired": (
        Case(
            provoke=come_back_too_late,
            type=SessionExpired,
            fields={
                "key": lambda value: type(value) is int,
                "reason": "it was unused for 0.05 s",
                "pid": is_pid,
                "epoch": lambda value: type(value) is int and value >= 1,
            },
            message=r"session \d+: it was unused for 0\.05 s; close\(\) the session to begin a new one under the same "
            r"key, or raise Sessions\.ttl_s",
        ),
        {"workers": 2, "options": {"affinity": "strict", "ttl_s": 0.05}, "verify_sessions": False},  # they expire
    ),
    "pool-closed": (
        Case(
            provoke=submit_after_the_close,
            type=PoolClosed,
            message=r"the pool was shut down and takes no more operations",
        ),
        {"workers": 2},
    ),
    "pool-broken": (
        Case(
            provoke=lambda pool: pool.submit("predict").exception(),
            type=PoolBroken,
            fields={
                "reason": "workers were started 3 times in a row and none became ready, and no other is left. "
                "The last ones:",
                "last_words": lambda value: (
                    type(value) is tuple and 1 <= len(value) <= 5 and all(re.match(UNREADY, words) for words in value)
                ),
            },
            message=rf"workers were started 3 times in a row .* The last ones:\n{UNREADY}.*",
        ),
        {"preset": "failing-to-start", "warm": False, "verify_sessions": False},
    ),
}


def judge(error: BaseException | None, case: Case) -> None:
    assert type(error) is case.type
    found = vars(error)
    assert {*found} == {*case.fields}
    for name, expected in case.fields.items():
        fulfilled = expected(found[name]) if callable(expected) else found[name] == expected
        assert fulfilled, f"{name} = {found[name]!r}"
    assert re.fullmatch(case.message, str(error), re.DOTALL), str(error)


@LAYERS
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name, marks=pytest.mark.isolation("pool_testing", **options))
        for name, (case, options) in CASES.items()
    ],
)
def test_an_error_arrives_with_its_own_type_fields_and_words(pool: Rig, case: Case) -> None:
    judge(case.provoke(pool), case)


@LAYERS
@pytest.mark.isolation("pool_testing", workers=2)
def test_what_the_users_code_raises_arrives_as_itself(pool: Rig) -> None:
    kind, message = means.failing_with(pool)

    error = means.submit_failing(pool).exception()

    assert type(error) is kind
    assert re.search(message, str(error))


# On layer 1 there is no other process that a traceback could come from, and nothing is pickled.
@pytest.mark.layer(2, 3)
@pytest.mark.isolation("pool_testing", workers=2)
def test_what_the_users_code_raises_brings_its_traceback_along(pool: Rig) -> None:
    error = means.submit_failing(pool).exception()

    assert error is not None
    assert type(error.__cause__) is errors.RemoteTraceback
    assert error.__cause__.text.startswith("Traceback (most recent call last):\n")


# The same, and of the pool alone.
@pytest.mark.layer(2)
@pytest.mark.isolation("pool_testing", workers=2)
def test_what_cannot_be_pickled_fails_alone(pool: Rig) -> None:
    assert type(submit_what_does_not_pickle(pool)) is NotPicklable
    assert pool.submit("predict").exception() is None
