"""What `contamination_detection` tells of offenders of every kind, and that it says nothing of who cleans up."""

import _thread
import asyncio
import concurrent.futures
import contextlib
import gc
import inspect
import logging
import mmap
import multiprocessing
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import pytest

from poolproof import processes
from poolproof.errors import IsolationError
from poolproof.isolation import isolated, scene_of
from poolproof.isolation.contamination import ContaminationWarning, Detection
from poolproof.isolation.contamination.audit import Record
from poolproof.isolation.contamination.family import descendants
from poolproof.isolation.contamination.threads import Threads
from poolproof.waiting import wait_for

pytestmark = pytest.mark.layer(2)
pytest_plugins = ("pytester",)

MODE = "contamination_detection"
HERE = r"tests/integration/isolation/test_contamination\.py:\d+"
FORK = multiprocessing.get_context("fork")


def told(leak: Callable[[ExitStack], object], **options: Any) -> str:
    """What is told of a leak, which the stack undoes afterwards."""
    with ExitStack() as afterwards:
        with (
            pytest.raises(IsolationError) as caught,
            isolated(MODE, scene=scene_of("the test"), **{"settle_s": 0.02, **options}),
        ):
            leak(afterwards)
        assert caught.value.test == "the test"
        return "\n".join(caught.value.problems)


def matches(text: str, *patterns: str) -> None:
    """There is one line for each pattern, in their order, and no other."""
    lines = text.splitlines()
    assert len(lines) == len(patterns), text
    for line, pattern in zip(lines, patterns, strict=True):
        assert _fits(pattern, line), f"{line}\n  is not\n{pattern}"


def _fits(pattern: str, line: str) -> bool:
    return re.fullmatch(pattern, line) is not None


# --- threads -----------------------------------------------------------------------------------------------------


def test_a_leaked_thread_is_told_with_where_it_is_and_who_started_it() -> None:
    def leak(afterwards: ExitStack) -> None:
        gate = threading.Event()

        def work() -> None:
            gate.wait()

        thread = threading.Thread(target=work, name="leaky", daemon=True)
        afterwards.callback(thread.join)
        afterwards.callback(gate.set)
        thread.start()

    matches(told(leak), rf"thread 'leaky' \(daemon\) is still running {HERE} work; started at {HERE} in leak")


def test_a_thread_without_an_object_of_its_own_is_told() -> None:
    def leak(afterwards: ExitStack) -> None:
        began, gate, gone = threading.Event(), threading.Event(), threading.Event()

        def work() -> None:
            began.set()
            gate.wait()
            gone.set()

        afterwards.callback(gone.wait)
        afterwards.callback(gate.set)
        _thread.start_new_thread(work, ())
        began.wait()

    matches(told(leak), rf"thread '<\d+, without a Thread object>' is still running {HERE} work")


def test_a_thread_that_ends_a_little_later_is_waited_for() -> None:
    gate = threading.Event()
    timer = threading.Timer(0.05, gate.set)
    with isolated(MODE):
        timer.start()
        threading.Thread(target=gate.wait).start()


def test_a_look_keeps_nothing_alive_that_a_thread_worked_on() -> None:
    class Thing:
        pass

    gate, began, kept = threading.Event(), threading.Event(), []

    def work() -> None:
        thing = Thing()
        kept.append(weakref.ref(thing))
        began.set()
        gate.wait()

    watcher = Threads(Record(folders=frozenset()))
    watcher.begin()
    thread = threading.Thread(target=work)
    thread.start()
    began.wait()
    gc.disable()
    try:
        found = [one.line for one in watcher.beyond()]
        gate.set()
        thread.join()
        assert kept[0]() is None
    finally:
        gc.enable()
    assert len(found) == 1


# --- processes ----------------------------------------------------------------------------------------------------


