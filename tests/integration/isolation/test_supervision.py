"""The mode `supervision_testing`: real workers, restarted as its supervisor decides."""

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from poolproof import processes
from poolproof.clock import now_ns
from poolproof.errors import IsolationError, UsageError, WaitTimeoutError
from poolproof.isolation import isolated, scene_of
from poolproof.isolation.supervision import Behaviour, Supervision
from poolproof.isolation.supervisor import STRATEGIES, Strategy
from poolproof.rig import notices
from poolproof.rig.keeper import guardian
from poolproof.waiting import Event, EventStream

pytestmark = [pytest.mark.layer(2), pytest.mark.timeout(60)]

LONG_S = 15.0
MODE = "supervision_testing"

Open = Callable[..., Supervision]


def beat() -> None:
    """What a worker may be asked to run: for as long as it lives."""
    select.select([], [], [])


def fail() -> None:
    raise RuntimeError("as it was told to")


@pytest.fixture(autouse=True)
def keeper() -> None:
    """Started before anything is counted, as the plugin does."""
    guardian().start()


@pytest.fixture
def enter() -> Iterator[Open]:
    with ExitStack() as entered:
        yield lambda **options: entered.enter_context(isolated(MODE, **options))


def told_after(deed: Callable[[Supervision], object], **options: Any) -> str:
    """What the mode complains of at its end, after a test has done this."""
    mode = isolated(MODE, **options)
    deed(mode.__enter__())
    with pytest.raises(IsolationError) as told_of:
        mode.__exit__(None, None, None)
    return str(told_of.value)


def told(it: Supervision) -> list[tuple[str, Any]]:
    return [(event.what, event.who) for event in it.events.since()]


def children() -> set[int]:
    return set(processes.children(os.getpid()))


# --- workers ----------------------------------------------------------------------------------------------------


def test_those_that_were_asked_for_are_ready_when_the_test_begins(enter: Open) -> None:
    it = enter(workers=2)

    assert [(worker.name, worker.state, worker.life) for worker in it.workers()] == [
        ("worker-0", "ready", 1),
        ("worker-1", "ready", 1),
    ]


def test_each_is_a_process_of_its_own(enter: Open) -> None:
    it = enter(workers=3)

    pids = {worker.pid for worker in it.workers()}
    assert len(pids) == 3
    assert pids <= children()


def test_a_test_may_start_more(enter: Open) -> None:
    it = enter()
    it.start("late")

    (worker,) = it.wait_for_ready("late", timeout=LONG_S)

    assert worker.state == "ready"


def test_without_any_no_thread_and_no_descriptor_is_spent(enter: Open) -> None:
    before = processes.open_files(), threading.active_count()

    enter()

    assert (processes.open_files(), threading.active_count()) == before


def test_a_worker_that_starts_slowly_is_not_ready_before(enter: Open) -> None:
    it = enter()
    it.start("slow", Behaviour(ready_after_ms=10_000))

    with pytest.raises(WaitTimeoutError, match=r"waited 0\.1 s for slow to be ready.*starting"):
        it.wait_for_ready("slow", timeout=0.1)


def test_a_worker_that_is_never_ready_is_killed_and_restarted(enter: Open) -> None:
    it = enter(start_s=0.2, backoff_s=0.001, max_backoff_s=0.001, max_restarts=1)
    it.start("mute", Behaviour(ready_after_ms=None))

    it.wait_for_gave_up(LONG_S)

    exits = [event.detail for event in it.events.since() if event.what == "exited"]
    assert exits == ["was killed by SIGKILL: killed, for it was not ready within 0.2 s"] * 2


def test_a_worker_runs_a_function_of_the_users_own(enter: Open) -> None:
    it = enter()
    it.start("own", Behaviour(call="tests.integration.isolation.test_supervision:beat"))

    assert it.wait_for_ready(timeout=LONG_S)[0].state == "ready"


