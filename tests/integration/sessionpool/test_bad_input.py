"""What makes no sense is refused where it is said, and names every problem at once."""

import threading
from typing import Any

import pytest

from sessionpool import InvalidSettings, Recycling, Restarts, SessionPool, Sessions, Timing
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Open
from tests.integration.sessionpool.witnesses import LONG_S, Meeting, children, kill

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no-workers": ({"max_workers": 0}, "max_workers"),
    "less-than-no-workers": ({"max_workers": -1}, "max_workers"),
    "half-a-worker": ({"max_workers": 1.5}, "max_workers"),
    "a-truth-of-workers": ({"max_workers": True}, "max_workers"),
    "workers-in-words": ({"max_workers": "2"}, "max_workers"),
    "least-above-most": ({"min_workers": 3, "max_workers": 2}, "min_workers"),
    "least-of-none": ({"min_workers": 0}, "min_workers"),
    "queue-below-zero": ({"max_queue": -1}, "max_queue"),
    "deadline-below-zero": ({"deadline": -1}, "deadline"),
    "deadline-of-zero": ({"deadline": 0}, "deadline"),
    "deadline-that-is-no-number": ({"deadline": float("nan")}, "deadline"),
    "deadline-in-words": ({"deadline": "soon"}, "deadline"),
    "frames-of-nothing": ({"max_frame_bytes": 0}, "max_frame_bytes"),
    "unknown-affinity": ({"sessions": Sessions(affinity="loose")}, "affinity"),  # type: ignore[arg-type]
    "ttl-of-zero": ({"sessions": Sessions(ttl_s=0)}, "ttl_s"),
    "no-sessions": ({"sessions": Sessions(max_count=0)}, "max_count"),
    "sessions-of-another-kind": ({"sessions": {"affinity": "strict"}}, "sessions"),
    "recycling-after-nothing": ({"recycling": Recycling(operations=0)}, "operations"),
    "recycling-before-birth": ({"recycling": Recycling(age_s=-1)}, "age_s"),
    "recycling-at-any-size": ({"recycling": Recycling(memory_bytes=0)}, "memory_bytes"),
    "start-of-zero": ({"timing": Timing(start_s=0)}, "start_s"),
    "stall-of-infinity": ({"timing": Timing(stall_s=float("inf"))}, "stall_s"),
    "failures-of-none": ({"restarts": Restarts(max_failures=0)}, "max_failures"),
    "retries-below-zero": ({"restarts": Restarts(max_retries=-1)}, "max_retries"),
    "initializer-that-is-no-function": ({"initializer": 3}, "initializer"),
}


@pytest.mark.parametrize(("settings", "name"), BAD.values(), ids=BAD)
def test_settings_that_make_no_sense_are_refused_by_their_name(
    settings: dict[str, Any], name: str, open_pool: Open
) -> None:
    with pytest.raises((InvalidSettings, TypeError), match=name):
        open_pool(ready=False, **settings)


def test_every_problem_is_told_at_once(open_pool: Open) -> None:
    with pytest.raises(InvalidSettings) as caught:
        open_pool(
            ready=False,
            max_workers=0,
            max_queue=-1,
            deadline=-1,
            sessions=Sessions(ttl_s=-1, max_count=0),
            timing=Timing(stall_s=0),
        )

    told = "\n".join(caught.value.problems)
    assert all(name in told for name in ("max_workers", "max_queue", "deadline", "ttl_s", "max_count", "stall_s"))


def test_invalid_settings_are_a_value_error() -> None:
    assert issubclass(InvalidSettings, ValueError)


def test_a_number_that_was_not_given_is_not_blamed(open_pool: Open) -> None:
    with pytest.raises(InvalidSettings) as caught:
        open_pool(ready=False, max_workers=0)

    assert [problem.split(":")[0] for problem in caught.value.problems] == ["max_workers"]


def test_nothing_is_started_where_the_settings_make_no_sense(open_pool: Open) -> None:
    threads = threading.enumerate()

    with pytest.raises(InvalidSettings):
        open_pool(ready=False, max_workers=0)

    assert children() == []
    assert threading.enumerate() == threads


def test_a_setting_that_is_unknown_is_refused_as_python_does(open_pool: Open) -> None:
    with pytest.raises(TypeError, match="workers"):
        open_pool(ready=False, workers=2)


@pytest.mark.parametrize(
    ("options", "name"),
    [({"deadline": -1}, "deadline"), ({"deadline": "soon"}, "deadline"), ({"affinity": "loose"}, "affinity")],
    ids=["deadline-below-zero", "deadline-in-words", "unknown-affinity"],
)
def test_options_that_make_no_sense_are_refused_when_they_are_chosen(
    options: dict[str, Any], name: str, pool: SessionPool
) -> None:
    with pytest.raises(InvalidSettings, match=name):
        pool.options(**options)


def test_an_option_that_is_unknown_is_refused_as_python_does(pool: SessionPool) -> None:
    options: Any = pool.options

    with pytest.raises(TypeError):
        options(retries=3)


@pytest.mark.parametrize("key", [[], {}, {1}, ([],)], ids=repr)
def test_a_key_that_is_not_hashable_is_a_type_error(key: Any, pool: SessionPool) -> None:
    with pytest.raises(TypeError):
        pool.session(key).submit(deeds.count)

    assert pool.submit(deeds.echo, 1).result(LONG_S) == 1


class AwkwardKey:
    """A key whose comparison raises."""

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise ValueError("not to be compared")


def test_a_key_whose_comparison_raises_is_the_callers_own_error(pool: SessionPool) -> None:
    pool.session(AwkwardKey()).submit(deeds.count).result(LONG_S)

    with pytest.raises(ValueError, match="not to be compared"):
        pool.session(AwkwardKey()).submit(deeds.count)

    assert pool.submit(deeds.echo, 1).result(LONG_S) == 1


class UnspeakableKey:
    """A key whose representation raises."""

    def __repr__(self) -> str:
        raise ValueError("not to be named")


def test_a_key_whose_representation_raises_is_lost_as_any_other(pool: SessionPool) -> None:
    session = pool.session(UnspeakableKey())
    session.submit(deeds.session_exit, 3).exception(LONG_S)

    assert session.submit(deeds.count).exception(LONG_S) is not None

    assert pool.submit(deeds.echo, 1).result(LONG_S) == 1


def test_what_waits_in_a_session_whose_key_cannot_be_represented_is_resolved_when_its_worker_dies(
    one_worker: SessionPool, meeting: Meeting
) -> None:
    session = one_worker.session(UnspeakableKey())
    session.submit(deeds.session_meet, meeting.address)
    waiting = session.submit(deeds.count)

    kill(meeting.guest().pid)

    assert waiting.exception(LONG_S) is not None
    assert one_worker.submit(deeds.echo, 1).result(LONG_S) == 1


def test_what_is_no_function_is_a_type_error(pool: SessionPool) -> None:
    nothing: Any = 3

    with pytest.raises(TypeError):
        pool.submit(nothing).result(LONG_S)


def test_submitting_nothing_is_a_type_error(pool: SessionPool) -> None:
    submit: Any = pool.submit

    with pytest.raises(TypeError):
        submit()