def test_a_leaked_child_is_told_with_its_command_and_who_started_it() -> None:
    def leak(afterwards: ExitStack) -> None:
        child = subprocess.Popen(["sleep", "60"])
        afterwards.callback(child.wait)
        afterwards.callback(child.kill)

    matches(
        told(leak),
        rf"process \d+ 'sleep 60', a child of the test's process, is still running; started at {HERE} in leak",
    )


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_leaked_child_of_multiprocessing_is_told(method: str) -> None:
    context: Any = multiprocessing.get_context(method)

    def leak(afterwards: ExitStack) -> None:
        child = context.Process(target=signal.pause)
        child.start()
        afterwards.callback(child.join)
        afterwards.callback(child.kill)

    with ExitStack() as afterwards:
        if method != "fork":
            # What is started once was so before, by another test, as it usually is: the tracker, or the forkserver.
            ready = context.Process(target=int)
            ready.start()
            ready.join()
        lines = told(leak, watch=("processes",)).splitlines()
        afterwards.close()
    whose = r"a child of process \d+" if method == "forkserver" else "a child of the test's process"
    assert any(_fits(rf"process \d+ '.*', {whose}, is still running.*", line) for line in lines), lines
    assert method == "forkserver" or all(f"{Path(__file__).name}" in line for line in lines), lines


def test_a_grandchild_whose_parent_lives_is_told_as_its_child() -> None:
    def leak(afterwards: ExitStack) -> None:
        child = subprocess.Popen(["sh", "-c", "sleep 61 & echo; wait"], stdout=subprocess.PIPE, process_group=0)
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.close()
        afterwards.callback(child.wait)
        afterwards.callback(os.killpg, child.pid, signal.SIGKILL)

    lines = told(leak).splitlines()
    assert any(
        _fits(rf"process \d+ 'sleep 61', a child of process \d+, is still running; started at {HERE} in leak", line)
        for line in lines
    ), lines


def test_all_descendants_are_seen_however_deep() -> None:
    command = ["sh", "-c", "sh -c 'sh -c \"sleep 64; true\"; true'; true"]
    with subprocess.Popen(command, process_group=0) as child:
        try:
            wait_for(lambda: "sleep 64" in map(processes.command_line, descendants()), timeout=20)
        finally:
            os.killpg(child.pid, signal.SIGKILL)


