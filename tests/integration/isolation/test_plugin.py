"""The plugin as its users meet it: a test file, run by pytest in a process of its own."""

import re
import signal
from pathlib import Path
from textwrap import dedent

import pytest

pytest_plugins = ("pytester",)

pytestmark = pytest.mark.layer(2)

OPENING = """
import os, threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
import pytest
from poolproof.isolation import isolated
from poolproof.rig import *
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> "Run":
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # what is run is no worker of this run
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return Run(pytester)


class Run:
    """Runs a test file, and reads what came of it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester

    def __call__(self, text: str, *options: str, ini: str = "") -> pytest.RunResult:
        self._pytester.makeini(f"[pytest]\n{ini}")
        self._pytester.makepyfile(test_it=OPENING + dedent(text))
        return self._pytester.runpytest_subprocess("-p", "no:cacheprovider", *options, timeout=120)


def told(result: pytest.RunResult) -> str:
    return "\n".join([*result.outlines, *result.errlines])


# --- a pool of somebody's own -------------------------------------------------------------------------------------


def test_ten_lines_prove_an_executor_and_pass_or_fail_rightly(run: Run) -> None:
    result = run(
        """
        @pytest.mark.isolation("pool_testing", target=ProcessPoolExecutor, workers=2)
        def test_that_holds(pool):
            done = run_concurrent_operations(pool, 20)
            assert (done.ok, done.parallelism) == (20, 2)

        @pytest.mark.isolation("pool_testing", target=ProcessPoolExecutor, workers=2)
        def test_that_does_not(pool):
            with synchronize_pool_operations(pool):
                inject_worker_failure(pool)
            wait_for_workers_initialized(pool, timeout=1)
        """
    )
    result.assert_outcomes(passed=1, failed=1)
    assert "BrokenProcessPool" in told(result)


def test_a_pool_that_the_test_opened_by_itself_is_adopted_heard_and_closed(run: Run) -> None:
    result = run(
        """
        from sessionpool import SessionPool

        @pytest.mark.isolation("pool_testing", opens=False)
        def test_it(pool_testing):
            mine = pool_testing.adopt(SessionPool(1, preload=()))
            assert mine.submit(os.getpid).result() != os.getpid()
            assert "ready" in {event.what for event in pool_testing.events.since()}

        ended = []

        @pytest.mark.isolation("pool_testing", opens=False)
        def test_its_end(pool_testing):
            pool_testing.adopt(object(), close=lambda: ended.append(1))
            assert not ended

        def test_that_it_was_ended():
            assert ended == [1]

        @pytest.mark.isolation("pool_testing", opens=False)
        def test_that_there_is_none_else(pool):
            pass
        """
    )
    result.assert_outcomes(passed=3, errors=1)
    assert "opens=False: the test opens its pools by itself, and adopts them" in told(result)


def test_a_coroutine_runs_in_a_loop_of_its_own_and_may_await_operations(run: Run) -> None:
    result = run(
        """
        @pytest.mark.isolation("pool_testing", workers=2)
        async def test_it(pool):
            assert await pool.submit("obey", ("answer", 7)) == 7
        """
    )
    result.assert_outcomes(passed=1)


def test_the_process_of_the_tests_is_no_subreaper(run: Run) -> None:
    result = run(
        """
        import ctypes

        @pytest.mark.isolation("pool_testing", workers=2)
        def test_it(pool):
            found = ctypes.c_int(-1)
            ctypes.CDLL(None).prctl(37, ctypes.byref(found), 0, 0, 0)  # PR_GET_CHILD_SUBREAPER
            assert found.value == 0
        """
    )
    result.assert_outcomes(passed=1)


def test_on_layer_1_the_same_test_runs_in_virtual_time(run: Run) -> None:
    result = run(
        """
        @pytest.mark.isolation("pool_testing", workers=3)
        def test_it(pool):
            before = pool.now_ns()
            pool.submit("obey", ("wait", 3600.0, 1)).result(4000)
            assert (pool.layer, pool.now_ns() - before >= 3600 * 10**9) == (1, True)
        """,
        "--layer=1",
    )
    result.assert_outcomes(passed=1)


# --- what is wrong ------------------------------------------------------------------------------------------------


