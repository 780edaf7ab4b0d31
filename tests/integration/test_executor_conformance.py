"""The pool keeps the contract of concurrent.futures.Executor: CPython's own cases say so, run on it as they are.

They come from the `test` package of the running interpreter, which not every installation has. What of them is about
the privates of the two standard executors is left out, by a table that says why; where there is a promise behind such
a case, a case of our own takes its place, and runs with or without that package.
"""

import contextlib
import errno
import gc
import importlib
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
import unittest
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path
from types import FunctionType
from typing import Any, Final
from unittest import mock

import pytest

from poolproof import processes
from sessionpool import NotPicklable, NotUnpicklable, RemoteTraceback, Restarts, SessionPool, WorkerDied

pytestmark = [pytest.mark.layer(2), pytest.mark.isolation("pool_testing", opens=False)]

CASES: Final = "test.test_concurrent_futures"
ROOMS: Final[Mapping[str, str]] = {
    "AsCompletedTests": "test_as_completed",
    "ExecutorDeadlockTest": "test_deadlock",
    "ExecutorShutdownTest": "test_shutdown",
    "ExecutorTest": "executor",
    "FailingInitializerMixin": "test_init",
    "FailingInitializerResourcesTest": "test_init",
    "InitializerMixin": "test_init",
    "ProcessPoolExecutorTest": "test_process_pool",
    "ProcessPoolShutdownTest": "test_shutdown",
    "ThreadPoolExecutorTest": "test_thread_pool",
    "ThreadPoolShutdownTest": "test_shutdown",
    "ThreadPoolWaitTests": "test_wait",
    "WaitTests": "test_wait",
}
"""Every group of CPython's cases for executors, and its module: from 3.12 on, before that all of them were in one."""

AT_LEAST: Final = 41
"""How many of them run on the poorest version, 3.11; a suite that came to less would be silently empty."""

