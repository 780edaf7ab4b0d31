"""What is told of a difference, part by part: pure functions, driven without anything that could leak."""

import logging
import random
import types
from collections.abc import Hashable, Mapping
from typing import Any

import pytest

from poolproof.isolation.contamination import (
    attributes,
    descriptors,
    environment,
    family,
    handlers,
    shared,
    tasks,
    temporary,
    threads,
)
from poolproof.isolation.contamination.audit import Birth, born_at
from poolproof.isolation.contamination.descriptors import Open
from poolproof.isolation.contamination.family import Relative
from poolproof.isolation.contamination.findings import KINDS, Finding
from poolproof.isolation.contamination.shared import Block
from poolproof.isolation.contamination.tasks import Pending
from poolproof.isolation.contamination.temporary import Left
from poolproof.isolation.contamination.threads import Running
from poolproof.isolation.lines import Line, described, shortened
from poolproof.processes import Process, children, shared_mappings

SOMEWHERE = "tests/x.py:30 in test_it"


def lines(found: list[Finding]) -> list[str]:
    assert all(one.kind in KINDS for one in found)
    return [one.line for one in found]


# --- threads -------------------------------------------------------------------------------------------------------


def test_a_new_thread_is_told_with_all_that_is_known_of_it() -> None:
    leaky = Running(name="leaky", daemon=True, at="tests/x.py:12 work", started=SOMEWHERE)

    assert lines(threads.find({1}, {1: Running(name="old"), 2: leaky})) == [
        "thread 'leaky' (daemon) is still running tests/x.py:12 work; started at tests/x.py:30 in test_it"
    ]


def test_a_thread_of_which_nothing_else_is_known_is_told_by_its_name() -> None:
    assert lines(threads.find(set(), {1: Running(name="t")})) == ["thread 't' is still running"]


def test_the_kits_own_threads_are_not_told() -> None:
    assert threads.find(set(), {1: Running(name="poolproof teardown: closing")}) == []


# --- processes -----------------------------------------------------------------------------------------------------


def process(pid: int, *, ppid: int = 1, state: str = "S") -> Process:
    return Process(pid=pid, ppid=ppid, start_time=7, state=state, name="python", threads=1, cpu_ticks=0)


@pytest.mark.parametrize(
    ("parent", "whose"),
    [
        (10, "a child of the test's process"),
        (12, "a child of process 12"),
        (None, "an orphan, whose parent is gone"),
    ],
)
def test_a_new_process_is_told_with_its_parent(parent: int | None, whose: str) -> None:
    relative = Relative(process=process(11), command="sleep 60", parent=parent, started=SOMEWHERE)

    (found,) = family.find(set(), {11: relative}, own_pid=10)

    assert found.kind == "processes"
    assert found.line == f"process 11 'sleep 60', {whose}, is still running; started at {SOMEWHERE}"


def test_a_zombie_is_of_another_kind() -> None:
    (found,) = family.find(set(), {11: Relative(process=process(11, state="Z"), parent=10)}, own_pid=10)

    assert found.kind == "zombies"
    assert found.line == "zombie: process 11 'python', a child of the test's process, has ended and was not waited for"


def test_a_process_that_was_there_before_is_not_told_whatever_became_of_it() -> None:
    assert family.find({11}, {11: Relative(process=process(11, state="Z"))}, own_pid=10) == []


def test_what_is_gone_has_neither_children_nor_memory() -> None:
    beyond_the_most_that_linux_gives_out = (1 << 22) + 1

    assert children(beyond_the_most_that_linux_gives_out) == []
    assert shared_mappings(beyond_the_most_that_linux_gives_out) == {}


# --- which line started a process ----------------------------------------------------------------------------------


def birth(tick: int, number: int, *command: str) -> Birth:
    return Birth(tick, command or None, Line("tests/x.py", number, "t"))


def test_a_process_is_of_the_last_event_before_it() -> None:
    births = [birth(100, 1), birth(110, 2), birth(130, 3)]

    assert born_at(births, 112, "python") == "tests/x.py:2 in t"


def test_of_several_events_it_is_of_the_one_with_its_command() -> None:
    births = [birth(110, 1, "sleep", "1"), birth(110, 2, "sleep", "2"), birth(110, 3)]

    assert born_at(births, 110, "sleep 1") == "tests/x.py:1 in t"


