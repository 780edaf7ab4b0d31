"""A mode is found by its name, entered with its options, and undone whatever happens."""

import unittest
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest

from poolproof.errors import IsolationError, TargetError, UsageError
from poolproof.isolation import MODES, Mode, Scene, isolated, modes, resolve, scene_of
from poolproof.isolation.lines import calling_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Of a made-up mode."""

    number: int
    leave: str = ""

    def problems(self) -> list[str]:
        return [] if self.number > 0 else [f"number = {self.number}: expected one above 0"]


class Log:
    """What a made-up mode did, and what it is to do."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.enters: Callable[[Scene], object] = lambda scene: "the context"

    def enter(self, scene: Scene, options: Options) -> object:
        self.done.append(f"in {options.number}")

        def undo() -> list[str]:
            self.done.append(f"out {options.number}")
            return [options.leave] if options.leave else []

        scene.teardown.push("undoing it", undo)
        return self.enters(scene)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """Two made-up modes: `made_up`, and `single`, which can't stand within itself."""
    log = Log()
    made_up = {
        "made_up": Mode(options=Options, enter=log.enter),
        "single": Mode(options=Options, enter=log.enter, nests=False),
    }
    monkeypatch.setattr(modes, "MODES", MappingProxyType({**MODES, **made_up}))
    return log


@pytest.fixture
def scene() -> Scene:
    return scene_of("the test", seed=1)


def test_an_unknown_mode_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"unknown isolation mode 'none': expected one of basic, registry, "):
        resolve("none", {})


def test_all_that_is_wrong_with_options_is_told_at_once() -> None:
    with pytest.raises(UsageError) as raised:
        resolve("full_isolation", {"rots": (), "rods": 1, "roots": [3], "settle_s": -1})
    for told in ("'full_isolation'", "'rots': expected one of roots, settle_s", "'rods'", "roots: 3", "settle_s = -1"):
        assert told in str(raised.value)


def test_a_missing_option_is_named(log: Log) -> None:
    with pytest.raises(UsageError, match="option 'number' is missing"):
        resolve("made_up", {"leave": "x"})


