"""What has broken the pool once, found by people who attacked it: each stays mended."""

import errno
import threading
from concurrent.futures import Future, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from sessionpool import PoolBroken, Restarts, SessionPool, Timing, WorkerDied, wire
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Hold, Open, RunScript
from tests.integration.sessionpool.witnesses import LONG_S, Guest, Meeting, bounded, failure, until

ROUNDS = 20_000
LARGE = bytes(200 << 20)

INTERRUPTED = """
import random, signal
from sessionpool import SessionPool, SessionPoolError

def work(x):
    return sum(range(2000)) * 0 + x

def interrupted(pool, moment):
    futures = []
    try:
        # And again each second: an interrupt that meets a callback of the collector is swallowed by the interpreter.
        signal.setitimer(signal.ITIMER_REAL, moment, 1)
        while True:
            futures = [pool.submit(work, number) for number in range(50)]
            for future in futures:
                future.result()
    except (KeyboardInterrupt, SessionPoolError):
        signal.setitimer(signal.ITIMER_REAL, 0)
    return futures

if __name__ == "__main__":
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    moments = random.Random(7)
    unresolved = 0
    for _ in range(25):
        pool = SessionPool(2, preload=())
        futures = interrupted(pool, moments.uniform(0.001, 0.02))
        for future in futures:
            try:
                future.result(5)
            except TimeoutError:
                unresolved += 1
            except SessionPoolError:
                pass
        pool.shutdown(immediate=True)
    print(unresolved)
"""

MANAGED = """
from multiprocessing import Manager
from sessionpool import SessionPool

def put(shared):
    shared["found"] = 5

if __name__ == "__main__":
    with Manager() as manager, SessionPool(1, preload=()) as pool:
        shared = manager.dict()
        pool.submit(put, shared).result(10)
        print(shared["found"])
"""

CROWDED = """
import os, resource
from sessionpool import SessionPool

if __name__ == "__main__":
    for free in range(8):
        with SessionPool(4, min_workers=1, preload=()) as pool:
            pool.submit(abs, 1).result(10)
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
            taken = []
            try:
                while True:
                    taken.append(os.dup(2))
            except OSError:
                pass
            for _ in range(free):
                os.close(taken.pop())
            futures = [pool.submit(sum, range(3_000_000)) for _ in range(6)]
            right = [future.result(20) for future in futures] == [sum(range(3_000_000))] * 6
            for fd in taken:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert right and pool.submit(abs, -1).result(10) == 1 and not pool.snapshot().broken, free
    print("right")
"""

HANGING = "import os, threading\nos.register_at_fork(before=threading.Event().wait)\n"


def both(one: list[Future[Any]], other: list[Future[Any]], *, first: bool) -> tuple[Future[Any], Future[Any]]:
    """One future of each pool, the first pool's with the smaller id, or with the larger."""
    return next((p, q) for p in one for q in other if (id(p) < id(q)) is first)


def test_threads_that_wait_for_futures_of_two_pools_do_not_wait_for_each_other(open_pool: Open) -> None:
    one, other = ([pool.submit(pow, 1, 1) for _ in range(200)] for pool in (open_pool(), open_pool()))
    wait([*one, *other], LONG_S)
    pairs = [both(one, other, first=True), both(one, other, first=False)]
    threads = [
        threading.Thread(target=lambda pair=pair: [wait(pair) for _ in range(ROUNDS)], daemon=True) for pair in pairs
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)

    assert not any(thread.is_alive() for thread in threads)


def test_a_large_argument_on_its_way_is_not_taken_for_a_worker_that_stands_still(open_pool: Open) -> None:
    pool = open_pool(timing=Timing(stall_s=0.05))

    assert pool.submit(len, LARGE).result(LONG_S) == len(LARGE)

    assert pool.snapshot().restarts == 0