LEFT_OUT: Final[Mapping[str, str]] = {
    # group.case: why; what is in brackets is the case below that keeps the promise behind it
    "ExecutorDeadlockTest.test_gh105829_should_not_deadlock_if_wakeup_pipe_full": (
        "replaces the wakeup pipe and the manager thread of ProcessPoolExecutor"
    ),
    "ExecutorDeadlockTest.test_shutdown_deadlock_pickle": (
        "joins _executor_manager_thread [test_an_argument_that_cannot_be_pickled_holds_no_shutdown_up]"
    ),
    "ExecutorTest.test_max_workers_negative": (
        "wants the words of the executors' message [test_a_pool_of_no_workers_is_a_value_error]"
    ),
    "ExecutorShutdownTest.test_submit_after_interpreter_shutdown": (
        "wants the words of ProcessPoolExecutor's message [test_what_is_submitted_as_the_interpreter_ends_is_refused]"
    ),
    "FailingInitializerMixin.test_initializer": (
        "reads _broken and what the executors log [test_an_initializer_that_fails_breaks_the_pool]"
    ),
    "FailingInitializerResourcesTest.test_fork": "stops multiprocessing's resource tracker, which the pool has not",
    "FailingInitializerResourcesTest.test_forkserver": "the same",
    "FailingInitializerResourcesTest.test_spawn": "the same",
    "ProcessPoolExecutorTest.test_idle_process_reuse_multiple": "counts _processes, which start on demand there",
    "ProcessPoolExecutorTest.test_idle_process_reuse_one": "the same",
    "ProcessPoolExecutorTest.test_killed_child": (
        "wants the whole pool broken [test_a_worker_that_dies_fails_what_it_ran_and_nothing_else]"
    ),
    "ProcessPoolExecutorTest.test_max_tasks_early_shutdown": "max_tasks_per_child is ProcessPoolExecutor's own option",
    "ProcessPoolExecutorTest.test_max_tasks_per_child": "the same",
    "ProcessPoolExecutorTest.test_max_tasks_per_child_defaults_to_spawn_context": "the same",
    "ProcessPoolExecutorTest.test_max_workers_too_large": "for Windows",
    "ProcessPoolExecutorTest.test_python_finalization_error": "makes the second start of a thread fail",
    "ProcessPoolExecutorTest.test_ressources_gced_in_workers": (
        "reaches a manager by multiprocessing's authkey [test_an_argument_is_freed_when_its_operation_is_over]"
    ),
    "ProcessPoolExecutorTest.test_saturation": "counts _processes [test_there_are_never_more_workers_than_asked_for]",
    "ProcessPoolExecutorTest.test_traceback": (
        "wants the private _RemoteTraceback [test_an_exception_tells_where_in_the_worker_it_was_raised]"
    ),
    "ProcessPoolShutdownTest.test_context_manager_shutdown": (
        "names ProcessPoolExecutor and its _processes [test_no_process_is_left_when_its_with_block_is]"
    ),
    "ProcessPoolShutdownTest.test_del_shutdown": (
        "names ProcessPoolExecutor and its threads [test_a_pool_that_is_dropped_computes_what_it_was_given_and_ends]"
    ),
    "ProcessPoolShutdownTest.test_processes_terminate": (
        "counts _processes [test_no_process_is_left_when_its_with_block_is]"
    ),
    "ProcessPoolShutdownTest.test_shutdown_no_wait": (
        "names ProcessPoolExecutor and its threads [test_a_shutdown_that_nobody_waits_for_is_carried_out_all_the_same]"
    ),
    "ThreadPoolExecutorTest.test_default_workers": "ThreadPoolExecutor's own formula",
    "ThreadPoolExecutorTest.test_executor_map_current_future_cancel": (
        "closes over a lock of this process [test_what_map_has_not_begun_when_it_times_out_never_begins]"
    ),
    "ThreadPoolExecutorTest.test_hang_global_shutdown_lock": "about a lock of ThreadPoolExecutor's module",
    "ThreadPoolExecutorTest.test_idle_thread_reuse": "counts _threads",
    "ThreadPoolExecutorTest.test_map_submits_without_iteration": (
        "closes over a list of this process [test_map_submits_all_before_anybody_asks_for_a_result]"
    ),
    "ThreadPoolExecutorTest.test_saturation": "counts _threads [test_there_are_never_more_workers_than_asked_for]",
    "ThreadPoolShutdownTest.test_cancel_futures_wait_false": (
        "up to 3.12 wants a thread that has begun at once [test_a_program_ends_in_silence_after_cancelling_all]"
    ),
    "ThreadPoolShutdownTest.test_context_manager_shutdown": "joins _threads; as for processes",
    "ThreadPoolShutdownTest.test_del_shutdown": "the same",
    "ThreadPoolShutdownTest.test_shutdown_no_wait": "the same",
    "ThreadPoolShutdownTest.test_thread_names_assigned": "thread_name_prefix is ThreadPoolExecutor's own option",
    "ThreadPoolShutdownTest.test_thread_names_default": "the same",
    "ThreadPoolShutdownTest.test_threads_terminate": "counts _threads; as for processes",
    "ThreadPoolWaitTests.test_pending_calls_race": "closes over an event of this process",
}

INSTEAD: Final[Mapping[str, type[Exception]]] = {
    "test_error_at_task_unpickle": NotUnpicklable,
    "test_error_during_result_unpickle_in_result_handler": NotUnpicklable,
    "test_exit_at_task_unpickle": NotUnpicklable,
    "test_exit_during_result_pickle_on_worker": NotPicklable,
    "test_exit_during_result_unpickle_in_result_handler": NotUnpicklable,
}
"""What the future of a case about deadlocks fails with, where that is neither a WorkerDied, which stands for the
BrokenProcessPool of a whole pool, nor what the case asks for."""

GONE_S: Final = 10.0
HANGS_S: Final = 30.0
"""After so long those cases call it a deadlock; CPython allows five minutes, more than a test has here."""


# --- CPython's cases ----------------------------------------------------------------------------------------------


def room(group: str) -> Any:
    """The module that a group of cases is in."""
    package = importlib.import_module(CASES)
    return importlib.import_module(f"{CASES}.{ROOMS[group]}") if hasattr(package, "__path__") else package


