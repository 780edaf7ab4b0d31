"""Pools that are small and quick to start, and the proof after each test that nothing of them is left.

This folder is no package, as none of `tests` is: with an `__init__.py` of its own, `--import-mode=importlib` would name
its modules `sessionpool.test_…`, in the package that they are about.
"""

import os
import random
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any, Protocol

import pytest

from poolproof import processes
from poolproof.isolation import PoolTesting
from sessionpool import Restarts, SessionPool
from tests.integration.sessionpool import deeds
from tests.integration.sessionpool.witnesses import (
    LONG_S,
    Diary,
    Ear,
    Guest,
    Interposer,
    Mark,
    Meeting,
    bounded,
    kill,
    until,
)

ROOT = str(Path(__file__).parents[3])
BOUND_S = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pools of the tests' own making, looked after like others; and a bound: what hangs here hangs for good."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.layer(2))
            item.add_marker(pytest.mark.isolation("pool_testing", opens=False))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(BOUND_S))


class Open(Protocol):
    """Opens a pool of two workers that preload nothing, unless told otherwise."""

    def __call__(self, *, ready: bool = True, **settings: Any) -> SessionPool: ...


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Mark:
    """For tests that look for themselves who is left, and when; that nobody is at their end, the mode sees to."""
    it = Mark()
    monkeypatch.setenv(it.name, "1")
    return it


@pytest.fixture
def open_pool(mark: Mark, pool_testing: PoolTesting) -> Iterator[Open]:
    """Every pool that is opened is shut down after the test, at once, and what its `workers()` told of is gone then."""
    pools: list[SessionPool] = []

    def open_one(*, ready: bool = True, **settings: Any) -> SessionPool:
        given: dict[str, Any] = {"max_workers": 2, "preload": ()} | settings
        pool = pool_testing.adopt(SessionPool(**given))
        pools.append(pool)
        if ready:
            least = settings.get("min_workers") or settings.get("max_workers", 2)
            pool.wait_for(lambda seen: seen.ready >= least, timeout=LONG_S)
            assert until(lambda: all(worker.pid for worker in pool.workers()))  # which may be told a little later
        return pool

    yield open_one
    told = {worker.pid for pool in pools for worker in pool.workers()}
    for pool in pools:
        bounded(partial(pool.shutdown, immediate=True))
    alive = [pid for pid in told if pid and (found := processes.look_up(pid)) and found.state not in "ZX"]
    assert not alive, f"told of by workers() and alive after the shutdown: {alive}"


@pytest.fixture
def pool(open_pool: Open) -> SessionPool:
    return open_pool()


@pytest.fixture
def one_worker(open_pool: Open) -> SessionPool:
    return open_pool(max_workers=1)


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    it = Meeting()
    yield it
    it.close()


@pytest.fixture
def ear() -> Iterator[Ear]:
    it = Ear()
    yield it
    it.close()


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(tmp_path / "diary.txt")


@pytest.fixture
def interposer(mark: Mark) -> Iterator[Interposer]:
    """To be asked for before `open_pool`: it is closed after the pools are."""
    it = Interposer()
    yield it
    it.close()


class Hold(Protocol):
    """Keeps so many workers of a pool busy until their guests are released."""

    def __call__(self, pool: Any, count: int = 1) -> list[tuple["Future[str]", Guest]]: ...


@pytest.fixture
def hold(meeting: Meeting) -> Hold:
    def hold(pool: Any, count: int = 1) -> list[tuple["Future[str]", Guest]]:
        futures = [pool.submit(deeds.meet, meeting.address, str(number)) for number in range(count)]
        return list(zip(futures, meeting.guests(count), strict=True))

    return hold


class Disturbance:
    """Kills one of the workers, idle or busy, when the test says that the moment has come; or does not."""

    def __init__(self, armed: bool, seed: int) -> None:
        self._armed = armed
        self._random = random.Random(seed)
        self.killed: list[int] = []

    def __call__(self, pool: SessionPool) -> None:
        if not self._armed:
            return
        pool.wait_for(lambda seen: seen.ready + seen.busy > 0, timeout=LONG_S)
        pids = [worker.pid for worker in pool.workers() if worker.state in ("ready", "busy") and worker.pid]
        victim = self._random.choice(pids)
        self.killed.append(victim)
        if processes.look_up(victim) is not None:
            kill(victim)


@pytest.fixture(params=["undisturbed", "worker-killed"])
def disturb(request: pytest.FixtureRequest) -> Disturbance:
    """For tests whose assertions hold whether or not a worker dies meanwhile; the victim follows from their name."""
    return Disturbance(request.param == "worker-killed", zlib.crc32(request.node.name.encode()))


@pytest.fixture
def quick_restarts() -> Restarts:
    return Restarts(max_failures=3, backoff_s=0.01, max_backoff_s=0.05)


class RunScript(Protocol):
    """Runs a script in a process of its own, as its owner would."""

    def __call__(self, text: str, *, how: str = "file") -> "subprocess.CompletedProcess[str]": ...


@pytest.fixture
def start_script(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts `python script.py ADDRESS…`, or in another way; what it writes goes to files, which nobody holds open."""
    started: list[subprocess.Popen[str]] = []

    def start(text: str, *arguments: str, how: str = "file") -> "subprocess.Popen[str]":
        folder = tmp_path / f"script-{len(started)}"
        folder.mkdir()
        (folder / "my_script.py").write_text(dedent(text), encoding="utf-8")
        command = {
            "file": ["my_script.py"],
            "module": ["-m", "my_script"],
            "command": ["-c", dedent(text)],
            "input": ["-"],
        }[how]
        with (
            open(folder / "out", "w") as out,
            open(folder / "err", "w") as err,
            open(folder / "my_script.py") as script,
        ):
            started.append(
                subprocess.Popen(
                    [sys.executable, *command, *arguments],
                    cwd=folder,
                    stdin=script if how == "input" else subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    text=True,
                    env=os.environ
                    | {"PYTHONPATH": os.pathsep.join([ROOT, *os.environ.get("PYTHONPATH", "").split(":")])},
                )
            )
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()


@pytest.fixture
def run_script(start_script: Callable[..., "subprocess.Popen[str]"], tmp_path: Path) -> RunScript:
    def run(text: str, *, how: str = "file") -> "subprocess.CompletedProcess[str]":
        number = len(list(tmp_path.glob("script-*")))
        status = start_script(text, how=how).wait(LONG_S)
        folder = tmp_path / f"script-{number}"
        return subprocess.CompletedProcess(
            [how], status, *((folder / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "err"))
        )

    return run