def test_a_forkserver_that_hangs_breaks_the_pool_and_not_its_shutdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hangs_in_fork.py").write_text(HANGING, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    timing = Timing(start_s=0.4, stall_s=0.2)
    pool = SessionPool(1, preload=["hangs_in_fork"], timing=timing, restarts=Restarts(max_failures=2))

    with pytest.raises(PoolBroken):
        pool.submit(abs, 1).result(LONG_S)

    bounded(lambda: pool.shutdown(immediate=True))


def test_operations_are_resolved_although_signals_tear_their_clients_away(run_script: RunScript) -> None:
    completed = run_script(INTERRUPTED)

    assert completed.stdout == "0\n", completed.stderr


def test_workers_use_the_managers_of_multiprocessing(run_script: RunScript) -> None:
    completed = run_script(MANAGED)

    assert completed.stdout == "5\n", completed.stderr


def test_a_process_without_a_free_descriptor_keeps_its_pool(run_script: RunScript) -> None:
    completed = run_script(CROWDED)

    assert completed.stdout == "right\n", completed.stderr


# --- who reads --------------------------------------------------------------------------------------------------------


def release_once_it_is_read(port: Any, guest: Guest) -> None:
    """Have a worker's answer wait until a client reads it, or the pool's own thread might be quicker."""

    def release() -> None:
        assert until(lambda: port.read_by is not None)
        guest.release()

    threading.Thread(target=release, daemon=True).start()


def test_who_is_handed_an_answer_may_use_the_pool_while_it_is_rebuilt(
    one_worker: SessionPool, meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deeds, "when_rebuilt", [lambda: one_worker.submit(deeds.echo, 5).result(5)])
    future = one_worker.submit(deeds.meet_and_return_rebuilt, meeting.address)
    release_once_it_is_read(future.port, meeting.guest())  # type: ignore[attr-defined]

    assert future.result(LONG_S) == 5
    assert one_worker.snapshot().restarts == 0


def test_an_answer_that_there_is_no_memory_for_costs_its_worker_and_says_so(
    one_worker: SessionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    with monkeypatch.context() as here:
        here.setattr(wire, "mmap", SimpleNamespace(mmap=exhausted))
        error = failure(one_worker.submit(deeds.zeros, 1 << 20), WorkerDied)

    assert "Cannot allocate memory" in error.reason
    assert one_worker.submit(deeds.echo, 5).result(LONG_S) == 5


def interrupted() -> NoReturn:
    raise KeyboardInterrupt


def test_who_was_interrupted_and_reads_again_is_the_only_reader(
    pool: SessionPool, hold: Hold, meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deeds, "when_rebuilt", [interrupted, lambda: "rebuilt"])
    blocked, go_on = threading.Event(), threading.Event()
    readers: list[object] = []
    ((other, its_guest),) = hold(pool)
    torn = pool.submit(deeds.meet_and_return_rebuilt, meeting.address)
    guest = meeting.guest()
    port = torn.port  # type: ignore[attr-defined]

    def keep_the_pools_thread(_: object) -> None:
        """From clearing up after the interrupt, until its client reads again."""
        blocked.set()
        go_on.wait(LONG_S)

    other.add_done_callback(keep_the_pools_thread)
    its_guest.release()
    assert blocked.wait(LONG_S)
    release_once_it_is_read(port, guest)
    with pytest.raises(KeyboardInterrupt):
        torn.result(LONG_S)
    again = pool.submit(deeds.meet, meeting.address)
    guest = meeting.guest()
    assert again.port is port  # type: ignore[attr-defined]

    def clear_up_while_it_reads() -> None:
        assert until(lambda: port.read_by is not None)
        readers.append(port.read_by)
        go_on.set()
        assert until(torn.done)  # which is the last that is done after an interrupt
        readers.append(port.read_by)
        guest.release()

    threading.Thread(target=clear_up_while_it_reads, daemon=True).start()

    assert (again.result(LONG_S), torn.result(LONG_S)) == ("go", "rebuilt")
    assert readers[0] is readers[1]
