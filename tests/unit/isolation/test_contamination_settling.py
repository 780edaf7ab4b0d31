"""When a detection waits, for how long and for what; what it makes of what its watchers say; and its options."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from poolproof.errors import IsolationError, UsageError
from poolproof.isolation import resolve
from poolproof.isolation.contamination import KINDS, ContaminationWarning, Detection, Finding, Options
from poolproof.isolation.contamination.settling import settle, wait_for_one

THREAD = Finding(kind="threads", line="thread")
SOCKET = Finding(kind="sockets", line="socket")
VARIABLE = Finding(kind="environment", line="variable", lasting=True)
DOUBTFUL = Finding(kind="shared_memory", line="block", certain=False, lasting=True)


class World:
    """A clock that moves when somebody waits, and what is seen at each look."""

    def __init__(self, *looks: list[Finding]) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.log: list[str] = []
        self._looks = list(looks)

    def look(self) -> list[Finding]:
        self.log.append("look")
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]

    def pause(self, found: Sequence[Finding], most_s: float) -> None:
        assert found
        self.log.append("pause")
        self.pauses.append(most_s)
        self.now += most_s

    def collect(self) -> None:
        self.log.append("collect")

    def settle(self, bound_s: float) -> list[Finding]:
        return settle(self.look, bound_s, pause=self.pause, clock=lambda: self.now, collect=self.collect)


def test_what_is_clean_at_once_costs_one_look() -> None:
    world = World([])

    assert world.settle(1.0) == []
    assert world.log == ["look"]


def test_what_is_gone_at_the_second_look_costs_one_pause_and_no_collection() -> None:
    world = World([THREAD], [])

    assert world.settle(1.0) == []
    assert world.log == ["look", "pause", "look"]


def test_later_looks_come_after_a_collection() -> None:
    world = World([THREAD], [THREAD], [])

    assert world.settle(1.0) == []
    assert world.log == ["look", "pause", "look", "pause", "collect", "look"]


def test_pauses_grow_to_a_longest_one_and_end_at_the_bound() -> None:
    world = World([THREAD])

    assert world.settle(1.0) == [THREAD]
    assert world.pauses[:4] == [0.0005, 0.001, 0.002, 0.004]
    assert max(world.pauses) == 0.1
    assert world.now == pytest.approx(1.0)
    assert world.log[-1] == "look"


def test_nothing_is_waited_for_that_no_time_changes() -> None:
    world = World([VARIABLE, DOUBTFUL])

    assert world.settle(1.0) == [VARIABLE, DOUBTFUL]
    assert world.log == ["look"]


def test_what_may_go_is_waited_for_beside_what_lasts() -> None:
    world = World([VARIABLE, THREAD], [VARIABLE])

    assert world.settle(1.0) == [VARIABLE]
    assert world.log == ["look", "pause", "look"]


def test_without_time_there_is_a_collection_and_no_pause() -> None:
    world = World([SOCKET], [])

    assert world.settle(0.0) == []
    assert world.log == ["look", "collect", "look"]


def test_a_pause_ends_with_the_first_thing_that_tells_of_its_end() -> None:
    waited: list[tuple[str, float]] = []

    def until(name: str) -> Callable[[float], None]:
        return lambda most_s: waited.append((name, most_s))

    found = [
        SOCKET,
        Finding(kind="threads", line="one", until=until("one")),
        Finding(kind="threads", line="other", until=until("other")),
    ]
    wait_for_one(found, 7.0)

    assert waited == [("one", 7.0)]


# --- a detection ---------------------------------------------------------------------------------------------------


class FakeWatcher:
    def __init__(self, *found: Finding, raises: str = "") -> None:
        self.what = "the moon" if raises else "the sun"
        self.kinds = tuple({one.kind for one in found}) or KINDS
        self.found = list(found)
        self.raises = raises
        self.began = 0

    def begin(self) -> None:
        self.began += 1
        if self.raises == "begin":
            raise OSError("clouds")

    def beyond(self) -> list[Finding]:
        if self.raises == "beyond":
            raise OSError("clouds")
        return self.found


def detection(*watchers: FakeWatcher, watch: tuple[str, ...] = KINDS, ignore: tuple[str, ...] = ()) -> Detection:
    made = Detection("tests/x.py::test_it", list(watchers), watch=watch, ignore=ignore)
    made.begin()
    return made


def test_lines_are_told_by_kind_in_the_order_of_kinds() -> None:
    found = detection(FakeWatcher(VARIABLE), FakeWatcher(SOCKET), FakeWatcher(THREAD)).end(0.0)

    assert found == ["thread", "socket", "variable"]


@pytest.mark.parametrize("at", ["begin", "beyond"])
def test_a_watcher_that_cannot_look_is_told_and_the_others_are_heard(at: str) -> None:
    found = detection(FakeWatcher(raises=at), FakeWatcher(VARIABLE)).end(0.0)

    assert found == ["variable", "could not look at the moon: OSError: clouds"]


def test_a_check_names_the_test_and_raises_what_is_there_now() -> None:
    watcher = FakeWatcher(VARIABLE)
    made = detection(watcher)

    with pytest.raises(IsolationError) as caught:
        made.check()
    watcher.found.clear()
    made.check()

    assert caught.value.test == "tests/x.py::test_it"
    assert caught.value.problems == ("variable",)


def test_a_check_tells_what_it_cannot_look_at() -> None:
    with pytest.raises(IsolationError, match="could not look at the moon"):
        detection(FakeWatcher(raises="beyond")).check()


def test_what_is_doubtful_is_warned_of_with_the_test_and_fails_nothing() -> None:
    made = detection(FakeWatcher(DOUBTFUL))

    made.check()
    with pytest.warns(ContaminationWarning, match="tests/x.py::test_it: block"):
        assert made.end(0.0) == []
    assert made.warnings == ("block",)


def test_what_is_ignored_is_neither_told_nor_waited_for() -> None:
    assert detection(FakeWatcher(THREAD, VARIABLE), ignore=("^thr", "riab")).end(60.0) == []


def test_only_the_kinds_that_are_watched_are_told() -> None:
    assert detection(FakeWatcher(THREAD, SOCKET), watch=("sockets",)).end(0.0) == ["socket"]


def test_a_watcher_of_other_kinds_is_not_even_asked() -> None:
    watcher = FakeWatcher(VARIABLE, raises="begin")

    assert detection(watcher, watch=("threads",)).end(0.0) == []
    assert watcher.began == 0


# --- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"ignore": ("(",)}, r"ignore: '\(' is no regular expression .*; to mean the text itself, use re\.escape"),
        ({"ignore": "thread"}, r"ignore = 'thread': expected a sequence of texts, such as "),
        ({"ignore": (1,)}, r"ignore = \(1,\): expected a sequence of texts"),
        ({"watch": ("thread",)}, "watch: unknown kind 'thread': expected some of threads, processes, "),
        ({"watch": ()}, "watch is empty, so nothing would be looked for"),
        ({"watch": None}, "watch = None: expected a sequence of texts"),
        ({"modules": ("no_such_module",)}, "modules: there is no module 'no_such_module' to be imported"),
        ({"modules": ("no_such.module",)}, "modules: there is no module 'no_such.module' to be imported"),
        ({"modules": ("",)}, "modules: there is no module '' to be imported"),
        ({"settle_s": -1}, "settle_s = -1: expected a time in seconds, 0 or more"),
        ({"settle_s": float("nan")}, "settle_s = nan: expected a time"),
        ({"settle_s": float("inf")}, "settle_s = inf: expected a time"),
        ({"settle_s": True}, "settle_s = True: expected a time"),
        ({"settle_s": "1"}, "settle_s = '1': expected a time"),
    ],
)
def test_an_option_that_makes_no_sense_is_told_with_what_would(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        resolve("contamination_detection", given)


def test_all_problems_are_told_at_once() -> None:
    assert len(Options(ignore=("(", ")"), watch=("x",), settle_s=-1, modules=("no_such_module",)).problems()) == 5


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"ignore": ["^x"], "watch": ["threads"], "modules": ["json"]},
        {"settle_s": 0},
        {"modules": ()},
        {"ignore": ()},
    ],
)
def test_options_that_make_sense_have_no_problem(given: dict[str, Any]) -> None:
    assert Options(**given).problems() == []
