"""How a pool ends: by request, with its process, or with its process's murder; and that nothing of it stays."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING

import pytest

from poolproof import processes
from sessionpool import PoolClosed, SessionPool, Timing, WorkerDied
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Disturbance, Hold, Open, RunScript
from tests.integration.sessionpool.witnesses import (
    LONG_S,
    Diary,
    Ear,
    Mark,
    Meeting,
    bounded,
    children,
    failure,
    outcome,
    until,
)

if TYPE_CHECKING:
    import subprocess

# --- by request -------------------------------------------------------------------------------------------------


def test_a_shutdown_waits_for_what_runs_and_what_waits(pool: SessionPool, disturb: Disturbance) -> None:
    futures = [pool.options(idempotent=True).submit(deeds.echo, number) for number in range(100)]
    disturb(pool)

    bounded(pool.shutdown)

    assert all(future.done() for future in futures)
    assert [future.result(0) for future in futures] == list(range(100))


def test_a_shutdown_leaves_no_process(open_pool: Open, mark: Mark, disturb: Disturbance) -> None:
    pool = open_pool()
    for number in range(10):
        pool.submit(deeds.echo, number)
    disturb(pool)

    bounded(pool.shutdown)

    assert mark.left() == []


def test_a_shutdown_leaves_no_thread_and_no_descriptor(open_pool: Open, disturb: Disturbance) -> None:
    def live() -> None:
        pool = open_pool()
        pool.submit(deeds.echo, 1).result(LONG_S)
        disturb(pool)
        pool.shutdown()

    live()
    threads, descriptors = threading.enumerate(), len(processes.open_files())

    live()

    assert threading.enumerate() == threads
    assert len(processes.open_files()) == descriptors


def test_deaths_leave_no_descriptor_and_no_zombie(pool: SessionPool, mark: Mark) -> None:
    def die() -> int:
        before = pool.snapshot().restarts
        pool.submit(deeds.exit_at_once, 1).exception(LONG_S)
        pool.wait_for(lambda seen: seen.restarts == before + 1 and seen.ready == 2, timeout=LONG_S)
        return len(processes.open_files())

    die()
    before = die()
    for _ in range(5):
        die()

    assert until(lambda: len(processes.open_files()) == before)
    assert until(lambda: not [each for each in mark.everyone() if each.state == "Z"])


def test_a_shutdown_serves_the_sessions_that_wait(one_worker: SessionPool, hold: Hold) -> None:
    [(_, guest)] = hold(one_worker)
    futures = [one_worker.session(key).submit(deeds.count) for key in range(5) for _ in range(3)]
    one_worker.shutdown(wait=False)

    guest.release()

    assert [future.result(LONG_S)[0] for future in futures] == [1, 2, 3] * 5


def test_a_shutdown_that_cancels_lets_what_runs_end_and_cancels_what_waits(
    one_worker: SessionPool, hold: Hold, diary: Diary
) -> None:
    [(running, guest)] = hold(one_worker)
    waiting = [one_worker.submit(deeds.note, diary.path, "ran") for _ in range(5)]
    waiting.append(one_worker.session("s").submit(deeds.session_note, diary.path, "ran"))
    one_worker.shutdown(wait=False, cancel_futures=True)

    guest.release("done")

    assert running.result(LONG_S) == "done"
    bounded(one_worker.shutdown)
    assert all(future.cancelled() for future in waiting)
    assert diary.lines() == []


def test_an_immediate_shutdown_fails_what_runs(pool: SessionPool, hold: Hold) -> None:
    held = hold(pool, 2)

    bounded(partial(pool.shutdown, immediate=True))

    for future, _ in held:
        failure(future, PoolClosed)


def test_an_immediate_shutdown_resolves_what_waits(one_worker: SessionPool, hold: Hold) -> None:
    hold(one_worker)
    waiting = [one_worker.submit(deeds.echo, 1), one_worker.session("s").submit(deeds.count)]

    bounded(partial(one_worker.shutdown, immediate=True))

    assert all(future.cancelled() or type(future.exception(0)) is PoolClosed for future in waiting)


def test_an_immediate_shutdown_takes_a_moment(pool: SessionPool) -> None:
    pool.submit(deeds.keep_the_gil, 30.0)
    began = time.monotonic()

    bounded(partial(pool.shutdown, immediate=True))

    assert time.monotonic() - began < 2.0


def test_an_immediate_shutdown_overtakes_one_that_waits(pool: SessionPool, hold: Hold) -> None:
    [(future, _)] = hold(pool)
    pool.shutdown(wait=False)

    bounded(partial(pool.shutdown, immediate=True))

    failure(future, PoolClosed)


def test_an_immediate_shutdown_ends_one_that_another_thread_waits_in(pool: SessionPool, hold: Hold) -> None:
    hold(pool)
    waiter = threading.Thread(target=pool.shutdown, daemon=True)
    waiter.start()
    pool.wait_for(lambda seen: seen.closed, timeout=LONG_S)

    bounded(partial(pool.shutdown, immediate=True))

    waiter.join(LONG_S)
    assert not waiter.is_alive()


def test_a_shutdown_that_does_not_wait_returns_while_operations_run(pool: SessionPool, hold: Hold) -> None:
    [(future, guest)] = hold(pool)

    bounded(partial(pool.shutdown, wait=False))

    assert guest.is_there()
    guest.release("done")
    assert future.result(LONG_S) == "done"


def test_a_shutdown_that_does_not_wait_leaves_nothing_once_all_is_done(open_pool: Open, mark: Mark) -> None:
    pool = open_pool()
    future = pool.submit(deeds.echo, 1)
    pool.shutdown(wait=False)

    assert future.result(LONG_S) == 1
    assert mark.left_after(LONG_S) == []


def test_a_pool_is_a_context_that_waits_at_its_end(open_pool: Open) -> None:
    with open_pool() as pool:
        futures = [pool.submit(deeds.echo, number) for number in range(50)]

    assert all(future.done() for future in futures)
    assert children() == []


def test_a_context_ends_though_its_body_raised(open_pool: Open) -> None:
    with pytest.raises(KeyError), open_pool() as pool:
        deeds.fail(KeyError(pool.submit(deeds.echo, 1)))

    assert children() == []


def test_a_pool_may_be_shut_down_twice(pool: SessionPool) -> None:
    bounded(pool.shutdown)
    bounded(pool.shutdown)

    assert pool.snapshot().closed


def test_a_pool_may_be_shut_down_by_many_threads_at_once(pool: SessionPool) -> None:
    pool.submit(deeds.echo, 1)
    threads = [threading.Thread(target=pool.shutdown, daemon=True) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)

    assert not any(thread.is_alive() for thread in threads)


def test_a_pool_is_shut_down_while_its_workers_are_still_starting(open_pool: Open, mark: Mark) -> None:
    pool = open_pool(ready=False)

    bounded(pool.shutdown)

    assert mark.left() == []


def test_what_was_submitted_before_a_worker_was_ready_is_done_by_a_shutdown(open_pool: Open) -> None:
    with open_pool(ready=False) as pool:
        futures = [pool.submit(deeds.echo, number) for number in range(10)]

    assert [future.result(0) for future in futures] == list(range(10))


@pytest.mark.parametrize(
    "submit",
    [
        lambda pool: pool.submit(deeds.echo, 1),
        lambda pool: list(pool.map(deeds.echo, [1])),
        lambda pool: pool.session("s").submit(deeds.count),
        lambda pool: pool.options(idempotent=True).submit(deeds.echo, 1),
    ],
    ids=["submit", "map", "session", "options"],
)
def test_a_pool_that_was_shut_down_takes_nothing(submit: Callable[[SessionPool], object], pool: SessionPool) -> None:
    pool.shutdown()

    with pytest.raises(PoolClosed):
        submit(pool)


def test_a_pool_that_was_shut_down_can_still_be_looked_at(pool: SessionPool) -> None:
    pool.shutdown()

    assert pool.workers() == ()
    assert "SessionPool" in repr(pool)
    assert pool.snapshot().ready == 0


def test_a_callback_of_a_future_may_shut_the_pool_down(one_worker: SessionPool, hold: Hold) -> None:
    [(future, guest)] = hold(one_worker)
    future.add_done_callback(lambda _: one_worker.shutdown(wait=False))

    guest.release()

    assert future.result(LONG_S) == "go"
    one_worker.wait_for(lambda seen: seen.closed, timeout=LONG_S)
    bounded(one_worker.shutdown)


def test_threads_that_submit_during_a_shutdown_get_an_answer_or_are_refused(pool: SessionPool) -> None:
    begun = threading.Event()
    futures: list[Future[int]] = []
    refused: list[BaseException] = []

    def submit() -> None:
        try:
            for number in range(1_000_000):
                futures.append(pool.submit(deeds.echo, number))
                if number == 20:
                    begun.set()
        except BaseException as error:
            refused.append(error)

    threads = [threading.Thread(target=submit, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert begun.wait(LONG_S)

    bounded(pool.shutdown)

    for thread in threads:
        thread.join(LONG_S)
    assert [type(error) for error in refused] == [PoolClosed] * 3
    assert all(future.exception(LONG_S) is None for future in futures)


def test_the_exit_functions_of_workers_run(pool: SessionPool, ear: Ear) -> None:
    pool.submit(deeds.tell_at_exit, ear.address, "left").result(LONG_S)

    bounded(pool.shutdown)

    assert ear.hear(0.1) == "left"


def test_a_shutdown_ends_though_an_exit_function_hangs(open_pool: Open, meeting: Meeting) -> None:
    pool = open_pool(max_workers=1, timing=Timing(stop_s=0.3))
    pool.submit(deeds.meet_at_exit, meeting.address).result(LONG_S)

    bounded(pool.shutdown)

    assert children() == []


# --- with its process -------------------------------------------------------------------------------------------

EXITS = """
    import contextlib, os, sys, threading
    from sessionpool import SessionPool
    from tests.integration.sessionpool import deeds

    def reap():
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)

    if __name__ == "__main__":
        pool = SessionPool(2, preload=())
        futures = [pool.submit(deeds.echo, number) for number in range(50)]
        {how}
        print([future.result() for future in futures] == list(range(50)))
        {last}
