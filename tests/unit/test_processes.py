import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof import processes
from poolproof.processes import Handle, Process, descendants, parse_stat

NO_SUCH_PID = (1 << 22) + 1
"""Beyond the most that Linux gives out."""


def stat_line(pid: int = 42, name: bytes = b"python", state: str = "S") -> bytes:
    fields = [state, "7", "8", *("0" for _ in range(8)), "30", "12", *("0" for _ in range(4)), "5", "0", "99887"]
    return b"%d (%s) %s 0 0 0\n" % (pid, name, " ".join(fields).encode())


def process(pid: int, ppid: int) -> Process:
    return Process(pid=pid, ppid=ppid, start_time=pid, state="S", name="p", threads=1, cpu_ticks=0)


def test_a_stat_line_is_read_field_by_field() -> None:
    assert parse_stat(stat_line()) == Process(
        pid=42, ppid=7, start_time=99887, state="S", name="python", threads=5, cpu_ticks=42
    )


@pytest.mark.parametrize("name", ["(sd-pam)", "a) S 1 2 (b", "two words", "", ")", "((", "ends in )"])
def test_a_name_may_hold_parentheses_and_spaces(name: str) -> None:
    found = parse_stat(stat_line(name=name.encode()))
    assert (found.name, found.state, found.start_time) == (name, "S", 99887)


@given(st.binary(max_size=15))
def test_a_name_may_hold_any_byte(name: bytes) -> None:
    assert parse_stat(stat_line(name=name)).ppid == 7


def test_a_life_is_named_by_pid_and_start_time() -> None:
    assert parse_stat(stat_line()).identity == (42, 99887)


def test_descendants_are_children_and_their_children_without_the_root() -> None:
    among = {p.pid: p for p in (process(1, 0), process(2, 1), process(3, 2), process(4, 3), process(9, 8))}
    assert sorted(descendants(2, among)) == [3, 4]


def test_a_process_without_children_has_no_descendants() -> None:
    assert descendants(2, {2: process(2, 1)}) == {}


def test_a_process_that_names_itself_as_its_parent_does_not_loop() -> None:
    assert sorted(descendants(1, {1: process(1, 1), 2: process(2, 1)})) == [1, 2]


@given(st.dictionaries(st.integers(1, 30), st.integers(0, 30)))
def test_descendants_are_those_whose_chain_of_parents_leads_to_the_root(parents: dict[int, int]) -> None:
    def leads_to_root(pid: int) -> bool:
        for _ in range(len(parents) + 1):
            parent = parents.get(pid)
            if parent is None:
                return False
            if parent == 5:
                return True
            pid = parent
        return False

    found = descendants(5, {pid: process(pid, ppid) for pid, ppid in parents.items()})
    assert set(found) == {pid for pid in parents if leads_to_root(pid)}


def test_one_finds_oneself() -> None:
    found = processes.look_up(os.getpid())
    assert found is not None
    assert found.ppid == os.getppid()


def test_nobody_is_found_under_a_pid_that_does_not_exist() -> None:
    assert processes.look_up(NO_SUCH_PID) is None


def test_everyone_includes_oneself() -> None:
    assert os.getpid() in processes.everyone()


def test_what_is_gone_has_neither_memory_nor_command_nor_files_nor_environment() -> None:
    assert processes.memory_bytes(NO_SUCH_PID) == 0
    assert processes.command_line(NO_SUCH_PID) == ""
    assert processes.open_files(NO_SUCH_PID) == {}
    assert not processes.carries_environment(NO_SUCH_PID, "HOME")


def test_memory_is_told_in_bytes() -> None:
    assert processes.memory_bytes(os.getpid()) > 1 << 20


def test_a_variable_is_found_by_its_whole_name() -> None:
    name = next(entry for entry in os.environ if len(entry) > 1)
    assert processes.carries_environment(os.getpid(), name) or name not in os.environ
    assert not processes.carries_environment(os.getpid(), name[:-1] + "\1")


def test_there_is_no_handle_on_a_pid_that_does_not_exist() -> None:
    assert Handle.open(NO_SUCH_PID) is None


def test_there_is_no_handle_on_another_life_of_a_pid() -> None:
    assert Handle.open(os.getpid(), start_time=1) is None


def test_a_refused_handle_leaves_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    Handle.open(os.getpid(), start_time=1)
    assert os.listdir("/proc/self/fd") == before


def test_a_handle_on_a_living_process_tells_that_it_lives() -> None:
    me = processes.look_up(os.getpid())
    assert me is not None
    handle = Handle.open(*me.identity)
    assert handle is not None
    lives = (handle.gone, handle.state() in ("R", "S"), handle.wait_stopped(0))
    handle.close()
    assert lives == (False, True, False)
