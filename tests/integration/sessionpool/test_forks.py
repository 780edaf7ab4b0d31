"""A fork of the process that owns a pool: the child's copy is of no use and does no harm."""

import os
import signal
import threading
from collections.abc import Callable

import pytest

from sessionpool import PoolClosed, SessionPool
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Hold, Open, RunScript
from tests.integration.sessionpool.witnesses import LONG_S, Mark, bounded, children, is_gone

CHILD_S = 10


def in_a_child(act: Callable[[], str]) -> str:
    """What `act` says in a forked child, which leaves without running anything of this process's."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(CHILD_S)  # its default is the end of the child: nobody else is there to notice a deadlock
            os.write(writer, act().encode())
        except BaseException as error:
            os.write(writer, f"raised {type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:
        words = told.read().decode()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {status}, having said {words!r}"
    return words


def refusal(act: Callable[[], object]) -> str:
    try:
        return f"took it: {act()!r}"
    except PoolClosed:
        return "refused"


USES: dict[str, Callable[[SessionPool], object]] = {
    "submit": lambda pool: pool.submit(deeds.echo, 1),
    "map": lambda pool: list(pool.map(deeds.echo, [1])),
    "session": lambda pool: pool.session("s").submit(deeds.count),
    "close": lambda pool: pool.session("s").close(),
    "options": lambda pool: pool.options(idempotent=True).submit(deeds.echo, 1),
    "wait_for": lambda pool: pool.wait_for(lambda seen: seen.ready == 7, timeout=5),
}


@pytest.mark.parametrize("use", USES)
def test_a_forked_childs_copy_refuses_to_be_used(use: str, pool: SessionPool) -> None:
    assert in_a_child(lambda: refusal(lambda: USES[use](pool))) == "refused"


def test_the_parent_is_unaffected_by_what_its_child_does_to_its_copy(pool: SessionPool, hold: Hold) -> None:
    [(held, guest)] = hold(pool)
    queued = [pool.submit(deeds.echo, number) for number in range(10)]

    in_a_child(lambda: refusal(lambda: pool.submit(deeds.echo, 1)))

    assert [future.result(LONG_S) for future in queued] == list(range(10))
    guest.release("fine")
    assert held.result(LONG_S) == "fine"


@pytest.mark.parametrize("immediate", [False, True])
def test_a_shutdown_in_the_child_ends_nothing_of_the_parents(immediate: bool, pool: SessionPool) -> None:
    before = {worker.pid for worker in pool.workers()}

    def shut() -> str:
        try:
            pool.shutdown(immediate=immediate)
        except PoolClosed:
            return "refused"
        return "done"

    assert in_a_child(shut) in ("done", "refused")

    assert pool.submit(deeds.pid).result(LONG_S) in before
    assert {worker.pid for worker in pool.workers()} == before


def test_the_representation_of_a_childs_copy_does_not_hang(pool: SessionPool) -> None:
    assert "SessionPool" in in_a_child(lambda: repr(pool))


def test_a_child_may_have_a_pool_of_its_own(pool: SessionPool) -> None:
    def live() -> str:
        with SessionPool(1, preload=()) as own:
            return f"answered {own.submit(deeds.echo, 5).result(CHILD_S)}"

    assert in_a_child(live) == "answered 5"
    assert pool.submit(deeds.echo, 1).result(LONG_S) == 1


def test_a_fork_amid_submissions_neither_hangs_nor_harms(pool: SessionPool) -> None:
    enough = threading.Event()
    answers: list[bool] = []

    def submit() -> None:
        while not enough.is_set():
            answers.append(pool.submit(deeds.echo, len(answers)).result(LONG_S) is not None)

    threads = [threading.Thread(target=submit, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            assert in_a_child(lambda: refusal(lambda: pool.submit(deeds.echo, 1))) == "refused"
    finally:
        enough.set()
        for thread in threads:
            thread.join(LONG_S)

    assert all(answers)
    assert not any(thread.is_alive() for thread in threads)


def test_a_shutdown_ends_while_a_child_holds_copies_of_every_descriptor(open_pool: Open) -> None:
    pool = open_pool()
    pids = [worker.pid for worker in pool.workers()]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    try:
        bounded(pool.shutdown)

        assert all(is_gone(pid, 0) for pid in pids)
        assert [each.pid for each in children()] == [child]
    finally:
        os.close(writer)
        os.waitpid(child, 0)


FORKS = """
    import os, sys, threading
    from sessionpool import PoolClosed, SessionPool
    from tests.integration.sessionpool import deeds

    if __name__ == "__main__":
        pool = SessionPool(2, preload=())
        pool.submit(deeds.echo, 1).result()
        child = os.fork()
        if child == 0:
            {child}
        assert os.waitpid(child, 0)[1] == {status}
        print(pool.submit(deeds.echo, "parent").result(), flush=True)
"""


@pytest.mark.parametrize(
    ("child", "status"),
    [
        ("sys.exit(0)", 0),
        ("pool.shutdown(); sys.exit(0)", 0),
        ("del pool; sys.exit(0)", 0),
        ("os.kill(os.getpid(), 9)", 9),
    ],
    ids=["exits", "shuts-down", "forgets", "is-killed"],
)
def test_a_child_that_ends_as_any_process_does_harms_nobody(
    child: str, status: int, run_script: RunScript, mark: Mark
) -> None:
    completed = run_script(FORKS.format(child=child, status=status))

    assert (completed.returncode, completed.stdout) == (0, "parent\n"), completed.stderr
    assert completed.stderr == ""
    assert mark.left_after(2.0) == []


def test_nothing_of_a_pool_outlives_its_process_though_a_forked_child_does(
    open_pool: Open, run_script: RunScript, mark: Mark
) -> None:
    completed = run_script(
        FORKS.format(child="threading.Event().wait(2.5); os._exit(0)", status=0).replace(
            "assert os.waitpid(child, 0)[1] == 0", "sys.stdout.flush(); os.kill(os.getpid(), 9)"
        )
    )

    left = mark.left_after(2.0)

    assert completed.returncode == -9
    assert len(left) <= 1, "the child alone may live"
    assert mark.left_after(5.0) == []