"""


@pytest.mark.parametrize(
    ("last", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise KeyError('x')", 1),
        ("threading.Thread(target=pool.shutdown).start()", 0),
        ("pool.submit(deeds.echo, 1); pool.shutdown(wait=False)", 0),
    ],
    ids=["ends", "exits", "raises", "shuts-down-meanwhile", "shuts-down-without-waiting"],
)
def test_a_process_that_ends_without_a_shutdown_ends_and_leaves_nothing(
    last: str, status: int, run_script: RunScript, mark: Mark
) -> None:
    completed = run_script(EXITS.format(how="", last=last))

    assert (completed.returncode, completed.stdout) == (status, "True\n"), completed.stderr
    assert mark.left_after(2.0) == []


def test_a_process_that_ends_without_a_shutdown_says_nothing(run_script: RunScript) -> None:
    assert run_script(EXITS.format(how="", last="")).stderr == ""


def test_a_process_that_ends_has_its_pending_operations_done(run_script: RunScript, diary: Diary) -> None:
    completed = run_script(
        EXITS.format(how="", last=f"[pool.submit(deeds.note, {diary.path!r}, str(number)) for number in range(100)]")
    )

    assert completed.returncode == 0, completed.stderr
    assert sorted(map(int, diary.lines())) == list(range(100))


def test_a_process_whose_pool_was_forgotten_ends_and_leaves_nothing(run_script: RunScript, mark: Mark) -> None:
    completed = run_script(EXITS.format(how="del pool; import gc; gc.collect()", last=""))

    assert (completed.returncode, completed.stdout) == (0, "True\n"), completed.stderr
    assert mark.left_after(2.0) == []


@pytest.mark.parametrize("descriptors", ["0", "1", "2", "0, 1, 2"])
def test_a_process_without_standard_streams_may_have_a_pool(
    descriptors: str, run_script: RunScript, mark: Mark, diary: Diary
) -> None:
    completed = run_script(
        f"""
        import os
        from sessionpool import SessionPool
        from tests.integration.sessionpool import deeds

        if __name__ == "__main__":
            for fd in [{descriptors}]:
                os.close(fd)
            with SessionPool(2, preload=()) as pool:
                deeds.note({diary.path!r}, str([pool.submit(deeds.echo, number).result(10) for number in range(5)]))
                pool.submit(deeds.write_to, 1, 1 << 12).exception(10)
                deeds.note({diary.path!r}, str([pool.submit(deeds.echo, number).result(10) for number in range(5)]))
            os._exit(0)
        """
    )

    assert completed.returncode == 0, completed.stderr
    assert diary.lines() == ["[0, 1, 2, 3, 4]"] * 2
    assert mark.left_after(2.0) == []


def test_a_process_that_ignores_the_ends_of_its_children_may_have_a_pool(run_script: RunScript, mark: Mark) -> None:
    completed = run_script(
        EXITS.format(how="import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)", last="pool.shutdown()")
    )

    assert (completed.returncode, completed.stdout, completed.stderr) == (0, "True\n", "")
    assert mark.left_after(2.0) == []


def test_a_process_that_reaps_whatever_child_ends_may_have_a_pool(run_script: RunScript, mark: Mark) -> None:
    completed = run_script(
        EXITS.format(how="threading.Thread(target=reap, daemon=True).start()", last="pool.shutdown()")
    )

    assert (completed.returncode, completed.stdout, completed.stderr) == (0, "True\n", "")
    assert mark.left_after(2.0) == []


def test_an_interrupt_of_the_whole_group_ends_a_process_that_waits_and_leaves_nothing(
    start_script: "Callable[..., subprocess.Popen[str]]", meeting: Meeting, mark: Mark
) -> None:
    script = start_script(INTERRUPTED, meeting.address)
    meeting.guest().release()

    os.kill(-script.pid, 2)

    assert script.wait(LONG_S) != 0
    assert mark.left_after(2.0) == []


INTERRUPTED = """
    import os, signal, sys, threading
    from sessionpool import SessionPool
    from tests.integration.sessionpool import deeds

    if __name__ == "__main__":
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
        pool = SessionPool(2, preload=())
        pool.wait_for(lambda seen: seen.ready == 2)
        deeds.meet(sys.argv[1], "script")
        threading.Event().wait()
