"""What a function does in a child of its own stays there, and everything that it started ends with it."""

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from poolproof import processes
from poolproof.errors import UsageError
from poolproof.isolation import isolated, scene_of
from poolproof.isolation.child import ChildError
from poolproof.isolation.full import FullIsolation
from tests.integration.isolation import deeds

pytestmark = pytest.mark.layer(2)  # it is about real processes

SHORT_S = 2.0
"""Enough for the child to begin, on a machine that has other things to do."""


@pytest.fixture
def context() -> Iterator[FullIsolation]:
    with isolated("full_isolation", scene=scene_of("t", seed=1)) as context:
        yield context


def test_what_the_function_returns_comes_back(context: FullIsolation) -> None:
    assert context.in_child(deeds.add, 1, 2) == 3


def test_a_result_may_be_of_any_size(context: FullIsolation) -> None:
    assert len(context.in_child(deeds.big, 10_000_000)) == 10_000_000


def test_it_has_a_session_of_its_own_and_orphans_come_to_it(context: FullIsolation) -> None:
    pid, session, adopts = context.in_child(deeds.who)
    assert pid == session != os.getpid()
    assert adopts


def test_this_process_is_no_subreaper_after_it(context: FullIsolation) -> None:
    context.in_child(deeds.add, 1, 2)
    assert not deeds.adopts()


def test_a_limit_that_it_lowers_is_its_own(context: FullIsolation) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert context.in_child(deeds.limit) == (64, 64)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_it_runs_in_the_same_directory_with_the_same_environment(
    context: FullIsolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POOLPROOF_OWN", "1")
    assert context.in_child(deeds.here) == (str(tmp_path), "1")


def test_what_it_raises_is_raised_here_with_its_traceback_there(context: FullIsolation) -> None:
    with pytest.raises(KeyError, match="no such key") as raised:
        context.in_child(deeds.fail, "no such key")
    assert "deeds.py" in raised.value.__notes__[0]


def test_what_it_raises_is_told_where_it_cannot_be_brought_here(context: FullIsolation) -> None:
    with pytest.raises(ChildError, match=r"it raised what can't be brought here:\n(.*\n)*.*BeUnpickledError: both"):
        context.in_child(deeds.fail_without_a_way_back)


def test_a_result_that_cannot_be_pickled_is_told(context: FullIsolation) -> None:
    with pytest.raises(UsageError, match=r"its result can't be pickled: function: .*; return plain values"):
        context.in_child(deeds.return_a_lambda)


@pytest.mark.parametrize(("status", "told"), [(3, 3), (None, 0), (0, 0), ("a text", 1), (256 + 7, 7)])
def test_a_function_that_exits_is_told_with_its_status(context: FullIsolation, status: object, told: int) -> None:
    with pytest.raises(ChildError, match=f"ended with exit status {told} before it returned") as raised:
        context.in_child(deeds.leave, status)
    assert raised.value.ended == f"exit status {told}"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_function_whose_process_dies_is_told_with_the_signal(context: FullIsolation, number: signal.Signals) -> None:
    with pytest.raises(ChildError) as raised:
        context.in_child(deeds.die, number)
    assert raised.value.ended == number.name
    assert raised.value.function.endswith("deeds:die")
    assert not raised.value.hung


def test_a_function_that_hangs_is_killed_with_its_stack_told(context: FullIsolation) -> None:
    with pytest.raises(ChildError, match="it had not returned after 2 s, and was killed; it was in") as raised:
        context.in_child(deeds.hang_here, timeout_s=SHORT_S)
    assert raised.value.hung
    assert "in hang_here" in raised.value.stacks
    assert "in hang_here" in str(raised.value)


def test_a_function_that_blocks_every_signal_is_killed(context: FullIsolation) -> None:
    with pytest.raises(ChildError) as raised:
        context.in_child(deeds.hang_and_block_signals, timeout_s=SHORT_S)
    assert raised.value.hung


def test_a_function_that_stopped_its_process_and_cannot_tell_its_stack_is_killed(context: FullIsolation) -> None:
    with pytest.raises(ChildError) as raised:
        context.in_child(deeds.stop, timeout_s=SHORT_S)
    assert raised.value.hung
    assert raised.value.stacks == ""


def test_a_thread_that_it_leaves_does_not_keep_it(context: FullIsolation) -> None:
    assert context.in_child(deeds.leave_a_thread, timeout_s=20) == "done"


@pytest.mark.parametrize("how", ["child", "session", "orphan"])
def test_what_it_started_and_left_is_ended_without_a_word(context: FullIsolation, tmp_path: Path, how: str) -> None:
    assert context.in_child(deeds.start, str(tmp_path / "pid"), how) == how
    assert is_gone(tmp_path / "pid")


@pytest.mark.parametrize("how", ["child", "session", "orphan"])
def test_what_it_started_is_ended_though_its_process_died(context: FullIsolation, tmp_path: Path, how: str) -> None:
    with pytest.raises(ChildError, match="SIGKILL"):
        context.in_child(deeds.start_and_die, str(tmp_path / "pid"), how)
    assert is_gone(tmp_path / "pid")


def test_what_it_started_is_ended_though_it_hung(context: FullIsolation, tmp_path: Path) -> None:
    with pytest.raises(ChildError, match="killed"):
        context.in_child(deeds.start_and_hang, str(tmp_path / "pid"), "orphan", timeout_s=SHORT_S)
    assert is_gone(tmp_path / "pid")


def test_a_warden_that_was_killed_is_told_and_takes_the_function_along(context: FullIsolation, tmp_path: Path) -> None:
    with pytest.raises(ChildError, match="its warden died or hung"):
        context.in_child(deeds.kill_the_warden, str(tmp_path / "pid"))
    handle = processes.Handle.open(int((tmp_path / "pid").read_text()))
    if handle is not None:
        assert handle.wait_gone(20)
        handle.close()


def test_an_interrupt_ends_the_child_before_it_is_raised(
    context: FullIsolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        """A poller that is interrupted as soon as the child has begun."""

        def register(self, *_: object) -> None: ...

        def poll(self, _: float) -> None:
            with open(tmp_path / "pid") as begun:  # a pipe: it opens once the child has opened it too
                begun.read()
            raise KeyboardInterrupt

    os.mkfifo(tmp_path / "pid")
    before = processes.descendants(os.getpid(), processes.everyone()).keys()
    with monkeypatch.context() as patch:
        patch.setattr("poolproof.isolation.child.select.poll", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            context.in_child(deeds.tell_and_hang, str(tmp_path / "pid"))
    assert processes.descendants(os.getpid(), processes.everyone()).keys() == before


def test_what_it_writes_goes_where_the_test_writes(context: FullIsolation, capfd: pytest.CaptureFixture[str]) -> None:
    context.in_child(deeds.say, "heard")
    assert capfd.readouterr().out == "heard"


def test_it_leaves_no_descriptor_open(context: FullIsolation) -> None:
    before = processes.open_files()
    context.in_child(deeds.add, 1, 2)
    with pytest.raises(ChildError):
        context.in_child(deeds.die, signal.SIGKILL)
    assert processes.open_files().keys() == before.keys()


def test_a_folder_that_even_its_owner_may_not_enter_is_removed(context: FullIsolation) -> None:
    was_forbidden, folder = context.in_child(deeds.remove_as_nobody)
    assert was_forbidden
    assert not Path(folder).exists()


def is_gone(report: Path) -> bool:
    """Whether the process whose pid a file tells is dead."""
    process = processes.look_up(int(report.read_text()))
    return process is None or process.state == "Z"