def double_fork(after_fork: Callable[[], object]) -> int:
    """The pid of an orphan, which lives until it is killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            os.write(writing, str(os.getpid()).encode())
            after_fork()
            while True:
                signal.pause()
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    pid = int(os.read(reading, 20))
    os.close(reading)
    return pid


@pytest.mark.parametrize("daemonises", [False, True])
def test_an_orphan_that_was_only_forked_is_told(daemonises: bool) -> None:
    def become_a_daemon() -> None:
        os.setsid()
        os.closerange(0, 1024)

    def leak(afterwards: ExitStack) -> None:
        pid = double_fork(become_a_daemon if daemonises else int)
        afterwards.callback(ended, pid)
        afterwards.callback(os.kill, pid, signal.SIGKILL)

    matches(
        told(leak),
        rf"process \d+ '.*', an orphan, whose parent is gone, is still running; started at {HERE} in double_fork",
    )


def test_an_orphan_that_runs_another_program_is_told() -> None:
    def leak(afterwards: ExitStack) -> None:
        ran = subprocess.run(["sh", "-c", "sleep 62 >&- & echo $!"], stdout=subprocess.PIPE, check=True)
        afterwards.callback(ended, int(ran.stdout))
        afterwards.callback(os.kill, int(ran.stdout), signal.SIGKILL)

    matches(
        told(leak),
        rf"process \d+ 'sleep 62', an orphan, whose parent is gone, is still running; started at {HERE} in leak",
    )


def ended(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll(5000)
        os.close(fd)


def test_a_zombie_is_told() -> None:
    def leak(afterwards: ExitStack) -> None:
        pid = os.posix_spawn("/bin/true", ["true"], os.environ)
        afterwards.callback(os.waitpid, pid, 0)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    matches(
        told(leak),
        rf"zombie: process \d+ 'true', a child of the test's process, has ended and was not waited for; "
        rf"started at {HERE} in leak",
    )


# --- descriptors and sockets ---------------------------------------------------------------------------------------


def test_a_leaked_descriptor_is_told_with_what_it_points_to(tmp_path: Path) -> None:
    def leak(afterwards: ExitStack) -> None:
        fd = os.open(tmp_path, os.O_RDONLY)
        afterwards.callback(os.close, fd)

    matches(told(leak), rf"descriptor \d+ -> {tmp_path} is still open; opened at {HERE} in leak")


def test_a_leaked_pipe_is_told_by_both_its_ends() -> None:
    def leak(afterwards: ExitStack) -> None:
        for fd in os.pipe():
            afterwards.callback(os.close, fd)

    line = r"descriptor \d+ -> pipe:\[\d+\] is still open"
    matches(told(leak), line, line)


@pytest.mark.parametrize("becomes", ["file", "eventfd"])
def test_a_descriptor_that_points_elsewhere_is_told_with_what_it_was(becomes: str, tmp_path: Path) -> None:
    kept = os.eventfd(0)

    def leak(afterwards: ExitStack) -> None:
        if becomes == "file":
            (tmp_path / "other").touch()
            other = os.open(tmp_path / "other", os.O_RDONLY)
        else:
            with select.epoll() as epoll:
                other = os.dup(epoll.fileno())
        os.dup2(other, kept)
        os.close(other)

    try:
        where = rf"{tmp_path}/other" if becomes == "file" else r"anon_inode:\[eventpoll\]"
        opened = rf"; opened at {HERE} in leak" if becomes == "file" else ""
        matches(
            told(leak),
            rf"descriptor {kept} -> {where} took the place of what was there before: anon_inode:\[eventfd\]{opened}",
        )
    finally:
        os.close(kept)


def test_a_file_that_is_renamed_and_removed_while_it_is_open_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    with open(tmp_path / "old"), isolated(MODE):
        (tmp_path / "old").rename(tmp_path / "new")
        (tmp_path / "new").unlink()


def test_a_leaked_socket_is_told_with_its_family_and_both_addresses() -> None:
    def leak(afterwards: ExitStack) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        with listening:
            near = socket.create_connection(listening.getsockname())
            far, _ = listening.accept()
            far.close()
        afterwards.callback(near.close)

    matches(
        told(leak),
        rf"socket \d+ \(AF_INET 127\.0\.0\.1:\d+ -> 127\.0\.0\.1:\d+\) -> socket:\[\d+\] is still open; "
        rf"opened at {HERE} in leak",
    )


def test_a_leaked_unix_socket_is_told_with_its_path_which_is_left_too() -> None:
    def leak(afterwards: ExitStack) -> None:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(f"{tempfile.gettempdir()}/s")
        afterwards.callback(listening.close)

    matches(
        told(leak),
        rf"socket \d+ \(AF_UNIX (/.*)/s( -> .*)?\) -> socket:\[\d+\] is still open; opened at {HERE} in leak",
        r"temporary socket /.*/s was not removed",
    )


# --- shared memory and semaphores ----------------------------------------------------------------------------------


def test_a_block_of_shared_memory_that_is_open_is_told() -> None:
    def leak(afterwards: ExitStack) -> None:
        block = shared_memory.SharedMemory(create=True, size=4096)
        afterwards.callback(block.unlink)
        afterwards.callback(block.close)

    matches(
        told(leak, watch=("shared_memory",)),
        rf"shared memory block /dev/shm/psm_\w+ of 4096 bytes still exists, held by the test's process; "
        rf"made at {HERE} in leak",
    )


def test_a_block_that_is_closed_and_not_unlinked_is_told_with_who_made_it() -> None:
    def leak(afterwards: ExitStack) -> None:
        block = shared_memory.SharedMemory(create=True, size=100)
        block.close()
        afterwards.callback(block.unlink)

    matches(told(leak), rf"shared memory block /dev/shm/psm_\w+ of 100 bytes still exists; made at {HERE} in leak")


def test_a_block_that_a_child_holds_is_the_tests() -> None:
    name = f"/dev/shm/poolproof-{os.getpid()}"

    def leak(afterwards: ExitStack) -> None:
        child = subprocess.Popen(["sh", "-c", f"exec 7>{name}; echo; exec sleep 63"], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.close()
        afterwards.callback(os.unlink, name)
        afterwards.callback(child.wait)
        afterwards.callback(child.kill)

    matches(
        told(leak, watch=("shared_memory",)),
        rf"shared memory block {name} of 0 bytes still exists, held by process \d+, which the test started",
    )


def test_a_block_of_which_nothing_tells_who_made_it_is_warned_of_and_fails_nothing() -> None:
    name = f"/dev/shm/poolproof-{os.getpid()}"
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with isolated(MODE) as detection:
            subprocess.run(["touch", name], check=True)
    Path(name).unlink()

    assert [warning.category for warning in seen] == [ContaminationWarning]
    assert detection.warnings == (
        f"shared memory block {name} of 0 bytes still exists; nothing tells whether this test made it or another "
        "process of the same user",
    )


def test_a_block_that_a_process_holds_which_the_test_has_not_started_is_not_even_warned_of() -> None:
    name = f"/dev/shm/poolproof-{os.getpid()}"
    with subprocess.Popen(
        ["sh", "-c", f"echo; read line; exec 7>{name}; echo; read line"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        with isolated(MODE) as detection:
            other.stdin.write(b"\n")
            other.stdin.flush()
            other.stdout.readline()
        other.stdin.write(b"\n")
    Path(name).unlink()
    assert detection.warnings == ()


def test_such_a_warning_fails_nothing_where_warnings_are_errors() -> None:
    name = f"/dev/shm/poolproof-{os.getpid()}"

    def leave() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with isolated(MODE):
                subprocess.run(["touch", name], check=True)

    with pytest.warns(ContaminationWarning, match=name):
        leave()
    Path(name).unlink()


def test_a_semaphore_with_a_name_is_told() -> None:
    spawn = multiprocessing.get_context("spawn")

    def leak(afterwards: ExitStack) -> None:
        lock = spawn.Lock()
        afterwards.callback(id, lock)

    matches(
        told(leak, watch=("semaphores", "shared_memory")),
        r"semaphore /dev/shm/sem\.mp-\w+ still exists, held by the test's process",
    )


def test_a_semaphore_without_a_name_is_told() -> None:
    def leak(afterwards: ExitStack) -> None:
        afterwards.callback(id, FORK.Lock())

    matches(told(leak), r"semaphore /dev/shm/sem\.\w+ was unlinked and is still there, held by the test's process")


# --- temporary files -----------------------------------------------------------------------------------------------


def test_a_temporary_file_that_is_left_is_told_and_removed() -> None:
    left: list[str] = []

    def leak(afterwards: ExitStack) -> None:
        fd, path = tempfile.mkstemp(prefix="left-")
        os.close(fd)
        left.append(path)

    matches(told(leak), rf"temporary file /.*/left-\w+ was not removed; made at {HERE} in leak")
    assert not Path(left[0]).parent.exists()


def test_a_temporary_folder_that_is_left_is_told_and_removed() -> None:
    left: list[Path] = []

    def leak(afterwards: ExitStack) -> None:
        left.append(Path(tempfile.mkdtemp(prefix="left-")))
        (left[0] / "full").touch()

    matches(told(leak), rf"temporary folder /.*/left-\w+ was not removed; made at {HERE} in leak")
    assert not left[0].parent.exists()


def test_what_a_child_leaves_among_temporary_files_is_told() -> None:
    def leak(afterwards: ExitStack) -> None:
        subprocess.run([sys.executable, "-c", "import tempfile; tempfile.mkdtemp(prefix='left-')"], check=True)

    matches(told(leak), r"temporary folder /.*/left-\w+ was not removed")


@pytest.mark.parametrize("is_folder", [False, True])
def test_what_is_made_past_the_tests_own_folder_is_told(is_folder: bool) -> None:
    path = Path(f"/tmp/left-{os.getpid()}")

    def leak(afterwards: ExitStack) -> None:
        if is_folder:
            path.mkdir()
            afterwards.callback(path.rmdir)
        else:
            path.write_text("here")
            afterwards.callback(path.unlink)

    kind = "folder" if is_folder else "file"
    matches(told(leak), rf"temporary {kind} {path} was not removed; made at {HERE} in leak")


def test_what_was_there_before_and_is_written_again_is_no_leak() -> None:
    path = Path(f"/tmp/left-{os.getpid()}")
    path.touch()
    with isolated(MODE):
        path.write_text("again")
    path.unlink()


# --- asyncio, environment, handlers, attributes --------------------------------------------------------------------


@pytest.mark.parametrize("has_run", [False, True])
def test_a_pending_task_is_told_with_where_it_waits(has_run: bool) -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    def leak(afterwards: ExitStack) -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(forever(), name="stuck")
        if has_run:
            loop.call_soon(loop.stop)
            loop.run_forever()

        def finish() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
            loop.close()

        afterwards.callback(finish)

    matches(
        told(leak, watch=("tasks",)), rf"asyncio task 'stuck' is pending in {HERE} forever, on a loop that is stopped"
    )


def test_a_task_of_a_loop_in_debug_mode_is_told_with_who_made_it() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    def leak(afterwards: ExitStack) -> None:
        loop = asyncio.new_event_loop()
        loop.set_debug(True)
        task = loop.create_task(forever(), name="stuck")

        def finish() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
            loop.close()

        afterwards.callback(finish)

    assert _fits(rf".*; made at {HERE} in leak", told(leak, watch=("tasks",)))


@pytest.mark.parametrize("deed", ["set", "changed", "removed"])
def test_a_variable_that_is_not_put_back_is_told(deed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if deed != "set":
        monkeypatch.setenv("POOLPROOF_PLANTED", "secret")

    def leak(afterwards: ExitStack) -> None:
        if deed == "removed":
            del os.environ["POOLPROOF_PLANTED"]
        else:
            os.environ["POOLPROOF_PLANTED"] = "left"
            afterwards.callback(os.environ.pop, "POOLPROOF_PLANTED")

    told_of = "was removed" if deed == "removed" else rf"was {deed} to 'left'; set at {HERE} in leak"
    matches(told(leak), rf"environment variable POOLPROOF_PLANTED {told_of}")


def test_a_signal_handler_that_is_not_put_back_is_told() -> None:
    def on_signal(*_: object) -> None:
        pass

    def leak(afterwards: ExitStack) -> None:
        before = signal.signal(signal.SIGUSR2, on_signal)
        afterwards.callback(signal.signal, signal.SIGUSR2, before)

    matches(told(leak), rf"signal SIGUSR2 is handled by {HERE} .*on_signal; it was by SIG_DFL")


@pytest.mark.parametrize("name", ["root", "planted.deep"])
def test_a_logging_handler_that_is_left_is_told(name: str) -> None:
    def leak(afterwards: ExitStack) -> None:
        handler = logging.StreamHandler(sys.__stderr__)
        logger = logging.getLogger(None if name == "root" else name)
        logger.addHandler(handler)
        afterwards.callback(logger.removeHandler, handler)

    matches(told(leak), rf"logging handler <StreamHandler <stderr> \(NOTSET\)> is left on logger '{name}'")


def test_an_attribute_that_stays_patched_is_told() -> None:
    def patched() -> float:
        return 0.0

    def leak(afterwards: ExitStack) -> None:
        afterwards.callback(setattr, time, "time", time.time)
        time.time = patched

    matches(told(leak), rf"attribute time\.time is patched: it is {HERE} .*patched and was <built-in function time>")


def test_a_module_of_the_users_choice_is_compared() -> None:
    def leak(afterwards: ExitStack) -> None:
        afterwards.callback(setattr, tempfile, "template", tempfile.template)
        tempfile.template = "mine"

    matches(told(leak, modules=("tempfile",)), "attribute tempfile.template is patched: it is 'mine' and was 'tmp'")


# --- who cleans up -------------------------------------------------------------------------------------------------


def joined_threads() -> None:
    threads = [threading.Thread(target=int) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def ended_processes() -> None:
    subprocess.run(["true"], check=True)
    child = FORK.Process(target=int)
    child.start()
    child.join()


def spawned_process() -> None:
    child = multiprocessing.get_context("spawn").Process(target=int)
    child.start()
    child.join()


def process_pool() -> None:
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=FORK) as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]


def process_pool_of_a_forkserver() -> None:
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("forkserver")) as pool:
        assert pool.submit(abs, -1).result() == 1


def multiprocessing_pool() -> None:
    with FORK.Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]


def thread_pool() -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]


def queue() -> None:
    queue = FORK.Queue()
    queue.put("here")
    assert queue.get(timeout=5) == "here"


def shared_value() -> None:
    assert FORK.Value("i", 7).value == 7


def shared_block() -> None:
    block = shared_memory.SharedMemory(create=True, size=100)
    block.close()
    block.unlink()


def closed_sockets() -> None:
    one, other = socket.socketpair()
    with one, other, socket.create_server(("127.0.0.1", 0)):
        one.send(b"x")


def finished_tasks() -> None:
    async def child() -> None:
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()
        await asyncio.gather(
            asyncio.to_thread(int),
            asyncio.create_task(asyncio.wait_for(asyncio.Event().wait(), 0)),
            return_exceptions=True,
        )

    asyncio.run(child())


def removed_files() -> None:
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile(), tempfile.TemporaryFile():
        Path(folder, "here").touch()
    Path(f"/tmp/poolproof-{os.getpid()}").touch()
    Path(f"/tmp/poolproof-{os.getpid()}").unlink()


def restored_state() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POOLPROOF_PLANTED", "here")
        patch.setattr(time, "time", lambda: 0.0)
        patch.delattr(os, "sep")
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, before)
    handler = logging.StreamHandler()
    logging.getLogger("planted").addHandler(handler)
    logging.getLogger("planted").warning("here")
    logging.getLogger("planted").removeHandler(handler)


def anonymous_memory() -> None:
    mmap.mmap(-1, 100).close()


CLEAN = [
    joined_threads,
    ended_processes,
    spawned_process,
    process_pool,
    process_pool_of_a_forkserver,
    multiprocessing_pool,
    thread_pool,
    queue,
    shared_value,
    shared_block,
    closed_sockets,
    finished_tasks,
    removed_files,
    restored_state,
    anonymous_memory,
]


@pytest.mark.parametrize("work", CLEAN)
def test_who_cleans_up_is_not_told_of(work: Callable[[], None]) -> None:
    with isolated(MODE):
        work()


def test_what_the_library_starts_once_for_a_process_is_no_leak() -> None:
    program = f"""
        import multiprocessing, tempfile
        from poolproof.isolation import isolated

        if __name__ == "__main__":
            for _ in range(2):
                with isolated("{MODE}"):
                    # A resource tracker, a forkserver, and the folder that multiprocessing has for its sockets.
                    child = multiprocessing.get_context("forkserver").Process(target=int)
                    child.start()
                    child.join()
                    child.close()
            print(tempfile.gettempdir())
        """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "program.py").write_text(inspect.cleandoc(program))
        ran = subprocess.run(
            [sys.executable, f"{folder}/program.py"],
            capture_output=True,
            text=True,
            env={**os.environ, "TMPDIR": folder},
            check=False,
        )
        assert (ran.returncode, ran.stderr, ran.stdout.strip()) == (0, "", folder)
        assert os.listdir(folder) == ["program.py"]


# --- the context and the options -----------------------------------------------------------------------------------


def test_a_check_tells_at_once_and_waits_for_nothing() -> None:
    with isolated(MODE, scene=scene_of("the test")) as detection:
        assert isinstance(detection, Detection)
        detection.check()
        with socket.socket(), pytest.raises(IsolationError, match="the test:\n  - socket"):
            detection.check()
        detection.check()


def test_the_inner_one_of_two_has_a_snapshot_of_its_own() -> None:
    with isolated(MODE) as outer:
        outside = tempfile.gettempdir()
        with socket.socket():
            with isolated(MODE) as inner:
                assert tempfile.gettempdir() != outside
                assert Path(tempfile.gettempdir()).parent == Path(outside).parent
                inner.check()
                with pytest.raises(IsolationError, match="socket"):
                    outer.check()
            assert tempfile.gettempdir() == outside


def test_what_the_inner_one_told_of_the_outer_one_tells_too() -> None:
    with (
        pytest.raises(IsolationError, match="POOLPROOF_PLANTED"),
        isolated(MODE),
        pytest.raises(IsolationError, match="POOLPROOF_PLANTED"),
        isolated(MODE),
    ):
        os.environ["POOLPROOF_PLANTED"] = "left"
    del os.environ["POOLPROOF_PLANTED"]


def test_the_outer_one_does_not_take_the_inner_one_for_contamination() -> None:
    with isolated(MODE) as outer, isolated(MODE):
        outer.check()


def test_a_module_to_be_compared_is_imported_before_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "chosen_by_a_test.py").write_text("value = 1")
    monkeypatch.syspath_prepend(tmp_path)

    def leak(afterwards: ExitStack) -> None:
        afterwards.callback(sys.modules.pop, "chosen_by_a_test")
        sys.modules["chosen_by_a_test"].value = 2  # type: ignore[attr-defined]

    matches(told(leak, modules=("chosen_by_a_test",)), "attribute chosen_by_a_test.value is patched: it is 2 and was 1")


def test_everything_is_as_it_was_afterwards() -> None:
    before = (dict(os.environ), tempfile.tempdir, tempfile.gettempdir())
    with isolated(MODE):
        assert os.environ["TMPDIR"] == tempfile.gettempdir() != before[2]
    assert (dict(os.environ), tempfile.tempdir, tempfile.gettempdir()) == before


def test_what_fits_an_expression_is_ignored() -> None:
    with socket.socket() as kept, isolated(MODE, ignore=(r"socket \d+ \(AF_INET ", "^environment")):
        copy = os.dup(kept.fileno())
        os.environ["POOLPROOF_PLANTED"] = "left"
    os.close(copy)
    del os.environ["POOLPROOF_PLANTED"]


def test_what_is_not_watched_is_not_told() -> None:
    with isolated(MODE, watch=("threads", "sockets")):
        os.environ["POOLPROOF_PLANTED"] = "left"
        ends = os.pipe()
    del os.environ["POOLPROOF_PLANTED"]
    for end in ends:
        os.close(end)


def test_things_are_told_by_their_kind_in_one_order() -> None:
    def leak(afterwards: ExitStack) -> None:
        os.environ["POOLPROOF_PLANTED"] = "left"
        afterwards.callback(os.environ.pop, "POOLPROOF_PLANTED")
        tempfile.mkdtemp()
        afterwards.callback(os.close, os.eventfd(0))
        gate = threading.Event()
        thread = threading.Thread(target=gate.wait)
        afterwards.callback(thread.join)
        afterwards.callback(gate.set)
        thread.start()

    assert [line.split()[0] for line in told(leak).splitlines()] == [
        "thread",
        "descriptor",
        "temporary",
        "environment",
    ]


def test_waiting_stops_as_soon_as_nothing_can_go_any_more() -> None:
    began = time.monotonic()
    with pytest.raises(IsolationError), isolated(MODE, settle_s=60.0):
        os.environ["POOLPROOF_PLANTED"] = "left"
    del os.environ["POOLPROOF_PLANTED"]
    assert time.monotonic() - began < 30


def test_a_part_that_cannot_be_looked_at_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_look(*_: object) -> None:
        raise OSError("no such luck")

    with pytest.raises(IsolationError, match="could not look at asyncio tasks: OSError: no such luck"), isolated(MODE):
        monkeypatch.setattr("poolproof.isolation.contamination.tasks._pending", no_look)


def test_a_test_of_pytest_fails_by_its_name_and_the_next_one_passes(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        inspect.cleandoc(f"""
        import pytest
        from poolproof.isolation import isolated, scene_of

        @pytest.fixture(autouse=True)
        def isolation(request, tmp_path_factory):
            tmp_path_factory.getbasetemp()
            with isolated("{MODE}", scene=scene_of(request.node.nodeid), settle_s=0.05):
                yield
        """)
    )
    pytester.makepyfile(
        test_it="""
        import random, sys, threading

        gate = threading.Event()

        def test_leaks(capfd, tmp_path, monkeypatch):
            threading.Thread(target=gate.wait, name="leaky", daemon=True).start()

        def test_patches():
            random.betavariate = max

        def test_is_clean(capfd, tmp_path, caplog):
            sys.stdout.write("here")
        """
    )

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*IsolationError: test_it.py::test_leaks:",
            "*- thread 'leaky' (daemon) is still running *; started at test_it.py:6 in test_leaks",
            "*IsolationError: test_it.py::test_patches:",
            "*- attribute random.betavariate is patched: it is <built-in function max> and was *",
        ]
    )


NESTED_FORKSERVER = """
import multiprocessing
from poolproof.isolation import isolated

if __name__ == "__main__":
    with isolated("contamination_detection"), isolated("contamination_detection"):
        child = multiprocessing.get_context("forkserver").Process(target=int)
        child.start()
        child.join()
        child.close()
"""


def test_the_folder_of_the_forkserver_is_no_contamination_to_the_test_around_the_one_that_started_it(
    tmp_path: Path,
) -> None:
    script = tmp_path / "script.py"
    script.write_text(NESTED_FORKSERVER, encoding="utf-8")

    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stderr) == (0, "")
