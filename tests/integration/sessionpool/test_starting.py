"""How workers begin: their initialiser, what they preload, and what becomes of a pool whose workers do not start."""

import importlib.util
import sys
import threading
import time
from pathlib import Path

import pytest

from sessionpool import NotPicklable, PoolBroken, PreloadError, Restarts, SessionPool, Timing
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.conftest import Hold, Open
from tests.integration.sessionpool.witnesses import LONG_S, Diary, Meeting, children, failure, kill

PATIENT = Restarts(max_failures=3, backoff_s=0.01, max_backoff_s=0.05)
TOGETHER = 2
"""How many workers the pool starts at once; those that fail together count as one failure."""

# --- the initialiser --------------------------------------------------------------------------------------------


def test_the_initialiser_runs_once_in_each_worker(open_pool: Open, diary: Diary, hold: Hold) -> None:
    pool = open_pool(initializer=deeds.note, initargs=(diary.path, "begun"))
    for _, guest in hold(pool, 2):
        guest.release()
    for number in range(50):
        pool.submit(deeds.echo, number).result(LONG_S)

    assert diary.lines() == ["begun", "begun"]


def test_the_initialiser_runs_before_the_first_operation_of_its_worker(open_pool: Open) -> None:
    pool = open_pool(initializer=deeds.greet, initargs=("hello",))

    assert pool.submit(deeds.greeting).result(LONG_S) == ("hello",)


def test_the_initialiser_runs_in_the_worker_that_replaces_a_dead_one(open_pool: Open) -> None:
    pool = open_pool(max_workers=1, initializer=deeds.greet, initargs=("hello",))

    kill(pool.workers()[0].pid)

    assert pool.submit(deeds.greeting).result(LONG_S) == ("hello",)


def test_operations_are_taken_before_any_worker_is_ready(open_pool: Open) -> None:
    pool = open_pool(ready=False)

    futures = [pool.submit(deeds.echo, number) for number in range(20)]

    assert [future.result(LONG_S) for future in futures] == list(range(20))


def test_the_pool_breaks_where_its_initialiser_raises_and_its_last_words_say_why(open_pool: Open, diary: Diary) -> None:
    pool = open_pool(ready=False, initializer=deeds.note_and_fail, initargs=(diary.path,), restarts=PATIENT)

    pool.wait_for(lambda seen: seen.broken, timeout=LONG_S)

    with pytest.raises(PoolBroken) as caught:
        pool.submit(deeds.echo, 1)
    assert any("OSError: the model is not there" in words for words in caught.value.last_words)


def test_an_initialiser_that_raises_is_tried_a_few_times_and_not_in_a_spin(open_pool: Open, diary: Diary) -> None:
    pool = open_pool(ready=False, initializer=deeds.note_and_fail, initargs=(diary.path,), restarts=PATIENT)

    pool.wait_for(lambda seen: seen.broken, timeout=LONG_S)

    assert PATIENT.max_failures <= len(diary.lines()) <= PATIENT.max_failures * TOGETHER


def test_what_waits_fails_where_the_pool_breaks(open_pool: Open, diary: Diary) -> None:
    pool = open_pool(ready=False, initializer=deeds.note_and_fail, initargs=(diary.path,), restarts=PATIENT)
    waiting = [pool.submit(deeds.echo, 1), pool.session("s").submit(deeds.count)]

    for future in waiting:
        assert "the model is not there" in "".join(failure(future, PoolBroken).last_words)


def test_the_pool_breaks_where_its_initialiser_exits_and_its_last_words_tell_the_status(
    open_pool: Open, diary: Diary
) -> None:
    pool = open_pool(ready=False, initializer=deeds.note_and_exit_at_once, initargs=(diary.path,), restarts=PATIENT)

    error = failure(pool.submit(deeds.echo, 1), PoolBroken)

    assert any("exit status 3" in words for words in error.last_words)