def test_where_nothing_tells_them_apart_all_lines_are_told() -> None:
    assert born_at([birth(110, 1), birth(110, 2)], 110, "python") == "tests/x.py:1 in t or tests/x.py:2 in t"


def test_an_event_that_is_long_past_started_no_child() -> None:
    assert born_at([birth(100, 1)], 1000, "python") == ""


def test_an_orphan_may_have_come_long_after_the_event() -> None:
    assert born_at([birth(100, 1)], 1000, "python", is_child=False) == "tests/x.py:1 in t"


def test_nothing_is_told_of_a_process_that_came_before_all_events() -> None:
    assert born_at([birth(100, 1)], 90, "python") == ""


def test_an_event_without_a_line_of_its_own_tells_nothing() -> None:
    assert born_at([Birth(100, None, None)], 100, "python") == ""


# --- descriptors and sockets ---------------------------------------------------------------------------------------


def test_a_new_descriptor_is_told_with_its_target() -> None:
    now = {3: Open(identity=(1, 1), target="/a"), 4: Open(identity=(1, 2), target="/b", opened=SOMEWHERE)}

    assert lines(descriptors.find({3: now[3]}, now)) == [f"descriptor 4 -> /b is still open; opened at {SOMEWHERE}"]


def test_a_new_socket_is_told_with_its_addresses() -> None:
    (found,) = descriptors.find({}, {4: Open(identity=(1, 2), target="socket:[2]", detail="AF_UNIX /s")})

    assert (found.kind, found.line) == ("sockets", "socket 4 (AF_UNIX /s) -> socket:[2] is still open")


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (Open(identity=(1, 1), target="/a"), Open(identity=(1, 2), target="/b")),
        (Open(identity=(8, 1), target="pipe:[1]"), Open(identity=(8, 2), target="pipe:[2]")),
        (Open(identity=(9, 1), target="anon_inode:[eventfd]"), Open(identity=(9, 1), target="anon_inode:[eventpoll]")),
    ],
)
def test_a_descriptor_that_points_elsewhere_is_told_with_both(was: Open, now: Open) -> None:
    assert lines(descriptors.find({5: was}, {5: now})) == [
        f"descriptor 5 -> {now.target} took the place of what was there before: {was.target}"
    ]


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (Open(identity=(1, 1), target="/a"), Open(identity=(1, 1), target="/a (deleted)")),
        (Open(identity=(1, 1), target="/a"), Open(identity=(1, 1), target="/renamed")),
        (Open(identity=(1, 1), target="/a"), Open(identity=(1, 2), target="/a")),
    ],
)
def test_a_file_that_was_removed_renamed_or_opened_again_is_the_same(was: Open, now: Open) -> None:
    assert descriptors.find({5: was}, {5: now}) == []


def test_a_descriptor_that_is_gone_is_not_told() -> None:
    assert descriptors.find({5: Open(identity=(1, 1), target="/a")}, {}) == []


def test_what_a_process_has_once_is_spared() -> None:
    now = {5: Open(identity=(1, 1), target="pipe:[1]"), 6: Open(identity=(1, 2), target="/dev/urandom")}

    assert descriptors.find({}, now, spared={5}) == []


# --- shared memory and semaphores ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "kind", "line"),
    [
        (
            Block(path="/dev/shm/psm_1", size=9, made=SOMEWHERE, seen=True),
            "shared_memory",
            f"shared memory block /dev/shm/psm_1 of 9 bytes still exists; made at {SOMEWHERE}",
        ),
        (
            Block(path="/dev/shm/psm_1", size=9, held="process 4, which the test started"),
            "shared_memory",
            "shared memory block /dev/shm/psm_1 of 9 bytes still exists, held by process 4, which the test started",
        ),
        (
            Block(path="/dev/shm/sem.x", size=32, held="the test's process"),
            "semaphores",
            "semaphore /dev/shm/sem.x still exists, held by the test's process",
        ),
        (
            Block(path="/dev/shm/sem.x", named=False, held="the test's process"),
            "semaphores",
            "semaphore /dev/shm/sem.x was unlinked and is still there, held by the test's process",
        ),
    ],
)
def test_a_new_block_is_told_with_what_shows_that_it_is_the_tests(block: Block, kind: str, line: str) -> None:
    (found,) = shared.find(set(), {7: block})

    assert (found.kind, found.line, found.certain) == (kind, line, True)


