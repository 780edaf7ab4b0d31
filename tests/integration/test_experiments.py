"""Experiments of the user's own with real processes: users, aborts, cancellation, and what a freeze does to figures."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable

import numpy as np
import pytest

from poolproof import Abort, Experiment, Mix, Run, Shape, error_rate, fault, hold, p99, processes, users
from poolproof.config import Effective, load_config
from poolproof.config.schema import Limits
from poolproof.errors import TargetError
from poolproof.history import Phase
from poolproof.lab.launch import Progress

pytestmark = pytest.mark.layer(2)

WORKERS = 3
FREEZE_S = 0.5
UNLIMITED = Limits(max_share=1.0, min_survivors=0, max_fault_s=60.0, max_processes=256)
LONG = "poolproof.workloads.scripted:waits"
"""A workload with operations of 1.5 s, `overdue`."""

Watcher = Callable[[str, str, Progress], None]


@pytest.fixture
def effective() -> Effective:
    return load_config(2, options={"pool.workers": WORKERS, "load.arrivals": "constant"})


@pytest.fixture
def experiment_of_three(effective: Effective) -> Experiment:
    return Experiment(effective=effective, layer=2, seed=1, target="process-pool-executor")


def measured(run: Run) -> np.ndarray:
    return np.flatnonzero(run.history.in_phase(Phase.MEASURED))


def most_under_way(run: Run) -> int:
    """The most operations of the measured window that were sent and not ended at once."""
    operations, rows = run.history.operations, measured(run)
    moments = np.concatenate([operations.sent[rows], operations.done[rows]])
    change = np.repeat([1, -1], len(rows))
    return int(np.cumsum(change[np.lexsort((change, moments))]).max())


def response_ms(run: Run) -> np.ndarray:
    operations, rows = run.history.operations, measured(run)
    return np.asarray((operations.done[rows] - operations.due[rows]) / 1e6)


def broken(run: Run) -> list[str]:
    return [name for name, promise in run.proof.promises.items() if promise.verdict == "broken"]


def lab_of_this_process() -> processes.Handle:
    """The one lab that runs for this process."""
    below = processes.descendants(os.getpid(), processes.everyone())
    labs = {pid for pid in below if _is_lab(pid)}
    # Workers that were forked bear the lab's command line: the lab is the one whose parent does not.
    (lab,) = [pid for pid in labs if below[pid].ppid not in labs]
    handle = processes.Handle.open(lab)
    assert handle is not None
    return handle


def _is_lab(pid: int) -> bool:
    arguments = processes.command_line(pid).split()
    return arguments[:1] == ["poolproof-lab"] or (
        len(arguments) > 2 and arguments[1].endswith("boot.py") and arguments[2] == "lab"
    )


# --- the fixture ------------------------------------------------------------------------------------------------------


def test_an_experiment_is_run_by_a_plain_test(experiment: Experiment) -> None:
    run = experiment.run(hold(40, "1s"), {"predict": 1}, objectives=[error_rate() < 0.1])
    assert (run.expect_kept().load.completed, run.proof.layer) == (run.load.offered, 2)


# --- users ------------------------------------------------------------------------------------------------------------


def test_there_is_never_more_under_way_than_there_are_users(experiment_of_three: Experiment) -> None:
    run = experiment_of_three.run(users(5, "1.5s"), {"predict": 1})
    assert most_under_way(run) == 5
    assert (run.load.unresolved, broken(run)) == (0, [])
    assert run.load.offered > 100


def test_operations_of_users_have_deadlines_and_sessions(effective: Effective) -> None:
    run = Experiment(effective=effective, layer=2, seed=1).run(
        users(2, "500ms"), Mix(weights={"predict": 1}, sessions=3, deadline="5s", idempotent=1.0)
    )
    operations, rows = run.history.operations, measured(run)
    assert set((operations.deadline[rows] - operations.due[rows]).tolist()) == {5_000_000_000}
    assert set(operations.session[rows].tolist()) == {0, 1, 2}
    assert set(operations.idempotent[rows].tolist()) == {1}


# --- aborts -----------------------------------------------------------------------------------------------------------


def test_an_abort_ends_the_load_early_and_the_run_says_so(experiment_of_three: Experiment) -> None:
    run = experiment_of_three.run(
        hold(900, "6s"),
        {"predict": 1},
        faults=[fault("kill", at="5s")],
        aborts=[Abort(figure="backlog", above=60)],
        objectives=[error_rate() < 0.1],
    )
    given_up = run.history.first("given-up")
    assert given_up is not None
    assert run.outcome.given_up.startswith("backlog > 60: it was ")
    assert run.history.seconds(given_up.at) < 4
    assert run.load.offered + (given_up.value or 0) == 5400
    assert [(it.effective, it.why) for it in run.outcome.faults] == [
        ("no", f"the load was given up before: {run.outcome.given_up}")
    ]
    assert (run.objectives[0].verdict, run.load.unresolved) == ("unknown", 0)


def test_users_whose_operations_do_not_end_hear_of_an_abort_all_the_same(experiment_of_three: Experiment) -> None:
    run = experiment_of_three.run(
        users(3, "1.4s"), {"overdue": 1}, workload=LONG, aborts=[Abort(figure="backlog", above=2)]
    )
    given_up = run.history.first("given-up")
    assert given_up is not None
    assert run.history.seconds(given_up.at) < 1.3
    assert run.outcome.given_up == "backlog > 2: it was 3"


# --- cancelled --------------------------------------------------------------------------------------------------------


def test_a_run_that_is_cancelled_leaves_no_process_stopped_or_not(experiment_of_three: Experiment) -> None:
    before = set(processes.descendants(os.getpid(), processes.everyone()))
    stopped: list[int] = []

    async def cancel_while_a_worker_is_stopped() -> None:
        loop, found = asyncio.get_running_loop(), asyncio.Event()

        def watch(target: str, scenario: str, progress: Progress) -> None:
            below = processes.descendants(os.getpid(), processes.everyone()) if not stopped else {}
            stopped.extend(pid for pid, process in below.items() if process.state == "T")
            if stopped:
                loop.call_soon_threadsafe(found.set)

        stall = fault("stall", lasting="30s", at="200ms")
        running = asyncio.create_task(experiment_of_three.run_async(hold(100, "40s"), faults=[stall], watcher=watch))
        await asyncio.wait_for(found.wait(), 30)
        began = loop.time()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert loop.time() - began < 15  # and not after the 30 s of the fault, or the 40 s of the load

    asyncio.run(cancel_while_a_worker_is_stopped())
    assert stopped
    assert set(processes.descendants(os.getpid(), processes.everyone())) - before == set()
    assert [pid for pid in stopped if processes.look_up(pid) is not None] == []


# --- what does not exist ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mix", "kind", "told"),
    [
        ({"predict": 1.0}, "guess", r"the objective p99\(guess\) < 1000 ms is about operations that the load does not"),
        ({"guess": 1.0}, "", r"the load has operations of the kind 'guess': the workload has predict, batch, obey"),
    ],
)
def test_a_kind_that_does_not_exist_is_told_before_anything_is_sent(
    experiment_of_three: Experiment, mix: dict[str, float], kind: str, told: str
) -> None:
    seen: list[Progress] = []
    with pytest.raises(TargetError, match=told):
        experiment_of_three.run(
            hold(10, "1s"), mix, objectives=[p99(kind) < "1s"], watcher=lambda _, __, progress: seen.append(progress)
        )
    assert {progress.stage for progress in seen} <= {"start", "prepare"}
    assert {progress.sent for progress in seen} <= {0}


# --- coordinated omission ---------------------------------------------------------------------------------------------


class Freezer:
    """Stops the lab, with its generator, for half a second once the load has begun, from a thread of its own."""

    def __init__(self) -> None:
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._freeze)
        self.froze = False

    def watch(self, target: str, scenario: str, progress: Progress) -> None:
        # By then it is the middle of the load, and not the moment before it.
        if progress.stage == "load" and progress.sent > 200:
            self._began.set()

    def __enter__(self) -> "Freezer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._began.set()
        self._thread.join()

    def _freeze(self) -> None:
        if not self._began.wait(60):
            return
        lab = lab_of_this_process()
        lab.send(signal.SIGSTOP)
        try:
            threading.Event().wait(FREEZE_S)
        finally:
            lab.send(signal.SIGCONT)
            lab.close()
        self.froze = True


def test_a_frozen_generator_yields_unknown_and_never_blame_on_the_pool(experiment_of_three: Experiment) -> None:
    with Freezer() as freezer:
        run = experiment_of_three.run(
            hold(200, "4s"), {"predict": 1}, objectives=[p99() < "100ms"], watcher=freezer.watch
        )
    assert freezer.froze
    (judged,) = run.objectives
    assert judged.verdict == "unknown"
    assert judged.why.startswith("the generator was the bottleneck: own lag p99 was ")
    assert (judged.value or 0) > 300
    assert (broken(run), run.load.unresolved) == ([], 0)


def frozen(run: Run) -> tuple[int, int]:
    """From when until when all workers were stopped, ns."""
    stalls = run.history.effective("stall")
    assert len(stalls) == WORKERS, [fault.why for fault in run.history.faults]
    return max(stall.begin for stall in stalls), min(stall.end for stall in stalls)


def with_frozen_workers(experiment: Experiment, shape: Shape) -> Run:
    freeze = fault("stall", share=1.0, lasting="500ms", at="1s")
    return experiment.with_config(limits=UNLIMITED).run(shape, {"predict": 1}, faults=[freeze])


def test_a_frozen_pool_shows_in_p99_as_the_schedule_demands(experiment_of_three: Experiment) -> None:
    run = with_frozen_workers(experiment_of_three, hold(200, "4s"))
    begin, end = frozen(run)
    due = run.history.operations.due[measured(run)]
    # Whatever was due within the freeze waits for the rest of it; of 800 the 1 % that waits longest is among those.
    demanded_ms = np.sort(np.where((due >= begin) & (due < end), (end - due) / 1e6, 0.0))
    at_p99 = float(demanded_ms[-9])
    told = [(run.history.seconds(it.begin), run.history.seconds(it.end)) for it in run.history.effective("stall")]
    assert at_p99 > 0.7 * FREEZE_S * 1e3, told
    assert at_p99 <= (run.load.response_ms["p99"] or 0) <= at_p99 + 150
    assert np.count_nonzero(response_ms(run) > 100) >= np.count_nonzero(demanded_ms > 100) > 50


def test_users_who_wait_hide_the_same_freeze(experiment_of_three: Experiment) -> None:
    run = with_frozen_workers(experiment_of_three, users(WORKERS, "4s"))
    begin, end = frozen(run)
    assert (end - begin) / 1e9 > 0.7 * FREEZE_S
    # Each user has one operation in it, and none of those that he would have sent.
    slow = np.count_nonzero(response_ms(run) > 0.7 * FREEZE_S * 1e3)
    assert 1 <= slow <= WORKERS
    assert (run.load.response_ms["p99"] or 0) < 100