def test_marks_that_make_no_sense_are_refused_with_what_was_expected(run: Run) -> None:
    result = run(
        """
        @pytest.mark.isolation("bubble")
        def test_mode(): ...

        @pytest.mark.isolation("pool_testing", wrokers=2)
        def test_option(): ...

        @pytest.mark.isolation("pool_testing", workers=0)
        def test_value(): ...

        @pytest.mark.isolation("pool_testing", preset="small", target="thread-pool-executor")
        def test_contradiction(): ...

        @pytest.mark.isolation("pool_testing", target=ThreadPoolExecutor, layer=1)
        def test_layer(): ...

        @pytest.mark.isolation("pool_testing", "basic")
        def test_two(): ...

        @pytest.mark.isolation("pool_testing", workers=2)
        def test_nesting():
            with isolated("pool_testing"):
                pass

        def test_no_mark(pool): ...
        """
    )
    result.assert_outcomes(errors=7, failed=1)
    for line in (
        "*unknown isolation mode 'bubble': expected one of basic, registry,*",
        "*isolation mode 'pool_testing': unknown option 'wrokers': expected one of layer, target, workers*",
        "*workers = 0: expected a number of 1 or more*",
        "*preset = 'small' is one of sessionpool, and target = 'thread-pool-executor' is another pool*",
        "*layer 1 simulates a pool's sans-I/O core, and*ThreadPoolExecutor*offers none: use layer 2 or 3*",
        "*@pytest.mark.isolation takes the name of one mode, and options by name*",
        "*it stands within itself, and cannot; for a second pool call setup_isolated_pool*",
        "*mark it with @pytest.mark.isolation('pool_testing') to use a pool*",
    ):
        result.stdout.fnmatch_lines([line])


