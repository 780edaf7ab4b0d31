"""The keeper of a test process: whatever becomes of that process, nothing is left of what it started."""

import contextlib
import fcntl
import os
import pty
import re
import secrets
import select
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from textwrap import dedent

import pytest

from poolproof import processes
from poolproof.clock import now_ns
from poolproof.errors import PlatformError, UsageError
from poolproof.rig.keeper import Guardian, guardian
from poolproof.waiting import wait_for

pytestmark = [pytest.mark.layer(2), pytest.mark.timeout(60)]

LONG_S = 15.0
GONE_WITHIN_S = 2.0

OPENS_A_POOL = """
    from sessionpool import SessionPool
    pool = SessionPool(max_workers=2, preload=())
    pool.wait_for(lambda seen: seen.ready >= 2, timeout=15)
    workers = [processes.Handle.open(pool.submit(os.getpid).result(15))]
"""
STOPS_A_WORKER = """
    assert keeper.record(workers[0])
    workers[0].send(signal.SIGSTOP)
    assert workers[0].wait_stopped(15)
"""
FORKS_A_POOL = """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    pool = ProcessPoolExecutor(2, get_context("fork"))
    workers = [processes.Handle.open(pool.submit(os.getpid).result(15)) for _ in range(6)]
"""
SAYS_SO = """
    tell("ready")
    hear()
"""