def test_a_block_without_any_evidence_is_told_with_the_doubt_and_not_waited_for() -> None:
    (found,) = shared.find(set(), {7: Block(path="/dev/shm/psm_1", size=9)})

    assert not found.certain
    assert found.lasting
    assert found.line == (
        "shared memory block /dev/shm/psm_1 of 9 bytes still exists; nothing tells whether this test made it or "
        "another process of the same user"
    )


def test_blocks_that_were_there_or_are_spared_are_not_told() -> None:
    block = Block(path="/dev/shm/psm_1", seen=True)

    assert shared.find({7}, {7: block, 8: block}, spared={8}) == []


@pytest.mark.parametrize(
    ("mounts", "is_counted"),
    [
        (["tmpfs /dev/shm tmpfs rw 0 0"], True),
        (["tmpfs /dev/shm tmpfs rw 0 0", "none /dev/shm ext4 rw 0 0"], False),
        (["overlay / overlay rw 0 0"], False),
        ([], False),
        (["broken"], False),
    ],
)
def test_inodes_are_counted_where_the_last_mount_is_a_tmpfs(mounts: list[str], is_counted: bool) -> None:
    assert shared.numbers_in_turn(mounts, release="6.1.0-13-amd64") is is_counted


@pytest.mark.parametrize(
    ("release", "is_counted"), [("5.8.0", False), ("5.9", True), ("5.10.1", True), ("4.19", False)]
)
def test_inodes_are_counted_since_linux_5_9(release: str, is_counted: bool) -> None:
    assert shared.numbers_in_turn(["tmpfs /dev/shm tmpfs rw 0 0"], release=release) is is_counted


# --- temporary files, tasks, environment ---------------------------------------------------------------------------


def test_what_is_left_is_told_with_who_made_it() -> None:
    left = [Left(path="/tmp/a", made=SOMEWHERE), Left(path="/tmp/b", what="folder")]

    assert lines(temporary.find(left)) == [
        f"temporary file /tmp/a was not removed; made at {SOMEWHERE}",
        "temporary folder /tmp/b was not removed",
    ]


def test_a_new_task_is_told_with_where_it_waits() -> None:
    now: dict[Hashable, Pending] = {
        1: Pending(name="old"),
        2: Pending(name="stuck", at="tests/x.py:9 work", loop="a loop that is closed"),
    }

    assert lines(tasks.find({1}, now)) == [
        "asyncio task 'stuck' is pending in tests/x.py:9 work, on a loop that is closed"
    ]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({}, {"A": "x"}, f"environment variable A was set to 'x'; set at {SOMEWHERE}"),
        ({"A": "secret"}, {"A": "x"}, f"environment variable A was changed to 'x'; set at {SOMEWHERE}"),
        ({"A": "secret"}, {}, "environment variable A was removed"),
    ],
)
def test_a_variable_is_told_without_the_value_that_it_had(
    before: Mapping[str, str], after: Mapping[str, str], line: str
) -> None:
    assert lines(environment.find(before, after, origins={"A": SOMEWHERE})) == [line]


def test_what_pytest_says_of_the_phase_of_a_test_is_no_change() -> None:
    assert environment.find({"PYTEST_CURRENT_TEST": "t (setup)"}, {"PYTEST_CURRENT_TEST": "t (teardown)"}) == []


# --- handlers ------------------------------------------------------------------------------------------------------


def handler(*_: object) -> None:
    """Stands for one of a test's own."""


def test_another_handler_of_a_signal_is_told_with_both() -> None:
    (line,) = lines(handlers.find_signals({2: 0, 10: None}, {2: handler, 10: None}))

    assert line.startswith("signal SIGINT is handled by tests/unit/isolation/test_contamination.py:")
    assert line.endswith(" handler; it was by SIG_DFL")


def test_a_handler_that_is_not_pythons_is_told_as_such() -> None:
    assert lines(handlers.find_signals({2: None}, {2: 1})) == [
        "signal SIGINT is handled by SIG_IGN; it was by code that is not Python's"
    ]


def test_a_new_logging_handler_is_told_with_its_logger() -> None:
    old, new = logging.Handler(), logging.Handler()

    assert lines(handlers.find_logging({"root": (old,)}, {"root": (old, new), "a.b": (new,)})) == [
        "logging handler <Handler (NOTSET)> is left on logger 'root'",
        "logging handler <Handler (NOTSET)> is left on logger 'a.b'",
    ]