def has(group: str) -> bool:
    return hasattr(room(group), group)


def own_cases(group: str) -> list[str]:
    """The cases that are written in a group, not those that it inherits from another."""
    return sorted(name for name in vars(getattr(room(group), group)) if name.startswith("test"))


def on_session_pool(group: str) -> type[unittest.TestCase]:
    """A group of CPython's cases with the pool as their executor, less what the table leaves out."""
    module = room(group)
    original = getattr(module, group)
    support: Any = importlib.import_module("test.support")
    mixin = room("InitializerMixin").ExecutorMixin
    base = importlib.import_module(f"{CASES}.util") if module.__name__ != CASES else module

    def make(max_workers: int | None = None, mp_context: None = None, **options: Any) -> SessionPool:
        # CPython's cases count on workers that begin at once: these are up, and have imported what runs in them.
        pool = SessionPool(max_workers, preload=(module.__name__,), **options)
        pool.wait_for(lambda snapshot: snapshot.starting == 0, GONE_S)
        return pool

    make.__name__ = SessionPool.__name__  # which they write into scripts

    def set_up(case: Any) -> None:
        for name, instead in (
            ("assert_python_ok", running_a_script_with_the_pool(module)),
            ("BrokenProcessPool", WorkerDied),
        ):
            if hasattr(module, name):
                patch = mock.patch.object(module, name, instead)
                patch.start()
                case.addCleanup(patch.stop)
        super(adapted, case).setUp()

    def tear_down(case: Any) -> None:
        support.environment_altered = False
        super(adapted, case).tearDown()
        assert not support.environment_altered, "threads or processes are left, as standard error tells"

    def fail_on_deadlock(case: Any, executor: SessionPool) -> None:
        executor.shutdown(immediate=True)
        case.fail("the future was not resolved in time")

    def check_crash(case: Any, error: type[BaseException], *args: Any, **options: Any) -> None:
        super(adapted, case)._check_crash(INSTEAD.get(case._testMethodName, error), *args, **options)

    hidden = {
        name: None
        for name in dir(original)
        if name.startswith("test") and (name not in vars(original) or f"{group}.{name}" in LEFT_OUT)
    }
    adapted: Any = type(
        f"{group}OnSessionPool",
        (original, mixin, base.BaseTestCase) if not issubclass(original, mixin) else (original, base.BaseTestCase),
        {
            "__module__": __name__,
            "executor_type": staticmethod(make),
            "get_context": lambda case: None,
            "setUp": set_up,
            "tearDown": tear_down,
            "TIMEOUT": HANGS_S,
            "_check_crash": check_crash,
            "_fail_on_deadlock": fail_on_deadlock,
            **hidden,
        },
    )
    return adapted  # type: ignore[no-any-return] # one of unittest's, which its bases make it


def running_a_script_with_the_pool(module: Any) -> Callable[..., Any] | None:
    """`assert_python_ok` for their scripts, which import the executor by its name from concurrent.futures."""
    run = getattr(module, "assert_python_ok", None)
    theirs, ours = "from concurrent.futures import SessionPool\n", "from sessionpool import SessionPool\n"

    def with_the_pool(flag: str, script: str) -> Any:
        assert theirs in script
        assert run is not None
        return run(flag, script.replace(theirs, ours))

    return with_the_pool


try:
    GROUPS = {group: own_cases(group) for group in ROOMS if has(group)}
    MISSING = None
except ImportError as error:
    GROUPS = {}
    MISSING = f"CPython's own cases are not installed beside {sys.executable} {sys.version.split()[0]}: {error}"

for _group, _names in GROUPS.items():
    if any(f"{_group}.{name}" not in LEFT_OUT for name in _names):
        globals()[f"{_group}OnSessionPool"] = on_session_pool(_group)

there = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@there
def test_as_many_of_cpythons_cases_run_as_there_are_less_those_left_out() -> None:
    adapted = [each for each in globals().values() if isinstance(each, type) and issubclass(each, unittest.TestCase)]
    run = sum(unittest.defaultTestLoader.loadTestsFromTestCase(each).countTestCases() for each in adapted)
    left_out = sum(f"{group}.{name}" in LEFT_OUT for group, names in GROUPS.items() for name in names)

    assert run >= AT_LEAST
    assert run + left_out == sum(map(len, GROUPS.values()))


@there
def test_no_case_that_runs_is_skipped_by_a_mark_that_the_table_does_not_tell_of() -> None:
    methods = {
        f"{group}.{name}": getattr(getattr(room(group), group), name)
        for group, names in GROUPS.items()
        for name in names
        if f"{group}.{name}" not in LEFT_OUT
    }

    assert [name for name, method in methods.items() if getattr(method, "__unittest_skip__", False)] == []


def test_every_case_of_our_own_that_the_table_names_is_here() -> None:
    named = {why[why.index("[") + 1 : why.index("]")] for why in LEFT_OUT.values() if "[" in why}

    assert [name for name in named if not isinstance(globals().get(name), FunctionType)] == []


# --- ours, for the promises behind those that are left out -----------------------------------------------------------


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A pipe with a name: `Path.read_text` of it is an operation that ends when the test says so."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


class Children:
    """The processes that a test has started, directly or through them."""

    def __init__(self) -> None:
        self._before = set(self._all())

    def _all(self) -> dict[tuple[int, int], processes.Process]:
        found = processes.descendants(os.getpid(), processes.everyone()).values()
        return {process.identity: process for process in found if process.state not in "ZX"}

    def left(self) -> list[str]:
        return [process.name for identity, process in self._all().items() if identity not in self._before]

    def left_after(self, timeout_s: float) -> list[str]:
        """Those that live on, once each of them has had its time to go."""
        for identity in self._all().keys() - self._before:
            handle = processes.Handle.open(*identity)
            if handle is not None:
                handle.wait_gone(timeout_s)
                handle.close()
        return self.left()


@pytest.fixture
def children() -> Children:
    return Children()


def script(text: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)


