"""The pool under a storm of crashes: nothing is lost in silence, nothing runs twice, and nothing is left."""

import contextlib
import os
import random
import secrets
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import pytest

from poolproof import processes
from tests.chaos import storm
from tests.integration.runs import ROOT

pytestmark = pytest.mark.layer(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of a storm there is time for."""

    cycles: int
    kills: int
    deaths: int


SIZES: Final = {"full": Size(cycles=30, kills=1000, deaths=200), "ci": Size(cycles=6, kills=40, deaths=5)}
SIZE: Final = SIZES[os.environ.get("POOLPROOF_STORM_SIZE", "full")]
"""The same code in both sizes: `POOLPROOF_STORM_SIZE=ci` is for where minutes count."""

GONE_S: Final = 2.0
LIFE_S: Final = 0.8
"""A program's start, its pool's, and some time at work: the moments of death are drawn from it."""
GROWN_FILES: Final = 2
GROWN_BYTES: Final = 8 << 20
"""More than the account of a thousand deaths, which is kept by this process too, less than 9 KiB for each of them."""

UNTOLD: Final = 0.05
"""How many of the errors may know of a death, but not of the signal: their worker's parent was late to tell."""

MARK: Final = "POOLPROOF_STORM"

Record = Callable[[str, object], None]


def test_two_deaths_every_25_ms_lose_nothing_in_silence_and_all_workers_are_back_within_two_seconds(
    tmp_path: Path, record_property: Record
) -> None:
    outcome = storm.blow(storm.Plan(cycles=SIZE.cycles, kills_per_cycle=2, every_ms=25.0), tmp_path)
    tell(outcome, record_property)

    assert outcome.balance.wrong() == {}
    assert outcome.balance.lost_by_kind["once"] > 0  # else it blew past
    assert outcome.balance.untold_exits <= UNTOLD * outcome.balance.lost
    assert outcome.kills == 2 * SIZE.cycles
    assert outcome.met == 8
    assert outcome.met_after_s <= 2.0
    assert outcome.left == {}


@pytest.mark.timeout(600)
def test_a_thousand_deaths_lose_nothing_in_silence_and_the_parent_does_not_grow(
    tmp_path: Path, record_property: Record
) -> None:
    plan = storm.Plan(cycles=SIZE.kills, kills_per_cycle=1, every_ms=20.0, spare=4)
    outcome = storm.blow(plan, tmp_path)
    tell(outcome, record_property)

    assert outcome.balance.wrong() == {}
    assert outcome.balance.lost_by_kind["once"] > 0  # else it blew past
    assert outcome.balance.untold_exits <= UNTOLD * outcome.balance.lost
    assert outcome.kills == SIZE.kills
    assert outcome.met == 8
    assert outcome.growth(outcome.files) <= GROWN_FILES
    assert outcome.growth(outcome.memory_bytes) <= GROWN_BYTES
    assert outcome.left == {}


def tell(outcome: storm.Outcome, record_property: Record) -> None:
    balance = outcome.balance
    record_property(
        "storm",
        f"{outcome.kills} kills in {outcome.blew_s:.2f} s, {balance.operations} operations: {balance.right} right, "
        f"{balance.lost} lost {balance.lost_by_kind}, {balance.lost_though_executed} of them executed, "
        f"{balance.untold_exits} without an exit; {outcome.met} met {outcome.met_after_s:.3f} s after the last "
        f"kill; {outcome.restarts} restarts; closed in {outcome.closed_s:.3f} s; "
        f"files {outcome.growth(outcome.files):+g}, memory {outcome.growth(outcome.memory_bytes) / 1024:+.0f} KiB",
    )


# --- the death of the parent ------------------------------------------------------------------------------------------


class Program:
    """A process with a pool at work, and whoever was ever seen beneath it or bears its mark."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mark = f"{MARK}_{secrets.token_hex(8)}"
        # What it says goes to a file: a pipe would be held open by whoever outlives it.
        with open(folder / "stderr.txt", "wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.storm", str(folder)],
                cwd=ROOT,
                env=dict(os.environ) | {self._mark: "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        self._seen: dict[tuple[int, float], psutil.Process] = {}

    @property
    def stderr(self) -> str:
        return (self._folder / "stderr.txt").read_text()

    @property
    def stage(self) -> str:
        reached = [stage for stage in ("imported", "constructed", "busy") if (self._folder / stage).exists()]
        return reached[-1] if reached else "starting"

    def let_live(self, seconds: float) -> int:
        """Watch its family for so long, and give how many it has at the end of it."""
        deadline = time.monotonic() + seconds
        pidfd = os.pidfd_open(self.process.pid)
        try:
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            while (remaining_s := deadline - time.monotonic()) > 0:
                ended = poller.poll(min(10.0, remaining_s * 1000))
                assert not ended, f"it ended by itself: {self.stderr}"
                self._look()
        finally:
            os.close(pidfd)
        return self._look()

    def _look(self) -> int:
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(self.process.pid).children(recursive=True)
            self._seen |= {(each.pid, each.create_time()): each for each in family}
            return len(family)
        return 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def alive(self) -> dict[int, str]:
        """Those that bear the mark, in their environment, or were seen; a zombie only waits for its parent."""
        marked = processes.tagged(self._mark, processes.everyone().values()).values()
        found = {process.pid: process.name for process in marked if process.state not in "ZX"}
        for seen in self._seen.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                if seen.is_running() and seen.status() != psutil.STATUS_ZOMBIE:
                    found[seen.pid] = seen.name()
        return found

    def gone_within(self, bound_s: float) -> float:
        """How long it took until nobody was alive; waits for one of them at a time, and looks again."""
        began = time.monotonic()
        while left := self.alive():
            remaining_s = bound_s - (time.monotonic() - began)
            assert remaining_s > 0, f"alive after {bound_s} s: {left}; standard error: {self.stderr}"
            handle = processes.Handle.open(min(left))
            if handle is not None:
                handle.wait_gone(remaining_s)
                handle.close()
        return time.monotonic() - began

    def end(self) -> None:
        """Leave nothing of it, however the test went."""
        self.kill()
        for pid in self.alive():
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    started = Program(tmp_path)
    yield started
    started.end()


@pytest.fixture
def shared_before() -> frozenset[str]:
    return storm.shared_memory()


@pytest.mark.parametrize("number", range(SIZE.deaths))
def test_nothing_outlives_the_death_of_the_parent_at_any_moment(
    number: int, shared_before: frozenset[str], program: Program, record_property: Record
) -> None:
    moment_s = random.Random(f"parent {number}").uniform(0, LIFE_S)
    family = program.let_live(moment_s)
    stage = program.stage

    program.kill()

    gone_s = program.gone_within(GONE_S)
    record_property("death", f"at {moment_s:.2f} s, {stage}, with {family} processes: gone after {gone_s:.3f} s")
    assert [name for name in storm.shared_memory() - shared_before if not storm.held_by_others(name)] == []


def test_the_program_that_is_killed_gets_to_work_within_the_time_that_the_moments_are_drawn_from(
    program: Program,
) -> None:
    program.let_live(LIFE_S)

    assert program.stage == "busy"
