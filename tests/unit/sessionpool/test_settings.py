"""What a pool can be told: all that is wrong is said at once, and nothing that is right is refused."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionpool.errors import InvalidSettings
from sessionpool.settings import Recycling, Restarts, Sessions, Settings, Timing

GROUPS = {"sessions": Sessions, "recycling": Recycling, "timing": Timing, "restarts": Restarts}
SECONDS = [("timing", name) for name in ("start_s", "stop_s", "stall_s", "grow_s", "shrink_s")] + [
    ("restarts", "backoff_s"),
    ("restarts", "max_backoff_s"),
]
OPTIONAL_SECONDS = [("sessions", "ttl_s"), ("recycling", "age_s"), (None, "deadline_s")]
COUNTS = {
    (None, "min_workers"): 1,
    (None, "max_workers"): 1,
    (None, "max_frame_bytes"): 1 << 12,
    ("restarts", "max_failures"): 1,
    ("restarts", "max_retries"): 0,
}
OPTIONAL_COUNTS = {
    (None, "max_queue"): 0,
    ("sessions", "max_count"): 1,
    ("recycling", "operations"): 1,
    ("recycling", "memory_bytes"): 1 << 20,
}


def settings(where: str | None = None, name: str = "", value: Any = None, **others: Any) -> Settings:
    if where is not None:
        others[where] = GROUPS[where](**{name: value})
    elif name:
        others[name] = value
    return Settings(**({"min_workers": 1, "max_workers": 1 << 20} | others))


def problems(where: str | None = None, name: str = "", value: Any = None, **others: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidSettings) as raised:
        settings(where, name, value, **others)
    return raised.value.problems


def said(where: str | None, name: str) -> str:
    return ("deadline" if name == "deadline_s" else name) if where is None else f"{where}.{name}"


@pytest.mark.parametrize(("where", "name"), [*SECONDS, *OPTIONAL_SECONDS])
@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, -math.inf, True, "1", b"1", [1]])
def test_no_time_is_refused(where: str | None, name: str, value: Any) -> None:
    (problem,) = problems(where, name, value)
    assert problem.startswith(f"{said(where, name)}: {value!r} is no time in seconds")


@pytest.mark.parametrize(("where", "name"), [*SECONDS, *OPTIONAL_SECONDS])
@pytest.mark.parametrize("value", [0.001, 1, 1e9])
def test_a_time_is_taken(where: str | None, name: str, value: float) -> None:
    assert isinstance(settings(where, name, value), Settings)


@pytest.mark.parametrize(("where", "name"), [*COUNTS, *OPTIONAL_COUNTS])
@pytest.mark.parametrize("value", [-1, 1.0, True, "1", math.nan])
def test_no_whole_number_is_refused(where: str | None, name: str, value: Any) -> None:
    (problem,) = problems(where, name, value)
    assert problem.startswith(f"{said(where, name)}: {value!r} is no whole number")


@pytest.mark.parametrize(
    ("where", "name", "least"), [(*key, least) for key, least in (COUNTS | OPTIONAL_COUNTS).items()]
)
def test_the_least_number_is_taken_and_none_below(where: str | None, name: str, least: int) -> None:
    assert isinstance(settings(where, name, least), Settings)
    assert problems(where, name, least - 1)


@pytest.mark.parametrize(("where", "name"), [*OPTIONAL_SECONDS, *OPTIONAL_COUNTS])
def test_none_is_taken_for_what_need_not_be(where: str | None, name: str) -> None:
    assert isinstance(settings(where, name, None), Settings)


@pytest.mark.parametrize(("where", "name"), [*SECONDS, *COUNTS])
def test_none_is_refused_for_what_must_be(where: str | None, name: str) -> None:
    (problem,) = problems(where, name, None)
    assert "None is no" in problem
    assert "or None" not in problem


@pytest.mark.parametrize("name", sorted({name for _, name in SECONDS} - {"grow_s"}))
def test_no_time_at_all_is_refused(name: str) -> None:
    assert problems("timing" if name.split("_")[0] in ("start", "stop", "stall", "shrink") else "restarts", name, 0)


def test_a_pool_may_grow_at_once() -> None:
    assert settings("timing", "grow_s", 0).timing.grow_s == 0


@pytest.mark.parametrize("affinity", ["", "STRICT", None, 1, ["strict"]])
def test_no_affinity_is_refused(affinity: Any) -> None:
    (problem,) = problems("sessions", "affinity", affinity)
    assert problem.endswith("is none of strict, restart, hint")


@pytest.mark.parametrize("affinity", ["strict", "restart", "hint"])
def test_an_affinity_is_taken(affinity: str) -> None:
    assert settings("sessions", "affinity", affinity).sessions.affinity == affinity


def test_more_workers_at_least_than_at_most_are_refused() -> None:
    assert problems(min_workers=3, max_workers=2) == ("min_workers: 3 is more than max_workers, which is 2",)


def test_numbers_that_are_none_are_not_compared() -> None:
    assert len(problems(min_workers=3, max_workers="2")) == 1


@pytest.mark.parametrize("name", sorted(GROUPS))
@pytest.mark.parametrize("value", [None, {}, Settings])
def test_no_group_is_refused(name: str, value: Any) -> None:
    (problem,) = problems(**{name: value})
    assert problem == f"{name}: {value!r} is no {GROUPS[name].__name__}"


def test_everything_that_is_wrong_is_told_at_once() -> None:
    told = problems(
        min_workers=0,
        max_queue=-1,
        deadline_s=-1,
        max_frame_bytes=1,
        sessions=Sessions(affinity="none", ttl_s=0, max_count=0),  # type: ignore[arg-type]
        recycling=Recycling(operations=0, age_s=-1, memory_bytes=1),
        timing=Timing(start_s=0, stop_s=0, stall_s=0, grow_s=-1, shrink_s=0),
        restarts=Restarts(max_failures=0, backoff_s=0, max_backoff_s=0, max_retries=-1),
    )
    assert [problem.partition(":")[0] for problem in told] == [
        "min_workers",
        "max_queue",
        "deadline",
        "max_frame_bytes",
        *("sessions.affinity", "sessions.ttl_s", "sessions.max_count"),
        *("recycling.operations", "recycling.age_s", "recycling.memory_bytes"),
        *("timing.start_s", "timing.stop_s", "timing.stall_s", "timing.shrink_s", "timing.grow_s"),
        *("restarts.max_failures", "restarts.backoff_s", "restarts.max_backoff_s", "restarts.max_retries"),
    ]


def test_groups_that_are_wrong_do_not_hide_what_else_is() -> None:
    assert len(problems(min_workers=0, sessions=None, timing=None)) == 3


@given(st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.booleans(), st.lists(st.integers())))
def test_whatever_is_given_it_is_taken_or_refused_by_name(value: Any) -> None:
    for where, name in [*SECONDS, *OPTIONAL_SECONDS, *COUNTS, *OPTIONAL_COUNTS, ("sessions", "affinity")]:
        try:
            settings(where, name, value)
        except InvalidSettings as error:
            (problem,) = error.problems
            assert problem.startswith(said(where, name))


@pytest.mark.parametrize("kind", [Settings, *GROUPS.values()])
def test_settings_cannot_be_changed(kind: type[Any]) -> None:
    it = settings() if kind is Settings else kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(it, dataclasses.fields(kind)[0].name, 1)


def test_every_setting_is_tried_here() -> None:
    tried: set[tuple[str | None, str]] = {
        *SECONDS,
        *OPTIONAL_SECONDS,
        *COUNTS,
        *OPTIONAL_COUNTS,
        ("sessions", "affinity"),
    }
    fields: set[tuple[str | None, str]] = {
        (None, field.name) for field in dataclasses.fields(Settings) if field.name not in GROUPS
    }
    for where, kind in GROUPS.items():
        fields |= {(where, field.name) for field in dataclasses.fields(kind)}
    assert tried == fields