class TestProcess:
    """A process in which a test might run: it is told what to do by a script, and says when that is done."""

    __test__ = False

    def __init__(self, script: str, *, under: str = "", **popen: object) -> None:
        self.mark = f"POOLPROOF_TEST_{secrets.token_hex(8)}"
        text = dedent(
            """
            import faulthandler, os, select, signal, sys, threading
            from pathlib import Path
            from poolproof import processes
            from poolproof.rig.keeper import guardian
            tell = lambda *words: print(*words, flush=True)
            hear = sys.stdin.readline
            if __name__ == "__main__":
                keeper = guardian()
                keeper.start()
                tell(keeper.pid)
            """
        ) + "".join(f"    {line}\n" for line in dedent(script).splitlines())
        self.process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
            [*under.split(), sys.executable, "-c", text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {self.mark: "1"},
            **popen,
        )
        found = processes.Handle.open(int(self.hear()))
        assert found is not None
        self.keeper = found

    def hear(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it said nothing; on its standard error: {self.stderr()}"
        return line.strip()

    def tell(self, line: str = "go on") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def everyone(self) -> list[processes.Process]:
        """Whoever it started, and whoever came of that."""
        found = processes.tagged(self.mark, processes.everyone().values()).values()
        return [it for it in found if it.pid != self.process.pid and it.state not in "ZX"]

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(LONG_S)

    def is_gone_within(self, seconds: float) -> bool:
        """Whether nobody is left in time, the keeper neither."""
        began = now_ns()
        ended = self.keeper.wait_gone(seconds)
        with contextlib.suppress(TimeoutError):
            wait_for(lambda: not self.everyone(), timeout=max(0.001, seconds - (now_ns() - began) / 1e9))
        return ended and not self.everyone()

    def stderr(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self.keeper.wait_gone(LONG_S)
        self.keeper.send(signal.SIGKILL)
        self.keeper.close()
        for each in self.everyone():
            os.kill(each.pid, signal.SIGKILL)


Begin = Callable[..., TestProcess]


@pytest.fixture
def begin() -> Iterator[Begin]:
    begun: list[TestProcess] = []

    def start(*scripts: str, **popen: object) -> TestProcess:
        begun.append(TestProcess("\n".join(dedent(script) for script in scripts), **popen))  # type: ignore[arg-type]
        return begun[-1]

    yield start
    for each in begun:
        each.end()


@pytest.fixture
def keeper() -> Iterator[Guardian]:
    """One of this process, apart from the one that the plugin has."""
    it = Guardian()
    it.start()
    yield it
    it.close()


@pytest.fixture
def sleeper() -> Iterator[processes.Handle]:
    """A process that may be stopped, and is nobody's worker."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        handle = processes.Handle.open(process.pid)
        assert handle is not None
        yield handle
        handle.close()
        process.kill()


def state_of(handle: processes.Handle, wanted: str) -> str:
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: handle.state() in wanted, timeout=GONE_WITHIN_S)
    return handle.state()


# --- the test process is killed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGSEGV])
@pytest.mark.parametrize("opens", [OPENS_A_POOL, FORKS_A_POOL], ids=["sessionpool", "forks"])
def test_nothing_of_a_pool_outlives_a_test_process_that_is_killed(
    opens: str, number: signal.Signals, begin: Begin, record_property: Callable[[str, object], None]
) -> None:
    it = begin(opens, STOPS_A_WORKER, SAYS_SO)
    it.hear()
    assert it.everyone()

    it.kill(number)
    began = now_ns()

    assert it.is_gone_within(GONE_WITHIN_S), it.everyone()
    record_property("gone after, s", (now_ns() - began) / 1e9)


def test_nor_one_that_leaves_by_os_exit(begin: Begin) -> None:
    it = begin(OPENS_A_POOL, STOPS_A_WORKER, "os._exit(1)")
    it.process.wait(LONG_S)

    assert it.is_gone_within(GONE_WITHIN_S), it.everyone()


def test_what_its_forks_started_is_found_when_they_are_gone(begin: Begin) -> None:
    it = begin(
        """
        if os.fork() == 0:
            if os.fork() == 0:
                os.setsid()
                tell("ready")
                select.select([], [], [])
            os._exit(0)
        """,
        SAYS_SO,
    )
    it.hear()
    it.hear()

    it.kill()

    assert it.is_gone_within(GONE_WITHIN_S), it.everyone()


def test_a_fork_that_forks_on_is_found_in_the_end(begin: Begin) -> None:
    it = begin(
        """
        if os.fork() == 0:
            tell("ready")
            while True:
                if os.fork():
                    select.select([], [], [], 0.01)
                    os._exit(0)
        hear()
        """
    )
    it.hear()

    it.kill()

    assert it.is_gone_within(GONE_WITHIN_S), it.everyone()


def test_a_process_that_it_stopped_is_continued(begin: Begin, sleeper: processes.Handle) -> None:
    it = begin(
        f"""
        workers = [processes.Handle.open({sleeper.process.pid})]
        """,
        STOPS_A_WORKER,
        SAYS_SO,
    )
    it.hear()
    assert state_of(sleeper, "T") == "T"

    it.kill()

    assert state_of(sleeper, "SR") in "SR"


def test_one_that_it_had_healed_is_not(begin: Begin, sleeper: processes.Handle) -> None:
    it = begin(
        f"""
        workers = [processes.Handle.open({sleeper.process.pid})]
        """,
        STOPS_A_WORKER,
        """
        keeper.healed(workers[0])
        """,
        SAYS_SO,
    )
    it.hear()
    it.kill()
    it.is_gone_within(GONE_WITHIN_S)

    assert sleeper.state() == "T"  # whoever stopped it now, it is none of the keeper's business


def test_a_folder_that_was_registered_is_removed(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "own" / "deeper").mkdir(parents=True)
    (tmp_path / "others").mkdir()
    it = begin(
        f"""
        keeper.add_folder(Path({str(tmp_path)!r}, "own"))
        keeper.add_folder(Path({str(tmp_path)!r}, "others"))
        keeper.remove_folder(Path({str(tmp_path)!r}, "others"))
        """,
        SAYS_SO,
    )
    it.hear()
    it.kill()
    it.is_gone_within(GONE_WITHIN_S)

    assert [path.name for path in tmp_path.iterdir()] == ["others"]


def test_a_test_process_that_became_another_program_is_watched_on(begin: Begin, tmp_path: Path) -> None:
    it = begin(
        """
        keeper.arm("a test", 0.6, grace_s=0)
        os.execv("/bin/sh", ["sh", "-c", "sleep 1000 & echo ready; wait"])
        """
    )
    it.hear()
    ended_early = it.keeper.wait_gone(1.0)
    it.kill()

    assert not ended_early
    assert it.is_gone_within(GONE_WITHIN_S), it.everyone()


# --- it ends ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaves", ["", "sys.exit(3)", "raise RuntimeError"])
def test_when_the_test_process_comes_to_its_end_so_does_the_keeper(leaves: str, begin: Begin) -> None:
    it = begin(leaves)
    it.process.wait(LONG_S)

    assert it.keeper.wait_gone(GONE_WITHIN_S)


def test_what_it_leaves_behind_on_purpose_then_lives_on(begin: Begin) -> None:
    it = begin('import subprocess; subprocess.Popen(["sleep", "1000"], stdout=2)')
    it.process.wait(LONG_S)
    it.keeper.wait_gone(LONG_S)

    assert [each.name for each in it.everyone()] == ["sleep"]


def test_what_is_stopped_then_is_continued(keeper: Guardian, sleeper: processes.Handle) -> None:
    keeper.record(sleeper)
    sleeper.send(signal.SIGSTOP)
    sleeper.wait_stopped(LONG_S)

    keeper.close()

    assert state_of(sleeper, "SR") in "SR"


def test_a_folder_that_is_still_there_then_is_removed(keeper: Guardian, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    keeper.add_folder(tmp_path / "own")

    keeper.close()

    assert not (tmp_path / "own").exists()


def test_the_close_leaves_no_descriptor_no_thread_and_no_variable() -> None:
    before = processes.open_files(), threading.active_count(), dict(os.environ)
    it = Guardian()
    it.start()
    it.close()

    assert (processes.open_files(), threading.active_count(), dict(os.environ)) == before


def test_it_may_be_closed_again_and_started_anew(keeper: Guardian) -> None:
    keeper.close()
    keeper.close()
    keeper.start()

    assert keeper.pid is not None


def test_one_that_was_never_started_closes() -> None:
    it = Guardian()
    it.close()

    assert it.pid is None


# --- it disturbs nobody -----------------------------------------------------------------------------------------


def test_it_is_no_child_and_nothing_below(keeper: Guardian) -> None:
    assert keeper.pid not in processes.offspring(os.getpid())


def test_a_test_that_waits_for_all_children_does_not_wait_for_it(begin: Begin) -> None:
    it = begin(
        """
        try:
            os.wait()
        except ChildProcessError:
            tell("no child")
        hear()
        """
    )

    assert it.hear() == "no child"


def test_a_test_process_is_no_subreaper(begin: Begin) -> None:
    it = begin(
        """
        import ctypes
        flag = ctypes.c_int(7)
        ctypes.CDLL(None).prctl(37, ctypes.byref(flag), 0, 0, 0)
        tell(flag.value)
        hear()
        """
    )

    assert it.hear() == "0"


def test_a_pipe_that_was_inheritable_is_not_held_open(keeper: Guardian) -> None:
    keeper.close()
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    keeper.start()
    os.close(writer)

    assert select.select([reader], [], [], LONG_S)[0]
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_is_meant_for_the_test_process_does_not_end_it(number: signal.Signals, keeper: Guardian) -> None:
    assert keeper.pid is not None
    os.kill(keeper.pid, number)
    with subprocess.Popen(["sleep", "1000"]) as process:
        handle = processes.Handle.open(process.pid)
        assert handle is not None
        assert keeper.record(handle)
        handle.close()
        process.kill()

    assert keeper.starts == 1


def test_its_command_line_tells_whose_it_is(keeper: Guardian) -> None:
    assert keeper.pid is not None

    assert "poolproof/lab/boot.py guard" in processes.command_line(keeper.pid)


def test_it_loads_nothing_but_the_standard_library(keeper: Guardian) -> None:
    maps = Path(f"/proc/{keeper.pid}/maps").read_text(encoding="utf-8")

    assert "site-packages" not in maps


def test_of_the_environment_it_has_only_the_marks_of_those_around(
    keeper: Guardian, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper.close()
    monkeypatch.setenv("POOLPROOF_RUN_of_somebody", "1")
    keeper.start()
    shown = Path(f"/proc/{keeper.pid}/environ").read_bytes().split(b"\0")

    names = {entry.partition(b"=")[0].decode() for entry in shown if entry}
    assert "POOLPROOF_RUN_of_somebody" in names
    assert all(name.startswith("POOLPROOF_RUN_") and name != keeper.mark for name in names), names


def test_what_is_started_carries_its_mark(keeper: Guardian, sleeper: processes.Handle) -> None:
    # The kernel shows the environment of a new program a moment after it has begun.
    wait_for(lambda: processes.carries_environment(sleeper.process.pid, keeper.mark), timeout=LONG_S)


def test_a_test_that_clears_its_environment_has_the_mark_again_with_the_next_use(
    keeper: Guardian, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(keeper.mark)
    keeper.arm("a test", 100)
    keeper.disarm()

    assert keeper.mark in os.environ


def test_to_arm_and_disarm_costs_little(keeper: Guardian) -> None:
    took_ms = []
    for _ in range(500):
        began = now_ns()
        keeper.arm("a test", 100)
        keeper.disarm()
        took_ms.append((now_ns() - began) / 1e6)

    assert median(took_ms) < 0.2


def test_many_threads_may_use_it_at_once(keeper: Guardian, sleeper: processes.Handle) -> None:
    answers: list[bool] = []

    def use() -> None:
        for _ in range(30):
            answers.append(keeper.record(sleeper))
            keeper.healed(sleeper)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)

    assert answers == [True] * 120


# --- a test that hangs ------------------------------------------------------------------------------------------

ARMED = 'keeper.arm("tests/test_mine.py::test_it", 0.1, grace_s=0.1)'
ARMED_LONGER = ARMED.replace("0.1", "0.4")
HANGS = "threading.Lock().acquire(); lock = threading.Lock(); lock.acquire(); lock.acquire()"


def test_a_test_that_exceeds_its_bound_is_ended_by_sigabrt(begin: Begin) -> None:
    it = begin(ARMED, HANGS)

    assert it.process.wait(LONG_S) == -signal.SIGABRT


def test_why_is_told_on_its_standard_error(begin: Begin) -> None:
    it = begin(ARMED, HANGS)
    it.process.wait(LONG_S)

    assert re.search(
        r"poolproof: tests/test_mine.py::test_it went on for 0.1 s beyond its bound of 0.1 s, and nothing within its "
        rf"process ended it: process {it.process.pid} gets SIGABRT",
        it.stderr(),
    )


def test_or_where_it_was_told_to(begin: Begin, tmp_path: Path) -> None:
    it = begin(
        f"""
        keeper.close()
        keeper.start(stderr_fd=os.open({str(tmp_path / "told")!r}, os.O_WRONLY | os.O_CREAT))
        """,
        ARMED,
        HANGS,
    )
    it.process.wait(LONG_S)

    assert "tests/test_mine.py::test_it went on" in (tmp_path / "told").read_text(encoding="utf-8")


def test_its_stacks_are_dumped_where_faulthandler_is_enabled(begin: Begin) -> None:
    it = begin("faulthandler.enable()", ARMED, f"def hanging(): {HANGS}", "hanging()")
    it.process.wait(LONG_S)

    assert "in hanging" in it.stderr()


def test_one_that_ignores_that_is_killed(begin: Begin) -> None:
    it = begin("signal.signal(signal.SIGABRT, signal.SIG_IGN)", ARMED, HANGS)

    assert it.process.wait(LONG_S) == -signal.SIGKILL


def test_one_that_is_stopped_is_ended_too(begin: Begin) -> None:
    it = begin(ARMED, "os.kill(os.getpid(), signal.SIGSTOP)", "select.select([], [], [])")

    assert it.process.wait(LONG_S) == -signal.SIGABRT


def test_nothing_that_it_started_is_left(begin: Begin) -> None:
    it = begin(OPENS_A_POOL, STOPS_A_WORKER, ARMED, HANGS)
    it.process.wait(LONG_S)

    assert it.is_gone_within(GONE_WITHIN_S), it.everyone()


def test_a_standard_error_that_nobody_reads_saves_nobody(begin: Begin) -> None:
    it = begin(
        """
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(writer, True)
        keeper.close()
        keeper.start(stderr_fd=writer)
        """,
        ARMED,
        HANGS,
    )

    assert it.process.wait(LONG_S) == -signal.SIGABRT


def test_a_test_that_is_over_in_time_is_not_ended(begin: Begin) -> None:
    it = begin(ARMED_LONGER, "keeper.disarm()", "select.select([], [], [], 1)", 'tell("alive")', "hear()")

    assert it.hear() == "alive"


def test_the_next_test_has_its_own_time(begin: Begin) -> None:
    it = begin(ARMED_LONGER, 'keeper.arm("the next", 100)', "select.select([], [], [], 1)", 'tell("alive")', "hear()")

    assert it.hear() == "alive"


def test_a_test_process_that_its_user_suspended_at_a_terminal_does_not_hang(begin: Begin) -> None:
    master, slave = pty.openpty()

    def take_the_terminal() -> None:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    it = begin(
        ARMED_LONGER,
        "os.kill(os.getpid(), signal.SIGSTOP)",
        "keeper.disarm()",
        'tell("continued")',
        "hear()",
        preexec_fn=take_the_terminal,
        pass_fds=(slave,),
    )
    handle = processes.Handle.open(it.process.pid)
    assert handle is not None
    assert handle.wait_stopped(LONG_S)

    ended = handle.wait_gone(1.2)
    it.process.send_signal(signal.SIGCONT)

    assert not ended
    assert it.hear() == "continued"
    handle.close()
    os.close(master)
    os.close(slave)


# --- the keeper is killed ---------------------------------------------------------------------------------------


def kill_keeper(keeper: Guardian) -> None:
    assert keeper.pid is not None
    handle = processes.Handle.open(keeper.pid)
    assert handle is not None
    handle.send(signal.SIGKILL)
    handle.wait_gone(LONG_S)
    handle.close()


def test_the_next_use_starts_another(keeper: Guardian) -> None:
    first = keeper.pid
    kill_keeper(keeper)

    keeper.arm("a test", 100)

    assert keeper.pid != first
    assert keeper.starts == 2


def test_a_record_is_held_by_the_next_one(keeper: Guardian, sleeper: processes.Handle) -> None:
    kill_keeper(keeper)

    assert keeper.record(sleeper)


def test_what_the_first_held_the_next_one_heals(keeper: Guardian, sleeper: processes.Handle) -> None:
    keeper.record(sleeper)
    sleeper.send(signal.SIGSTOP)
    kill_keeper(keeper)
    keeper.arm("a test", 100)

    keeper.close()

    assert state_of(sleeper, "SR") in "SR"


def test_what_the_first_was_to_remove_the_next_one_removes(keeper: Guardian, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    keeper.add_folder(tmp_path / "own")
    kill_keeper(keeper)
    keeper.start()

    keeper.close()

    assert not (tmp_path / "own").exists()


def test_whom_the_first_was_to_end_the_next_one_ends(begin: Begin) -> None:
    it = begin(
        ARMED.replace("0.1,", "1,"),
        "os.kill(keeper.pid, signal.SIGKILL)",
        "processes.Handle.open(keeper.pid).wait_gone(15)",
        'keeper.start(); tell("again", keeper.starts)',
        HANGS,
    )

    assert it.hear() == "again 2"
    assert it.process.wait(LONG_S) == -signal.SIGABRT


def test_one_that_hangs_is_replaced(
    keeper: Guardian, sleeper: processes.Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolproof.rig.keeper._ANSWER_S", 0.2)
    assert keeper.pid is not None
    os.kill(keeper.pid, signal.SIGSTOP)

    assert keeper.record(sleeper)
    assert keeper.starts == 2


def test_a_test_that_closed_all_descriptors_has_another_with_the_next_use(begin: Begin) -> None:
    it = begin(
        """
        os.closerange(3, 100)
        keeper.arm("a test", 100)
        tell(keeper.starts)
        hear()
        """
    )

    assert it.hear() == "2"
    assert it.keeper.wait_gone(GONE_WITHIN_S)


@pytest.mark.parametrize("executable", ["/nowhere/python", "/bin/false"])
def test_one_that_cannot_be_started_is_told_of(executable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = processes.open_files()
    it = Guardian()
    monkeypatch.setattr(sys, "executable", executable)

    with pytest.raises(PlatformError, match=f"the keeper of process {os.getpid()} (could not be started|ended before)"):
        it.start()
    it.close()

    assert dict(processes.open_files().items() - before.items()) == {}  # what was an earlier test's may have gone


def test_no_harm_is_allowed_then(sleeper: processes.Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    it = Guardian()
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with pytest.raises(PlatformError):
        it.record(sleeper)
    it.close()


# --- forks and workers of xdist ---------------------------------------------------------------------------------


def in_a_fork(deed: Callable[[], bool]) -> bool:
    pid = os.fork()
    if pid == 0:
        fine = False
        with contextlib.suppress(BaseException):
            fine = deed()
        os._exit(0 if fine else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_fork_may_not_use_its_parents(keeper: Guardian) -> None:
    def is_refused() -> bool:
        try:
            keeper.arm("a test", 100)
        except UsageError as error:
            return "its fork, gets one of its own from poolproof.rig.keeper.guardian()" in str(error)
        return False

    assert in_a_fork(is_refused)


def test_a_fork_that_closes_it_closes_nothing(keeper: Guardian, sleeper: processes.Handle) -> None:
    def close() -> bool:
        keeper.close()
        return True

    in_a_fork(close)

    assert keeper.record(sleeper)
    assert keeper.starts == 1


def test_a_fork_gets_one_of_its_own() -> None:
    first = guardian()
    first.start()

    def has_another() -> bool:
        guardian().start()
        other = guardian().pid
        guardian().close()
        return other is not None and other != first.pid

    assert in_a_fork(has_another)


def test_a_fork_that_lives_on_does_not_hide_the_keepers_death(keeper: Guardian) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    kill_keeper(keeper)
    keeper.arm("a test", 100)
    os.close(writer)
    os.waitpid(pid, 0)
    os.close(reader)

    assert keeper.starts == 2


def test_each_worker_of_xdist_has_its_own_and_none_is_left(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        dedent(
            """
            import os, pytest
            from pathlib import Path
            from poolproof.rig.keeper import guardian

            @pytest.mark.parametrize("number", range(4))
            def test_it(number):
                guardian().start()
                Path(__file__).with_name(f"{os.getpid()}.keeper").write_text(str(guardian().pid))
            """
        ),
        encoding="utf-8",
    )
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", str(tmp_path)],
        check=True,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        timeout=LONG_S * 3,
    )

    keepers = [int(path.read_text()) for path in tmp_path.glob("*.keeper")]
    living = [pid for pid in keepers if (found := processes.look_up(pid)) and found.state != "Z"]
    assert (len(set(keepers)), living) == (2, [])
