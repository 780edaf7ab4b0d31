"""The pool's errors cross between processes with their evidence, and are what other code expects of them."""

import concurrent.futures
import copy
import pickle
from typing import Any

import pytest

import sessionpool
from sessionpool import PoolBroken, errors
from sessionpool.errors import (
    DeadlineExceeded,
    FrameTooLarge,
    InvalidSettings,
    MalformedFrame,
    NotPicklable,
    NotUnpicklable,
    PoolClosed,
    PoolSaturated,
    PreloadError,
    RemoteTraceback,
    SessionExpired,
    SessionLost,
    SessionPoolError,
    SessionUnknown,
    WorkerDied,
)

EVIDENCE: list[tuple[Exception, dict[str, Any]]] = [
    (SessionPoolError("words"), {}),
    (InvalidSettings(("a: one", "b: two")), {"problems": ("a: one", "b: two")}),
    (PreloadError("numpy", "no such module"), {"module": "numpy", "words": "no such module"}),
    (PreloadError("", "it died"), {"module": "", "words": "it died"}),
    (PoolClosed("closed"), {}),
    (PoolBroken("why", ("one", "two")), {"reason": "why", "last_words": ("one", "two")}),
    (PoolSaturated("queue", 3), {"what": "queue", "limit": 3}),
    (PoolSaturated("sessions", 9), {"what": "sessions", "limit": 9}),
    (
        WorkerDied("it died", pid=7, exit="signal SIGKILL", attempts=2),
        {"reason": "it died", "pid": 7, "exit": "signal SIGKILL", "attempts": 2},
    ),
    (WorkerDied("it died", pid=None, exit="unknown", attempts=1), {"pid": None}),
    (DeadlineExceeded(deadline_s=2.5, started=True, pid=7), {"deadline_s": 2.5, "started": True, "pid": 7}),
    (DeadlineExceeded(deadline_s=2.5, started=False, pid=None), {"started": False, "pid": None}),
    *(
        (kind(("a", 1), "why", pid=7, epoch=3), {"key": ("a", 1), "reason": "why", "pid": 7, "epoch": 3})
        for kind in (SessionLost, SessionExpired, SessionUnknown)
    ),
    (SessionUnknown("k", "there is none"), {"pid": None, "epoch": 0}),
    (NotPicklable("words"), {}),
    (NotUnpicklable("words"), {}),
    (FrameTooLarge("argument", 20, 10), {"what": "argument", "size": 20, "limit": 10}),
    (MalformedFrame("it is damaged"), {"what": "it is damaged"}),
    (RemoteTraceback("Traceback"), {"text": "Traceback"}),
]
TOLD = pytest.mark.parametrize(("error", "fields"), EVIDENCE, ids=[type(error).__name__ for error, _ in EVIDENCE])


@TOLD
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_crosses_with_its_evidence(error: Exception, fields: dict[str, Any], protocol: int) -> None:
    got = pickle.loads(pickle.dumps(error, protocol))
    assert (type(got), str(got)) == (type(error), str(error))
    assert {name: getattr(got, name) for name in fields} == fields


@TOLD
def test_an_error_crosses_twice(error: Exception, fields: dict[str, Any]) -> None:
    assert str(pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error))))) == str(error)


@TOLD
def test_an_error_can_be_copied(error: Exception, fields: dict[str, Any]) -> None:
    assert vars(copy.copy(error)) == vars(error)


@TOLD
def test_notes_and_fields_that_others_added_cross_too(error: Exception, fields: dict[str, Any]) -> None:
    error = copy.copy(error)
    error.add_note("seen in production")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["seen in production"]


def test_every_error_is_tried_here() -> None:
    def below(kind: type[Exception]) -> set[type[Exception]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    ours = {kind for kind in below(SessionPoolError) if kind.__module__ == errors.__name__}
    assert ours <= {type(error) for error, _ in EVIDENCE}


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        (InvalidSettings, ValueError),
        (PreloadError, ImportError),
        (PoolClosed, RuntimeError),
        (PoolBroken, concurrent.futures.BrokenExecutor),
        (DeadlineExceeded, TimeoutError),
        (NotPicklable, pickle.PicklingError),
        (NotUnpicklable, pickle.UnpicklingError),
        (SessionExpired, SessionLost),
        (SessionUnknown, SessionLost),
    ],
)
def test_who_knows_the_standard_librarys_errors_catches_ours(kind: type[Exception], known: type[Exception]) -> None:
    assert issubclass(kind, known)
    assert issubclass(kind, SessionPoolError)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PoolSaturated("queue", 3), "as many operations wait as may (3): raise max_queue"),
        (PoolSaturated("sessions", 3), "as many sessions are open as may be (3): close some"),
        (SessionLost("k", "why"), "close()"),
        (SessionExpired("k", "why"), "Sessions.ttl_s"),
        (SessionUnknown("k", "why"), "pool.session(key)"),
        (FrameTooLarge("result", 20, 10), "raise max_frame_bytes"),
        (WorkerDied("it died", pid=1, exit="?", attempts=1), "declare it idempotent"),
        (WorkerDied("it died", pid=1, exit="?", attempts=3, idempotent=True), "Restarts.max_retries"),
        (WorkerDied("it died", pid=1, exit="?", attempts=1), "1 time "),
        (WorkerDied("it died", pid=1, exit="?", attempts=2), "2 times "),
        (DeadlineExceeded(deadline_s=1, started=False, pid=None), "never started"),
        (DeadlineExceeded(deadline_s=1, started=True, pid=4), "worker 4 was killed"),
        (RemoteTraceback("Traceback"), '"""\nTraceback"""'),
    ],
)
def test_a_message_says_what_to_do(error: Exception, words: str) -> None:
    assert words in str(error)


def test_every_error_can_be_imported_from_the_package() -> None:
    assert {type(error).__name__ for error, _ in EVIDENCE} <= set(sessionpool.__all__)