"""


def test_a_process_that_leaves_by_os_exit_leaves_nothing(run_script: RunScript, mark: Mark) -> None:
    completed = run_script(EXITS.format(how="", last="sys.stdout.flush(); os._exit(4)"))

    assert completed.returncode == 4
    assert mark.left_after(2.0) == []


# --- with its process's murder ----------------------------------------------------------------------------------

DOOMED = """
    import sys, threading
    from sessionpool import SessionPool, Timing
    from tests.integration.sessionpool import deeds

    if __name__ == "__main__":
        address, work = sys.argv[1:]
        initializer = deeds.meet if work == "starting" else None
        pool = SessionPool(
            2, initializer, (address,) if initializer else (), preload=(), timing=Timing(stall_s=60, stop_s=60)
        )
        if work == "busy":
            futures = [pool.submit(deeds.meet, address) for _ in range(2)]
        elif work == "keeping the gil":
            futures = [pool.submit(deeds.meet_and_keep_the_gil, address, 60.0) for _ in range(2)]
        elif work == "in a session of its own":
            futures = [pool.submit(deeds.leave_for_a_session_of_ones_own, address) for _ in range(2)]
        elif work == "idle":
            pool.wait_for(lambda seen: seen.ready == 2)
            deeds.meet(address, "script")
        elif work == "leaving":
            futures = [pool.submit(deeds.meet_at_exit, address) for _ in range(1)]
            pool.shutdown()
        threading.Event().wait()