def test_the_pool_breaks_where_its_initialiser_hangs_and_its_last_words_say_so(open_pool: Open, diary: Diary) -> None:
    pool = open_pool(
        ready=False,
        initializer=deeds.note_and_hang,
        initargs=(diary.path,),
        restarts=PATIENT,
        timing=Timing(start_s=1.0),
    )
    began = time.monotonic()

    error = failure(pool.submit(deeds.echo, 1), PoolBroken)

    assert any("not ready within 1 s" in words for words in error.last_words)
    assert time.monotonic() - began < 10
    assert PATIENT.max_failures <= len(diary.lines()) <= PATIENT.max_failures * TOGETHER


def test_an_initialiser_that_raises_system_exit_breaks_the_pool_as_well(open_pool: Open) -> None:
    pool = open_pool(ready=False, initializer=deeds.fail, initargs=(SystemExit("no licence"),), restarts=PATIENT)

    error = failure(pool.submit(deeds.echo, 1), PoolBroken)

    assert any("no licence" in words for words in error.last_words)


def test_an_initialiser_that_does_not_unpickle_breaks_the_pool_and_its_last_words_say_why(open_pool: Open) -> None:
    pool = open_pool(ready=False, initializer=deeds.echo, initargs=(deeds.Unloadable(),), restarts=PATIENT)

    error = failure(pool.submit(deeds.echo, 1), PoolBroken)

    assert any("cannot be rebuilt" in words for words in error.last_words)


def test_an_initialiser_that_does_not_pickle_is_refused_by_the_constructor(open_pool: Open) -> None:
    with pytest.raises(NotPicklable, match="lambda"):
        open_pool(ready=False, initializer=lambda: None)


def test_a_pool_recovers_where_the_initialiser_fails_in_some_workers_only(open_pool: Open, tmp_path: Path) -> None:
    pool = open_pool(
        ready=False,
        initializer=deeds.fail_the_first_times,
        initargs=(str(tmp_path), 3),
        restarts=Restarts(max_failures=10, backoff_s=0.01, max_backoff_s=0.05),
    )

    assert pool.submit(deeds.echo, 1).result(LONG_S) == 1
    pool.wait_for(lambda seen: seen.ready == 2, timeout=LONG_S)


def test_a_broken_pool_has_no_processes_left_when_it_is_shut_down(open_pool: Open, diary: Diary) -> None:
    pool = open_pool(ready=False, initializer=deeds.note_and_fail, initargs=(diary.path,), restarts=PATIENT)
    failure(pool.submit(deeds.echo, 1), PoolBroken)

    pool.shutdown()

    assert children() == []


def test_a_broken_pool_is_told_by_its_snapshot(open_pool: Open, diary: Diary) -> None:
    pool = open_pool(ready=False, initializer=deeds.note_and_fail, initargs=(diary.path,), restarts=PATIENT)

    seen = pool.wait_for(lambda seen: seen.broken, timeout=LONG_S)

    assert (seen.ready, seen.busy, seen.queued) == (0, 0, 0)


def test_workers_that_crash_at_their_operations_do_not_break_the_pool(open_pool: Open) -> None:
    pool = open_pool(restarts=PATIENT)
    for _ in range(3 * PATIENT.max_failures):
        pool.submit(deeds.exit_at_once, 1).exception(LONG_S)

    assert pool.submit(deeds.echo, 1).result(LONG_S) == 1


def test_workers_start_beside_each_other(open_pool: Open, meeting: Meeting) -> None:
    pool = open_pool(ready=False, max_workers=4, initializer=deeds.meet, initargs=(meeting.address,))

    assert len({guest.pid for guest in meeting.guests(4)}) == 4
    assert pool.snapshot().starting == 4


def test_a_worker_that_is_ready_tells_its_process(open_pool: Open) -> None:
    for _ in range(15):
        with open_pool(ready=False) as pool:
            pool.wait_for(lambda seen: seen.ready > 0, timeout=LONG_S)

            assert all(worker.pid for worker in pool.workers() if worker.state == "ready")