def test_a_pool_that_cannot_be_opened_names_the_stage_and_leaves_nothing(run: Run) -> None:
    result = run(
        """
        import subprocess, sys

        def leave_a_process_and_fail(workers):
            started.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
            raise RuntimeError("no licence")

        started = []

        @pytest.mark.isolation("pool_testing", target=leave_a_process_and_fail)
        def test_it(pool): ...

        def test_that_nothing_is_left():
            assert not os.path.exists(f"/proc/{started[0].pid}")
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*pool_testing could not be set up, at the stage 'opening the pool'*raised RuntimeError: no licence*"]
    )


def test_workers_that_never_start_name_the_stage(run: Run, pytester: pytest.Pytester) -> None:
    pytester.mkdir("config")
    (pytester.path / "config" / "layer_2.toml").write_text("[bounds]\nopen_s = 1.0\n", encoding="utf-8")
    result = run(
        """
        def refuse(): raise RuntimeError("no licence")

        @pytest.mark.isolation("pool_testing", options={"initializer": refuse, "max_failures": 1})
        def test_it(pool): ...
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*at the stage 'warming its workers'*", "*no licence*"])


def test_a_pool_whose_close_hangs_is_given_up_with_its_stack_and_the_next_test_runs(run: Run) -> None:
    result = run(
        """
        class NeverShut(ThreadPoolExecutor):
            over = threading.Event()
            def shutdown(self, wait=True, *, cancel_futures=False):
                self.over.wait()
                super().shutdown()

        @pytest.mark.isolation("pool_testing", target=NeverShut, workers=1, watch=("zombies",))
        def test_it(pool): ...

        def test_the_next():
            NeverShut.over.set()
        """
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*closing the pool * hung for 4 s and was given up; it was in", "*in shutdown"])


def test_workers_that_outlive_the_close_of_their_pool_are_told_and_ended(run: Run) -> None:
    result = run(
        """
        seen = []

        class Leaves(ProcessPoolExecutor):
            def shutdown(self, wait=True, *, cancel_futures=False):
                pass

        @pytest.mark.isolation("pool_testing", target=Leaves, workers=1, watch=("zombies",))
        def test_it(pool, pool_testing):
            seen.extend(pool_testing.workers)

        def test_the_next():
            assert seen and not any(os.path.exists(f"/proc/{worker.pid}") for worker in seen)
        """
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*worker pid * of the pool pool-1 outlived its close by 2 s"])


def test_what_a_subscriber_raises_fails_the_test(run: Run) -> None:
    result = run(
        """
        def fail(event):
            raise ValueError(f"not {event.what}")

        @pytest.mark.isolation("pool_testing", workers=1)
        def test_pools(pool):
            pool.subscribe(lambda event: fail(event) if event.what == "ended" else None)
            pool.touch().result()

        @pytest.mark.isolation("pool_testing", workers=1)
        def test_modes(pool, pool_testing):
            pool_testing.events.subscribe(lambda event: fail(event) if event.what == "ended" else None)
            pool.touch().result()
        """
    )
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(
        [
            "  - a subscriber of pool-1's events raised ValueError('not ended')",
            "  - a subscriber of the events raised ValueError('not ended')",
        ]
    )


def test_what_a_test_leaves_behind_fails_it_by_name(run: Run) -> None:
    result = run(
        """
        @pytest.mark.isolation("pool_testing", workers=1)
        def test_it(pool):
            threading.Thread(target=threading.Event().wait, daemon=True, name="leaky").start()
        """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*test_it.py::test_it:", "*thread 'leaky' (daemon) is still running*test_it.py:*"])
    assert "_poolproof_isolation" not in told(result)  # none of the kit's own frames


FORGETFUL = """
from poolproof import Claim, Claims

class Forgetful:
    claims = Claims(
        promises={"keeps-sessions-sticky": Claim(made="promised", source="here")}, in_process=True, sessions_end=False
    )
    forgets = refuses = False

    def __init__(self, workers):
        self.threads, self.states = ThreadPoolExecutor(workers), {}

    def submit(self, operation):
        if self.refuses:
            raise RuntimeError("no more")
        if operation.session is None:
            return self.threads.submit(operation.call)
        state = {} if self.forgets else self.states.setdefault(operation.session, {})
        return self.threads.submit(operation.call, state)

    def close(self, *, cancel=False):
        self.threads.shutdown()

forgetful = pytest.mark.isolation("pool_testing", target=Forgetful, workers=1)
"""


def test_sessions_that_lose_their_state_without_need_fail_the_test(run: Run) -> None:
    result = run(
        FORGETFUL
        + """
@forgetful
def test_that_keeps_them(pool):
    for _ in range(3):
        pool.touch(session="s").result()

@forgetful
def test_that_does_not(pool):
    pool.pool.forgets = True
    for _ in range(3):
        pool.touch(session="s").result()

@forgetful
def test_that_does_not_and_is_refused(pool):
    pool.pool.forgets = True
    for _ in range(3):
        pool.touch(session="s").result()
    pool.pool.refuses = True
    with pytest.raises(RuntimeError):
        pool.touch(session="refused")

@pytest.mark.isolation("pool_testing", target=Forgetful, workers=1, verify_sessions=False)
def test_that_need_not(pool):
    pool.pool.forgets = True
    for _ in range(3):
        pool.touch(session="s").result()
"""
    )
    result.assert_outcomes(passed=4, errors=2)
    for name in ("test_that_does_not", "test_that_does_not_and_is_refused"):
        result.stdout.fnmatch_lines([f"test_it.py::{name}:", "  - 2 changes of epoch, 0 allowed: 's' went from *"])


def test_a_pool_whose_sessions_move_from_the_beginning_is_not_set_up(run: Run) -> None:
    result = run(
        FORGETFUL
        + """
class Never(Forgetful):
    forgets = True

@pytest.mark.isolation("pool_testing", target=Never, workers=1)
def test_it(pool): ...
"""
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*at the stage 'verifying its sessions': 2 changes of epoch, 0 allowed*"])


# --- what hangs, fails and is run again -----------------------------------------------------------------------------


def test_a_test_that_hangs_is_ended_with_its_stacks_and_its_pool_and_the_next_one_runs(run: Run) -> None:
    result = run(
        """
        @pytest.mark.isolation("pool_testing", workers=1, target="thread-pool-executor")
        def test_that_hangs(pool):
            threading.Event().wait()

        @pytest.mark.isolation("pool_testing", workers=1)
        def test_the_next(pool):
            pool.submit().result()
        """,
        ini="poolproof_timeout = 2",
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*HungTestError: test_it.py::test_that_hangs was still running after 2 s (poolproof_timeout)*ended:",
            "*thread 'MainThread', the innermost call first:",
            "*in test_that_hangs",
            "*layer 2: 0 pending*",
        ]
    )
    assert told(result).count("layer 2: 0 pending") > 1  # in the error too, and not only in a section of its own


def test_a_test_that_nothing_in_its_process_can_end_is_ended_with_its_process(run: Run) -> None:
    result = run(
        """
        import signal
        import poolproof.plugin

        poolproof.plugin._GRACE_S = 1.0

        @pytest.mark.isolation("pool_testing", workers=1)
        def test_that_hangs(pool):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            threading.Event().wait()
        """,
        ini="poolproof_timeout = 2",
    )
    assert result.ret == -signal.SIGABRT
    assert "test_that_hangs went on for 1 s beyond its bound of 2 s" in told(result)


def test_a_test_that_catches_every_exception_is_ended_all_the_same(run: Run) -> None:
    result = run(
        """
        @pytest.mark.isolation("pool_testing", workers=1)
        def test_that_hangs(pool):
            while True:
                try:
                    pool.submit("obey", ("wait", 0.2, 1)).result()
                except Exception:
                    pass
        """,
        ini="poolproof_timeout = 2",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*HungTestError: test_it.py::test_that_hangs was still running after 2 s*"])


def test_a_pool_that_cannot_say_what_it_is_ends_no_session(run: Run) -> None:
    result = run(
        """
        class Speechless(ThreadPoolExecutor):
            def __repr__(self):
                raise RuntimeError("no words")

        @pytest.mark.isolation("pool_testing", target=Speechless, workers=1)
        def test_that_fails(pool):
            assert False

        def test_the_next(): ...
        """
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["pool-1 could not be described: RuntimeError: no words"])


def test_a_failed_test_tells_its_seed_its_pool_its_events_and_its_last_operations(run: Run) -> None:
    result = run(
        """
        @pytest.mark.isolation("pool_testing", workers=1)
        def test_it(pool):
            pool.submit("obey", ("answer", 1), session="s").result()
            assert False
        """,
        "--poolproof-seed=77",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- poolproof -*",
            "again with: --poolproof-seed=77",
            "*- pool pool-1 -*",
            "layer 2: 0 pending (0 running, 0 queued), 1 completed*living workers: pid *",
            "the last * events:",
            "*session * opened",
            "the last 1 of 1 operations:",
            "  <operation * (obey of session 's'): ok>",
        ]
    )


def test_a_seed_at_random_is_told_and_the_same_for_all_workers_of_xdist(run: Run) -> None:
    result = run(
        """
        @pytest.mark.parametrize("number", range(4))
        @pytest.mark.isolation("basic")
        def test_it(isolation, number):
            assert False, isolation.random.random()
        """,
        "--poolproof-seed=random",
        "-n2",
        "--dist=each",
    )
    result.assert_outcomes(failed=8)
    assert len(set(re.findall(r"again with: --poolproof-seed=(\d+)", told(result)))) == 1


def test_settings_that_make_no_sense_are_refused(run: Run) -> None:
    result = run("def test_it(): ...", "--poolproof-seed=soon")
    assert "--poolproof-seed=soon: expected a whole number, or random" in told(result)
    result = run("def test_it(): ...", ini="poolproof_timeout = soon")
    assert "poolproof_timeout = soon: expected seconds, or 0 for any time" in told(result)


def test_a_test_that_is_run_again_gets_a_fresh_pool(run: Run) -> None:
    result = run(
        """
        seen = set()

        @pytest.mark.isolation("pool_testing", workers=2)
        def test_it(pool, pool_testing):
            pids = {worker.pid for worker in pool_testing.workers}
            assert len(pids) == 2 and not pids & seen
            seen.update(pids)
            with synchronize_pool_operations(pool):
                inject_worker_failure(pool)
            assert len(seen) >= 6
        """,
        "--reruns=2",
    )
    result.assert_outcomes(passed=1)
    assert "2 rerun" in told(result)


def test_pools_work_under_xdist_by_scope_and_nothing_is_told(run: Run) -> None:
    result = run(
        """
        @pytest.mark.parametrize("number", range(3))
        @pytest.mark.isolation("pool_testing", workers=2)
        class TestIt:
            def test_one(self, pool, number):
                assert run_concurrent_operations(pool, 6).ok == 6

            @pytest.mark.isolation("pool_testing", workers=1)
            def test_nearer_mark(self, pool, number):
                assert pool.size == 1
        """,
        "-n2",
        "--dist=loadscope",
        "-Werror",
    )
    result.assert_outcomes(passed=6)


def test_a_test_without_a_mark_is_as_it_was(run: Run) -> None:
    result = run(
        """
        from poolproof.rig.keeper import guardian

        def test_that_leaks():
            threading.Thread(target=threading.Event().wait, daemon=True, name="left").start()
            os.environ["LEFT"] = "1"

        def test_that_nobody_looks_after():
            assert os.environ["LEFT"] == "1"
            assert guardian().pid is None
            assert not [it for it in threading.enumerate() if it.name.startswith("poolproof")]
            assert not [name for name in os.environ if name.startswith("POOLPROOF_TEST")]
        """
    )
    result.assert_outcomes(passed=2)


def test_a_project_may_choose_a_mode_for_all_its_tests(run: Run) -> None:
    result = run(
        """
        def test_it():
            os.environ["LEFT"] = "1"
        """,
        ini="poolproof_isolation = contamination_detection",
    )
    result.assert_outcomes(passed=1, errors=1)


def test_the_configuration_of_the_project_counts(run: Run, pytester: pytest.Pytester) -> None:
    folder = Path(pytester.mkdir("config"))
    (folder / "layer_1.toml").write_text("[pool]\nworkers = 5\n", encoding="utf-8")
    result = run(
        """
        @pytest.mark.isolation("pool_testing")
        def test_it(pool):
            assert pool.size == 5
        """,
        "--layer=1",
    )
    result.assert_outcomes(passed=1)