class OpensOnArrival:
    """Unpickled, it is a file, open for writing: whoever reads the other end is told when it is freed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self._path), "w")


class RefusesToBePickled:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[()]]:
        raise pickle.PicklingError("not this one")


@contextlib.contextmanager
def reading_end(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def under_way(pool: SessionPool, fifo: Path) -> Iterator[Future[str]]:
    """An operation that a worker has begun, and ends when the block does."""
    future = pool.submit(Path.read_text, fifo)
    fd = writing_end(fifo)
    try:
        yield future
    finally:
        os.close(fd)


def writing_end(path: Path) -> int:
    """Open a pipe for writing once somebody reads it: where nobody does, an open that does not wait is refused."""
    deadline = time.monotonic() + GONE_S
    while True:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > deadline:
                raise
        threading.Event().wait(0.002)


def test_no_process_is_left_when_its_with_block_is(children: Children) -> None:
    with SessionPool(5, preload=()) as pool:
        assert list(pool.map(abs, range(-5, 5))) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]
        assert children.left() != []

    assert children.left() == []


def test_a_pool_that_is_dropped_computes_what_it_was_given_and_ends(children: Children) -> None:
    pool = SessionPool(5, preload=())
    results = pool.map(abs, range(-5, 5))
    del pool
    gc.collect()

    assert list(results) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]
    assert children.left_after(GONE_S) == []


def test_a_shutdown_that_nobody_waits_for_is_carried_out_all_the_same(children: Children) -> None:
    pool = SessionPool(5, preload=())
    results = pool.map(abs, range(-5, 5))
    pool.shutdown(wait=False)

    assert list(results) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]
    assert children.left_after(GONE_S) == []


def test_an_argument_that_cannot_be_pickled_holds_no_shutdown_up(children: Children) -> None:
    with SessionPool(2, preload=()) as pool:
        pool.submit(id, 42).result()
        future: Future[int] = pool.submit(id, RefusesToBePickled())
        pool.shutdown(wait=False)
        with pytest.raises(pickle.PicklingError):
            future.result(GONE_S)

    assert children.left() == []


def test_a_worker_that_dies_fails_what_it_ran_and_nothing_else(fifo: Path) -> None:
    with SessionPool(2, preload=()) as pool, under_way(pool, fifo) as running:
        [pid] = [worker.pid for worker in pool.workers() if worker.state == "busy"]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            running.result(GONE_S)

        assert pool.submit(pow, 2, 8).result(GONE_S) == 256


def test_an_initializer_that_fails_breaks_the_pool(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    restarts = Restarts(max_failures=2, backoff_s=0.01)
    with SessionPool(2, Path.read_text, (missing,), preload=(), restarts=restarts) as pool:
        with contextlib.suppress(BrokenExecutor):  # it may be broken already
            future = pool.submit(pow, 2, 8)
            with pytest.raises(BrokenExecutor, match="missing"):
                future.result(GONE_S)
        pool.wait_for(lambda snapshot: snapshot.broken, GONE_S)

        with pytest.raises(BrokenExecutor):
            pool.submit(pow, 2, 8)


def test_an_exception_tells_where_in_the_worker_it_was_raised(tmp_path: Path) -> None:
    with SessionPool(1, preload=()) as pool:
        error = pool.submit(Path.read_text, tmp_path / "missing").exception(GONE_S)

    assert type(error) is FileNotFoundError
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in read_text" in str(error.__cause__)


def test_an_argument_is_freed_when_its_operation_is_over(fifo: Path) -> None:
    with SessionPool(1, preload=()) as pool, reading_end(fifo) as fd:
        pool.submit(id, OpensOnArrival(fifo)).result(GONE_S)
        poller = select.poll()
        poller.register(fd, 0)

        assert poller.poll(1000)  # POLLHUP: nobody has it open for writing any more


def test_there_are_never_more_workers_than_asked_for() -> None:
    with SessionPool(4, preload=()) as pool:
        seen = []
        futures = []
        for number in range(15 * 4):
            futures.append(pool.submit(pow, number, 2))
            seen.append(len(pool.workers()))
        assert [future.result(GONE_S) for future in futures] == [number**2 for number in range(15 * 4)]
        seen.append(len(pool.workers()))

    assert max(seen) <= 4


@pytest.mark.parametrize("number", [0, -1])
def test_a_pool_of_no_workers_is_a_value_error(number: int) -> None:
    with pytest.raises(ValueError, match=f"max_workers: {number}"):
        SessionPool(max_workers=number)


def test_map_submits_all_before_anybody_asks_for_a_result(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(10)]
    with SessionPool(3, preload=()) as pool:
        pool.map(Path.touch, paths)

    assert all(path.exists() for path in paths)


def test_what_map_has_not_begun_when_it_times_out_never_begins(tmp_path: Path, fifo: Path) -> None:
    paths = [tmp_path / "second", tmp_path / "third"]
    with SessionPool(1, preload=()) as pool:
        with under_way(pool, fifo) as first, pytest.raises(TimeoutError):
            next(iter(pool.map(Path.touch, paths, timeout=0)))
        assert first.result(GONE_S) == ""

    assert not any(path.exists() for path in paths)


def test_what_is_submitted_as_the_interpreter_ends_is_refused() -> None:
    ended = script("""if True:
        import atexit
        from sessionpool import SessionPool

        @atexit.register
        def run_last():
            try:
                pool.submit(id, None)
            except RuntimeError:
                print("refused")

        pool = SessionPool(5)
        pool.submit(id, 42).result()
    """)

    assert (ended.stdout, ended.stderr, ended.returncode) == ("refused\n", "", 0)


def test_a_program_ends_in_silence_after_cancelling_all() -> None:
    ended = script("""if True:
        from sessionpool import SessionPool

        pool = SessionPool()
        future = pool.submit(print, "done", flush=True)
        pool.shutdown(wait=False, cancel_futures=True)
    """)

    assert ended.stdout in ("done\n", "")
    assert (ended.stderr, ended.returncode) == ("", 0)