def test_a_pool_outlives_the_thread_that_opened_it(open_pool: Open) -> None:
    pools: list[SessionPool] = []
    thread = threading.Thread(target=lambda: pools.append(open_pool()))
    thread.start()
    thread.join(LONG_S)
    (pool,) = pools
    before = {worker.pid for worker in pool.workers()}

    assert pool.submit(deeds.pid).result(LONG_S) in before

    kill(pool.workers()[0].pid)
    pool.wait_for(lambda seen: seen.restarts == 1 and seen.ready == 2, timeout=LONG_S)
    assert len({worker.pid for worker in pool.workers()} & before) == 1


# --- what is preloaded ------------------------------------------------------------------------------------------


def test_the_modules_of_preload_are_there_before_the_worker_needs_them(open_pool: Open) -> None:
    pool = open_pool(preload=("colorsys",))

    assert pool.submit(deeds.is_loaded, "colorsys").result(LONG_S)


def test_two_pools_have_each_their_own_preloads(open_pool: Open) -> None:
    first, second = open_pool(preload=("colorsys",)), open_pool(preload=("tabnanny",))

    loaded = [
        [it.submit(deeds.is_loaded, name).result(LONG_S) for name in ("colorsys", "tabnanny")] for it in (first, second)
    ]

    assert loaded == [[True, False], [False, True]]


def test_two_pools_at_once_answer_each_for_itself(open_pool: Open, hold: Hold) -> None:
    first, second = open_pool(), open_pool(preload=("colorsys",))
    [(doomed, victim)] = hold(first)
    futures = [second.submit(deeds.echo, number) for number in range(20)]

    kill(victim.pid)
    first.shutdown()

    assert doomed.exception(LONG_S) is not None
    assert [future.result(LONG_S) for future in futures] == list(range(20))
    assert second.submit(deeds.echo, 1).result(LONG_S) == 1


def test_a_module_that_is_not_there_is_refused_by_the_constructor(open_pool: Open, diary: Diary) -> None:
    with pytest.raises(PreloadError, match="No module named 'nowhere_to_be_found'") as caught:
        open_pool(ready=False, preload=("nowhere_to_be_found",), initializer=deeds.note, initargs=(diary.path, "begun"))

    assert caught.value.module == "nowhere_to_be_found"


def test_no_worker_is_started_where_a_preload_fails(open_pool: Open, diary: Diary) -> None:
    with pytest.raises(PreloadError):
        open_pool(ready=False, preload=("nowhere_to_be_found",), initializer=deeds.note, initargs=(diary.path, "begun"))

    assert diary.lines() == []
    assert children() == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise ValueError('bad model')", "ValueError: bad model"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import os; os._exit(3)", ""),
        ("def broken(:", "SyntaxError"),
    ],
    ids=["raises", "asks-to-leave", "exits", "is-no-python"],
)
def test_a_module_that_fails_to_load_is_named(
    body: str, words: str, open_pool: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fails_to_load.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(PreloadError) as caught:
        open_pool(ready=False, preload=("fails_to_load",))

    assert caught.value.module in ("fails_to_load", "")
    assert words in str(caught.value)


def test_a_module_that_hangs_while_it_is_preloaded_is_given_up_after_start_s(
    open_pool: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hangs.py").write_text("import threading\nthreading.Event().wait()\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(PreloadError):
        open_pool(ready=False, preload=("hangs",), timing=Timing(start_s=0.5))

    assert children() == []


def test_workers_find_the_modules_that_this_process_finds(
    open_pool: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "found_by_path.py").write_text("def answer():\n    return 42\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    spec = importlib.util.find_spec("found_by_path")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "found_by_path", module)
    spec.loader.exec_module(module)

    assert open_pool().submit(module.answer).result(LONG_S) == 42


def test_opening_a_pool_takes_no_longer_than_a_moment(open_pool: Open) -> None:
    began = time.monotonic()

    pool: SessionPool = open_pool()

    assert pool.snapshot().ready == 2
    assert time.monotonic() - began < 3.0