"""


@pytest.mark.parametrize(
    "work", ["starting", "idle", "busy", "keeping the gil", "in a session of its own", "stopped", "leaving"]
)
def test_nothing_is_left_two_seconds_after_the_process_of_a_pool_was_killed(
    work: str, start_script: "Callable[..., subprocess.Popen[str]]", meeting: Meeting, mark: Mark
) -> None:
    script = start_script(DOOMED, meeting.address, "busy" if work == "stopped" else work)
    guests = meeting.guests({"idle": 1, "leaving": 1}.get(work, 2))
    if work == "stopped":
        os.kill(guests[0].pid, 19)
    assert len(mark.left()) >= 3 if work != "leaving" else mark.left()

    script.kill()
    script.wait(LONG_S)

    assert mark.left_after(2.0) == []


def test_nothing_is_left_where_pool_and_forkserver_are_killed_at_once(
    start_script: "Callable[..., subprocess.Popen[str]]", meeting: Meeting, mark: Mark
) -> None:
    script = start_script(DOOMED, meeting.address, "busy")
    meeting.guests(2)
    forkservers = [each.pid for each in mark.left() if each.ppid == script.pid]

    for pid in (*forkservers, script.pid):
        os.kill(pid, 9)
    script.wait(LONG_S)

    assert mark.left_after(2.0) == []


def test_an_operation_that_was_cut_off_by_a_death_is_resolved_before_the_shutdown_returns(
    pool: SessionPool, hold: Hold, disturb: Disturbance
) -> None:
    held = hold(pool, 2)
    pool.shutdown(wait=False)
    disturb(pool)
    for _, guest in held:
        guest.release()

    bounded(pool.shutdown)

    assert all(future.done() for future, _ in held)
    assert {outcome(future) for future, _ in held} <= {"go", WorkerDied}