@pytest.mark.parametrize(
    ("mode", "given", "told"),
    [
        ("basic", {"seed": "x"}, "seed = 'x': expected a whole number"),
        ("basic", {"seed": True}, "seed = True"),
        ("registry", {"prefix": 3}, "prefix = 3: expected a text, got int"),
        ("registry", {"prefix": "\n"}, "characters that can be printed"),
        ("signal_routing", {"fd": 3}, "unknown option 'fd': expected one of none at all"),
        ("full_isolation", {"roots": "/here"}, "roots = '/here': expected a tuple of folders"),
        ("full_isolation", {"roots": ("",)}, "roots: '': expected a folder's path"),
        ("full_isolation", {"settle_s": "1"}, "settle_s = '1'"),
        ("full_isolation", {"settle_s": True}, "settle_s = True"),
        ("full_isolation", {"settle_s": 1e9}, "settle_s = 1000000000.0: expected a time from 0 to 30"),
    ],
)
def test_a_bad_option_is_refused_before_anything_is_entered(mode: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as raised, isolated(mode, scene=scene_of("t"), **given):
        pytest.fail("it was entered")
    assert told in str(raised.value)


def test_the_value_of_the_block_is_the_modes_context(log: Log, scene: Scene) -> None:
    with isolated("made_up", scene=scene, number=1) as context:
        assert context == "the context"
    assert log.done == ["in 1", "out 1"]


def test_what_is_left_fails_the_test_by_its_name(log: Log, scene: Scene) -> None:
    with pytest.raises(IsolationError) as raised, isolated("made_up", scene=scene, number=1, leave="a thing"):
        pass
    assert raised.value.test == "the test"
    assert raised.value.problems == ("a thing",)


@pytest.mark.parametrize("error", [ValueError("own"), KeyboardInterrupt("own"), SystemExit(1)])
def test_the_blocks_own_error_goes_first_and_what_is_left_is_a_note_to_it(
    log: Log, scene: Scene, error: BaseException
) -> None:
    with pytest.raises(type(error)) as raised, isolated("made_up", scene=scene, number=1, leave="a thing"):
        raise error
    assert raised.value is error
    assert error.__notes__ == ["besides, when it was over:\na thing"]


def test_an_error_is_not_given_an_empty_note(log: Log, scene: Scene) -> None:
    error = ValueError("own")
    with pytest.raises(ValueError, match="own"), isolated("made_up", scene=scene, number=1):
        raise error
    assert not hasattr(error, "__notes__")


@pytest.mark.parametrize("skip", [pytest.skip.Exception("not here"), unittest.SkipTest("not here")])
def test_a_skip_does_not_hide_what_is_left(log: Log, scene: Scene, skip: BaseException) -> None:
    with pytest.raises(IsolationError, match="a thing"), isolated("made_up", scene=scene, number=1, leave="a thing"):
        raise skip


def test_a_skip_that_leaves_nothing_is_a_skip(log: Log, scene: Scene) -> None:
    with pytest.raises(pytest.skip.Exception), isolated("made_up", scene=scene, number=1):
        pytest.skip("not here")


def test_a_mode_that_fails_to_enter_undoes_what_it_had_begun_and_names_the_stage(log: Log, scene: Scene) -> None:
    def fail(scene: Scene) -> None:
        with scene.stage("before"):
            pass
        with scene.stage("the pool"), scene.stage("its workers"):
            raise ValueError("no workers")

    log.enters = fail
    with pytest.raises(IsolationError) as raised, isolated("made_up", scene=scene, number=1, leave="a thing"):
        pytest.fail("it was entered")
    assert log.done == ["in 1", "out 1"]
    assert raised.value.problems == (
        "made_up could not be set up, at the stage 'the pool > its workers': ValueError: no workers",
        "a thing",
    )
    assert isinstance(raised.value.__cause__, ValueError)
    assert not scene.outer


@pytest.mark.parametrize("error", [UsageError("not here"), KeyboardInterrupt()])
def test_a_refusal_or_an_interrupt_while_a_mode_is_entered_stays_what_it_is(
    log: Log, scene: Scene, error: BaseException
) -> None:
    def refuse(scene: Scene) -> None:
        raise error

    log.enters = refuse
    with pytest.raises(type(error)) as raised, isolated("made_up", scene=scene, number=1, leave="a thing"):
        pytest.fail("it was entered")
    assert raised.value is error
    assert "a thing" in error.__notes__[0]
    assert log.done == ["in 1", "out 1"]


def test_a_target_that_cannot_be_built_is_a_failure_of_the_mode(log: Log, scene: Scene) -> None:
    def refuse(scene: Scene) -> None:
        with scene.stage("the factory"):
            raise TargetError("mine", "no pool came of it")

    log.enters = refuse
    with (
        pytest.raises(IsolationError, match="at the stage 'the factory': no pool came of it"),
        isolated("made_up", scene=scene, number=1),
    ):
        pytest.fail("it was entered")


def test_a_mode_within_sees_the_contexts_around_it(log: Log, scene: Scene) -> None:
    seen: list[dict[str, Any]] = []
    with isolated("basic", scene=scene) as around:
        log.enters = lambda inner: seen.append(inner.outer)
        with isolated("made_up", scene=scene, number=1):
            pass
    assert seen == [{"basic": around}]


def test_after_a_mode_within_itself_the_outer_one_is_around_again(log: Log, scene: Scene) -> None:
    with isolated("made_up", scene=scene, number=1):
        log.enters = lambda inner: "the inner context"
        with isolated("made_up", scene=scene, number=2):
            assert scene.outer["made_up"] == "the inner context"
        assert scene.outer["made_up"] == "the context"
    assert scene.outer == {}
    assert log.done == ["in 1", "in 2", "out 2", "out 1"]


@pytest.mark.parametrize("given", [True, False])
def test_a_mode_that_cannot_nest_is_refused_within_itself(log: Log, scene: Scene, given: bool) -> None:
    with (
        isolated("single", scene=scene, number=1),
        pytest.raises(UsageError, match="it stands within itself, and cannot"),
        isolated("single", scene=scene if given else None, number=2),
    ):
        pytest.fail("it was entered")
    assert log.done == ["in 1", "out 1"]


def test_a_mode_that_cannot_nest_may_follow_itself(log: Log, scene: Scene) -> None:
    for number in (1, 2):
        with isolated("single", scene=scene, number=number):
            pass
    assert log.done == ["in 1", "out 1", "in 2", "out 2"]


def test_a_block_without_a_scene_stands_in_that_of_the_block_around_it(log: Log, scene: Scene) -> None:
    seen: list[str] = []
    log.enters = lambda inner: seen.append(inner.test)
    with isolated("basic", scene=scene), isolated("made_up", number=1):
        pass
    with isolated("made_up", number=2):
        pass
    assert seen == ["the test", "with isolated(...)"]


def test_a_context_of_none_is_forgotten_too(log: Log, scene: Scene) -> None:
    log.enters = lambda inner: None
    with isolated("made_up", scene=scene, number=1), isolated("made_up", scene=scene, number=2):
        pass
    assert scene.outer == {}


def test_the_line_that_called_is_named_not_the_kits_own() -> None:
    line = str(calling_line())
    assert "test_modes.py:" in line
    assert line.endswith("in test_the_line_that_called_is_named_not_the_kits_own")