def test_where_that_raises_it_exits_with_status_1(enter: Open, capfd: pytest.CaptureFixture[str]) -> None:
    it = enter(max_restarts=0)
    it.start("own", Behaviour(call="tests.integration.isolation.test_supervision:fail"))
    it.wait_for_gave_up(LONG_S)

    (exited,) = [event for event in it.events.since() if event.what == "exited"]
    assert exited.detail == "exited with status 1"
    assert "RuntimeError: as it was told to" in capfd.readouterr().err


def test_a_worker_whose_supervisor_dies_ends_too(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        mode = isolated(MODE, workers=1)
        supervision = mode.__enter__()
        (tmp_path / "pid").write_text(str(supervision.worker("worker-0").pid))
        guardian().close()  # which would have ended it as well
        os._exit(0)
    os.waitpid(pid, 0)
    handle = processes.Handle.open(int((tmp_path / "pid").read_text()))

    assert handle is None or handle.wait_gone(LONG_S)
    if handle is not None:
        handle.close()


# --- restarts ---------------------------------------------------------------------------------------------------


def test_a_worker_that_was_killed_comes_back_as_another_process(enter: Open) -> None:
    it = enter(workers=1)
    before = it.worker("worker-0")

    it.kill("worker-0")
    after = it.wait_for_restart("worker-0", LONG_S)

    assert (after.life, after.restarts, after.state) == (2, 1, "ready")
    assert after.pid != before.pid


def test_what_happens_is_told_in_its_order(enter: Open) -> None:
    it = enter(workers=1)
    it.kill("worker-0")
    it.wait_for_restart("worker-0", LONG_S)

    assert [what for what, _ in told(it)] == ["starting", "ready", "exited", "restarting", "starting", "ready"]


def test_its_end_is_told_with_how_and_which_process(enter: Open) -> None:
    it = enter(workers=1)
    pid = it.worker("worker-0").pid
    it.exit("worker-0", 42)
    it.wait_for_restart("worker-0", LONG_S)

    (exited,) = [event for event in it.events.since() if event.what == "exited"]
    assert (exited.pid, exited.detail) == (pid, "exited with status 42")


def test_a_restart_that_was_over_before_the_wait_is_not_missed(enter: Open) -> None:
    it = enter(workers=1)
    it.kill("worker-0")
    it.wait_for_restart("worker-0", LONG_S)
    mark = threading.Event()
    it.events.subscribe(lambda event: mark.set() if event.what == "ready" else None)
    it.kill("worker-0")
    assert mark.wait(LONG_S)

    assert it.wait_for_restart("worker-0", 0.001 + LONG_S).life == 3


def test_no_restart_is_waited_for_twice(enter: Open) -> None:
    it = enter(workers=1)
    it.kill("worker-0")
    it.wait_for_restart("worker-0", LONG_S)

    with pytest.raises(WaitTimeoutError, match="a restart of worker-0 after its life 2"):
        it.wait_for_restart("worker-0", 0.05)


@pytest.mark.parametrize(
    ("strategy", "restarted"),
    [
        ("one_for_one", ["worker-1"]),
        ("one_for_all", ["worker-0", "worker-1", "worker-2"]),
        ("rest_for_one", ["worker-1", "worker-2"]),
    ],
)
def test_a_strategy_restarts_those_that_it_names_in_their_order(
    strategy: Strategy, restarted: list[str], enter: Open
) -> None:
    it = enter(workers=3, strategy=strategy, backoff_s=0.001)
    mark = it.events.count
    it.kill("worker-1")
    for name in restarted:
        it.wait_for_restart(name, LONG_S)

    assert [event.who for event in it.events.since(mark) if event.what == "starting"] == restarted


def test_those_restarted_along_were_stopped_in_reverse(enter: Open) -> None:
    it = enter(workers=3, strategy="one_for_all", backoff_s=0.001)
    it.kill("worker-0")
    it.wait_for_restart("worker-2", LONG_S)

    assert [who for what, who in told(it) if what == "stopping"] == ["worker-2", "worker-1"]


def test_a_restart_waits_for_its_delay(enter: Open) -> None:
    it = enter(workers=1, backoff_s=0.2)
    it.kill("worker-0")
    it.wait_for_restart("worker-0", LONG_S)

    at = {event.what: event.at_ns for event in it.events.since()}
    assert (at["starting"] - at["restarting"]) / 1e6 >= 100


def test_a_crash_loop_makes_it_give_up(enter: Open) -> None:
    it = enter(workers=1, max_restarts=3, backoff_s=0.001, max_backoff_s=0.002)
    it.start("crashing", Behaviour(exits=3))

    it.wait_for_gave_up(LONG_S)

    assert it.state == "gave-up"
    exits = [event.detail for event in it.events.since() if event.what == "exited"]
    assert exits == ["exited with status 3"] * 4


def test_what_a_worker_said_just_before_it_died_is_heard(enter: Open) -> None:
    it = enter(max_restarts=5, backoff_s=0, max_backoff_s=0)
    it.start("quick", Behaviour(exits=0))
    it.wait_for_gave_up(LONG_S)

    assert [what for what, _ in told(it)].count("ready") == 6


def test_a_supervisor_that_waits_uses_no_processor_time(enter: Open) -> None:
    it = enter()
    it.start("slow", Behaviour(exits=0, after_ms=800))
    it.wait_for_ready(timeout=LONG_S)
    before = process_time()
    it.wait_for_restart("slow", LONG_S)

    assert process_time() - before < 0.15


def test_a_crash_before_it_is_ready_does_too(enter: Open) -> None:
    it = enter(max_restarts=2, backoff_s=0.001, max_backoff_s=0.001)
    it.start("crashing", Behaviour(exits=3, ready_after_ms=None))

    it.wait_for_gave_up(LONG_S)

    assert [what for what, _ in told(it)].count("ready") == 0


def test_when_it_gave_up_nobody_is_left(enter: Open) -> None:
    before = children()
    it = enter(workers=2, max_restarts=0)
    it.kill("worker-0")
    it.wait_for_gave_up(LONG_S)

    assert children() == before
    assert [worker.pid for worker in it.workers()] == [None, None]


def test_that_it_gave_up_is_told_with_the_reason(enter: Open) -> None:
    it = enter(workers=1, max_restarts=0, within_s=7)
    it.kill("worker-0")
    it.wait_for_gave_up(LONG_S)

    (event,) = [event for event in it.events.since() if event.what == "gave-up"]
    assert event.subject == "supervisor"
    assert event.detail == "1 failure within 7 s, the last of worker-0: more than max_restarts = 0"


def test_a_wait_for_a_restart_that_will_not_come_tells_what_was_seen(enter: Open) -> None:
    it = enter(workers=1, max_restarts=0)
    it.kill("worker-0")

    with pytest.raises(WaitTimeoutError, match=r"(?s)gave-up: worker-0 gone.*worker-0.*exited: was killed by SIGKILL"):
        it.wait_for_restart("worker-0", 0.3)


def test_the_same_seed_gives_the_same_delays(enter: Open) -> None:
    def delays() -> list[str]:
        scene = scene_of("the same", seed=5)
        with isolated(MODE, scene=scene, max_restarts=2, backoff_s=0.001, max_backoff_s=0.004) as it:
            it.start("crashing", Behaviour(exits=1))
            it.wait_for_gave_up(LONG_S)
            return [event.detail for event in it.events.since() if event.what == "restarting"]

    assert delays() == delays()


def test_a_subscriber_may_act_on_what_it_is_told(enter: Open) -> None:
    it = enter(workers=1)
    it.events.subscribe(lambda event: it.start("second") if event.what == "exited" else None)
    it.kill("worker-0")
    it.wait_for_restart("worker-0", LONG_S)

    assert it.wait_for_ready("second", timeout=LONG_S)


def test_a_death_is_told_within_a_few_milliseconds(enter: Open) -> None:
    it = enter(workers=1, backoff_s=0, max_backoff_s=0, max_restarts=100)
    took_ms = []
    for _ in range(15):
        mark, began = it.events.count, now_ns()
        it.kill("worker-0")
        it.wait_for_restart("worker-0", LONG_S)
        (exited,) = [event for event in it.events.since(mark) if event.what == "exited"]
        took_ms.append((exited.at_ns - began) / 1e6)

    # The best of them, for the machine may be busy.
    assert min(took_ms) < 5, took_ms


def test_a_worker_that_is_stopped_is_not_restarted(enter: Open) -> None:
    it = enter(workers=2)
    gone = threading.Event()
    it.events.subscribe(lambda event: gone.set() if event.what == "gone" else None)

    it.stop("worker-1")

    assert gone.wait(LONG_S)
    assert [worker.state for worker in it.workers()] == ["ready", "gone"]


# --- the children of the test -----------------------------------------------------------------------------------


def test_the_handler_of_sigchld_stays_what_it_is(enter: Open) -> None:
    before = signal.getsignal(signal.SIGCHLD)
    it = enter(workers=1)
    it.kill("worker-0")
    it.wait_for_restart("worker-0", LONG_S)

    assert signal.getsignal(signal.SIGCHLD) is before


def test_a_child_of_the_tests_own_is_left_for_the_test_to_wait_for(enter: Open) -> None:
    it = enter(workers=1)
    pid = os.fork()
    if pid == 0:
        os._exit(9)
    it.kill("worker-0")
    it.wait_for_restart("worker-0", LONG_S)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def test_a_worker_that_the_test_reaped_itself_is_restarted_all_the_same(
    enter: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = enter(workers=1)
    pid = it.worker("worker-0").pid
    assert pid is not None
    real = os.waitpid

    def robbed(wanted: int, options: int) -> tuple[int, int]:
        real(wanted, options)
        raise ChildProcessError

    monkeypatch.setattr(os, "waitpid", robbed)
    it.kill("worker-0")
    it.wait_for_restart("worker-0", LONG_S)
    monkeypatch.undo()

    assert processes.look_up(pid) is None


# --- the end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_all_are_stopped_in_reverse(strategy: Strategy) -> None:
    with isolated(MODE, workers=3, strategy=strategy) as it:
        pass

    assert [who for what, who in told(it) if what == "stopping"] == [None, "worker-2", "worker-1", "worker-0"]


def test_afterwards_nobody_is_left() -> None:
    before = children()
    with isolated(MODE, workers=3):
        pass

    assert children() == before


def test_afterwards_no_descriptor_and_no_thread_is_left(tmp_path: Path) -> None:
    notices.prepare()
    before = processes.open_files(), threading.active_count()
    with isolated(MODE, workers=2) as it:
        it.monitor(tmp_path, EventStream())
        it.kill("worker-0")
        it.wait_for_restart("worker-0", LONG_S)

    assert (processes.open_files(), threading.active_count()) == before


def test_who_ignores_sigterm_is_killed_after_a_while() -> None:
    with isolated(MODE, stop_s=0.1) as it:
        it.start("stubborn", Behaviour(ignores_sigterm=True))
        it.wait_for_ready(timeout=LONG_S)

    (gone,) = [event for event in it.events.since() if event.what == "gone" and event.who]
    assert gone.detail == "was killed by SIGKILL: killed, for it did not stop within 0.1 s"


def test_a_worker_that_is_stopped_by_a_signal_is_ended_all_the_same() -> None:
    with isolated(MODE, workers=1, stop_s=0.1) as it:
        pid = it.worker("worker-0").pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)

    assert processes.look_up(pid) is None


def test_a_restart_that_is_pending_is_not_waited_for() -> None:
    with isolated(MODE, workers=1, backoff_s=1000, max_backoff_s=1000) as it:
        exited = threading.Event()
        it.events.subscribe(lambda event: exited.set() if event.what == "restarting" else None)
        it.kill("worker-0")
        assert exited.wait(LONG_S)
        began = now_ns()

    assert (now_ns() - began) / 1e9 < 5


def test_every_end_has_its_event() -> None:
    with isolated(MODE, workers=2, max_restarts=1, backoff_s=0.001) as it:
        it.start("crashing", Behaviour(exits=1))
        it.wait_for_gave_up(LONG_S)

    started = [event.pid for event in it.events.since() if event.what == "starting"]
    ended = [event.pid for event in it.events.since() if event.what in ("exited", "gone") and event.who]
    assert sorted(started) == sorted(ended)


def test_a_worker_that_lives_on_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    pids: list[int] = []

    def cannot_be_ended(it: Supervision) -> None:
        pids.extend(worker.pid for worker in it.workers() if worker.pid)
        monkeypatch.setattr("poolproof.isolation.supervision._KILLED_S", 0.1)
        monkeypatch.setattr(processes.Handle, "send", lambda self, number: True)

    problems = told_after(cannot_be_ended, workers=1, stop_s=0.01)
    monkeypatch.undo()
    os.kill(pids[0], signal.SIGKILL)
    os.waitpid(pids[0], 0)

    assert "the workers did not stop: <Supervision stopping: worker-0 stopping (life 1)>" in problems
    assert f"supervised worker 'worker-0', life 1 (pid {pids[0]}) is still there, in state " in problems


def test_an_end_that_no_event_told_of_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    real = EventStream.publish
    monkeypatch.setattr(
        EventStream, "publish", lambda self, event: None if event.what == "exited" else real(self, event)
    )

    def crash(it: Supervision) -> None:
        it.kill("worker-0")
        it.wait_for_gave_up(LONG_S)

    assert "ended, and no event told of it" in told_after(crash, workers=1, max_restarts=0)


def test_a_worker_that_was_not_reaped_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def robbed(wanted: int, options: int) -> tuple[int, int]:
        raise ChildProcessError

    with isolated(MODE) as outer:
        it = Supervision(scene_of("inner"), outer._policy)
        it.start("zombie")
        (worker,) = it.wait_for_ready(timeout=LONG_S)
        with monkeypatch.context() as unreaped:
            unreaped.setattr(os, "waitpid", robbed)
            problems = it.close()
    assert worker.pid is not None
    os.waitpid(worker.pid, 0)

    assert problems == [f"supervised worker 'zombie', life 1 (pid {worker.pid}) was not waited for"]


def test_a_subscriber_that_raised_is_told_of() -> None:
    def raises(event: Event) -> None:
        raise KeyError("mine")

    def subscribe(it: Supervision) -> None:
        it.events.subscribe(raises)
        it.start("any")
        it.wait_for_ready(timeout=LONG_S)

    assert "a subscriber of the supervisor's events raised KeyError: 'mine'" in told_after(subscribe)


def test_a_subscriber_that_hangs_is_told_of_and_no_worker_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolproof.isolation.supervision._KILLED_S", 0.2)
    before, released, hangs = children(), threading.Event(), threading.Event()

    def hang(event: Event) -> None:
        hangs.set()
        released.wait(LONG_S)

    def subscribe(it: Supervision) -> None:
        it.events.subscribe(hang)
        it.kill("worker-0")
        assert hangs.wait(LONG_S)

    problems = told_after(subscribe, workers=2, stop_s=0.1)
    left = children()
    released.set()

    assert "the supervisor's thread does not end: a subscriber of its events hangs" in problems
    assert left == before


def test_a_supervisor_that_fails_is_told_of_and_no_worker_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    before, files = children(), processes.open_files()

    def fails(*_: object) -> list[Any]:
        raise RuntimeError("a defect")

    monkeypatch.setattr("poolproof.isolation.supervisor.Supervisor.exited", fails)

    problems = told_after(lambda it: it.kill("worker-0"), workers=2)

    assert "the supervisor failed: RuntimeError: a defect" in problems
    assert children() == before
    # What an earlier test left to the garbage collector may go meanwhile; nothing may have come.
    assert dict(processes.open_files().items() - files.items()) == {}


def test_a_worker_that_cannot_be_started_is_a_failure_like_any_other(
    enter: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> int:
        raise OSError(11, "Resource temporarily unavailable")

    it = enter(max_restarts=1, backoff_s=0.001)
    monkeypatch.setattr(os, "posix_spawn", refuses)
    it.start("none")
    it.wait_for_gave_up(LONG_S)

    exits = [(event.pid, event.detail) for event in it.events.since() if event.what == "exited"]
    assert exits == [(None, "could not be started: [Errno 11] Resource temporarily unavailable")] * 2


# --- the monitor of a pool --------------------------------------------------------------------------------------


def test_the_monitor_watches_who_keeps_records_in_a_folder(enter: Open, tmp_path: Path) -> None:
    it = enter(workers=1)
    worker = it.worker("worker-0")
    stream = EventStream()
    watch = it.monitor(tmp_path, stream)
    heard = threading.Event()
    stream.subscribe(lambda event: heard.set())

    (tmp_path / f"{worker.pid}-{worker.start_time}.bin").touch()

    assert heard.wait(LONG_S)
    assert [process.pid for process in watch.living()] == [worker.pid]


def test_the_monitor_is_closed_with_the_mode(tmp_path: Path) -> None:
    with isolated(MODE) as it:
        watch = it.monitor(tmp_path, EventStream())

    assert repr(watch) == "<ProcessWatch monitor: closed, 0 living, 0 gone>"


# --- what makes no sense ----------------------------------------------------------------------------------------


def test_options_that_make_no_sense_are_told_of_at_once() -> None:
    with pytest.raises(UsageError) as told_of:
        isolated(MODE, workers=-1, strategy="none", stop_s=0).__enter__()

    assert all(text in str(told_of.value) for text in ("workers = -1", "strategy = 'none'", "stop_s = 0"))


@pytest.mark.parametrize("workers", [1.5, "2", True, None])
def test_workers_is_a_number(workers: object) -> None:
    with pytest.raises(UsageError, match="expected a number of 0 or more"):
        isolated(MODE, workers=workers).__enter__()


@pytest.mark.parametrize(
    ("behaviour", "told_of"),
    [
        (Behaviour(exits=256), "exits = 256: expected a status between 0 and 255"),
        (Behaviour(exits=1, after_ms=-1), "after_ms = -1: expected a time of 0 or more"),
        (Behaviour(ready_after_ms=float("nan")), "ready_after_ms = nan: expected a time of 0 or more"),
        (Behaviour(call="nothing"), "call = 'nothing': expected module:function"),
        (Behaviour(call="no.such.module:function"), "there is no module no.such.module"),
        (Behaviour(call="os:getpid", exits=1), "call and exits: a worker either runs"),
    ],
)
def test_a_behaviour_that_makes_no_sense_is_told_of(behaviour: Behaviour, told_of: str, enter: Open) -> None:
    it = enter()

    with pytest.raises(UsageError, match=f"supervised worker 'odd': .*{told_of}"):
        it.start("odd", behaviour)


def test_two_of_one_name_are_refused(enter: Open) -> None:
    it = enter(workers=1)

    with pytest.raises(UsageError, match="there is a worker of this name already"):
        it.start("worker-0")


def test_nobody_is_started_once_it_gave_up(enter: Open) -> None:
    it = enter(workers=1, max_restarts=0)
    it.kill("worker-0")
    it.wait_for_gave_up(LONG_S)

    with pytest.raises(UsageError, match="the supervisor is gave-up: it starts nobody any more"):
        it.start("late")


def test_a_name_that_is_not_known_is_told_with_those_that_are(enter: Open) -> None:
    it = enter(workers=1)

    with pytest.raises(UsageError, match="no supervised worker 'worker-9': there are worker-0"):
        it.wait_for_restart("worker-9", 1)


def test_workers_that_do_not_get_ready_fail_the_entry_and_leave_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()
    monkeypatch.setattr("poolproof.isolation.supervision._command", lambda behaviour: ["/bin/false"])

    with pytest.raises(IsolationError, match="supervision_testing could not be set up: waited"):
        isolated(MODE, workers=1, start_s=0.2, max_restarts=0).__enter__()

    assert children() == before