def test_a_logging_handler_in_the_place_of_another_is_told() -> None:
    assert len(handlers.find_logging({"root": (logging.Handler(),)}, {"root": (logging.Handler(),)})) == 1


def test_logging_handlers_that_are_gone_or_do_nothing_are_not_told() -> None:
    assert handlers.find_logging({"root": (logging.Handler(),)}, {"library": (logging.NullHandler(),)}) == []


def test_what_a_library_hangs_on_its_own_logger_as_it_is_imported_is_not_told() -> None:
    now = {"library": (logging.Handler(),)}

    assert handlers.find_logging({}, now, imported={"library"}) == []


# --- attributes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"a": 1}, {"a": 2}, ["attribute m.a is patched: it is 2 and was 1"]),
        ({"a": 1}, {}, ["attribute m.a was deleted; it was 1"]),
        ({}, {"a": 1}, ["attribute m.a was added: 1"]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
        ({"_count": 1}, {"_count": 2}, []),
        ({"_seen": None}, {}, []),
    ],
)
def test_an_attribute_is_told_that_a_test_has_changed(
    before: dict[str, Any], after: dict[str, Any], told: list[str]
) -> None:
    assert lines(attributes.find({"m": before}, {"m": after})) == told


def test_a_private_function_that_is_replaced_is_told() -> None:
    (line,) = lines(attributes.find({"m": {"_f": handler}}, {"m": {"_f": lines}}))

    assert line.startswith("attribute m._f is patched: it is tests/unit/isolation/test_contamination.py:")


def test_an_equal_value_that_is_another_object_is_told() -> None:
    assert len(attributes.find({"m": {"a": [1]}}, {"m": {"a": [1]}})) == 1


def test_a_submodule_that_was_imported_is_no_patch() -> None:
    import collections.abc

    assert attributes.find({"collections": {}}, {"collections": {"abc": collections.abc}}) == []


def test_a_module_in_the_place_of_another_is_a_patch() -> None:
    assert len(attributes.find({"m": {"a": random}}, {"m": {"a": types}})) == 1


def test_a_function_of_c_that_a_module_looks_up_when_it_first_needs_it_is_no_patch() -> None:
    assert attributes.find({"m": {"_sha512": None}}, {"m": {"_sha512": len}}) == []


@pytest.mark.parametrize(("name", "was"), [("sha512", None), ("_sha512", abs)])
def test_a_function_of_c_in_the_place_of_something_else_is_a_patch(name: str, was: object) -> None:
    assert len(attributes.find({"m": {name: was}}, {"m": {name: len}})) == 1


def test_what_a_module_defines_when_it_is_first_needed_is_no_patch() -> None:
    class Late:
        pass

    Late.__module__ = "m"

    assert attributes.find({"m": {}}, {"m": {"Late": Late}}) == []


@pytest.mark.parametrize(("module", "name"), [("sys", "last_exc"), ("sys", "last_value"), ("builtins", "_")])
def test_where_the_interpreter_keeps_the_last_value_is_no_patch(module: str, name: str) -> None:
    assert attributes.find({module: {}}, {module: {name: 1}}) == []


def test_pytests_own_hooks_may_take_each_others_place() -> None:
    def one() -> None: ...
    def other() -> None: ...

    one.__module__ = other.__module__ = "_pytest.hooks"

    assert attributes.find({"sys": {"unraisablehook": one}}, {"sys": {"unraisablehook": other}}) == []
    assert len(attributes.find({"sys": {"unraisablehook": one}}, {"sys": {"unraisablehook": handler}})) == 1


# --- words ---------------------------------------------------------------------------------------------------------


def test_code_is_told_by_where_it_is_written() -> None:
    assert described(handler).startswith("tests/unit/isolation/test_contamination.py:")
    assert described(handler).endswith(" handler")


def test_an_object_whose_representation_raises_is_told_by_its_type() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ValueError("no")

    assert described(Broken()) == "<Broken whose representation raises ValueError>"


def test_a_long_text_is_cut_and_stays_on_one_line() -> None:
    assert shortened("a\n  b") == "a b"
    assert shortened("x" * 100) == "x" * 79 + "…"
