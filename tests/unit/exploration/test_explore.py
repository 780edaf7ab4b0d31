import random
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from poolproof.checks import Finding, Verdict, judge
from poolproof.errors import PoolproofError, TargetError, UsageError
from poolproof.exploration import explore, replay
from poolproof.exploration.explore import _choose, explored_plan
from poolproof.exploration.swarm import random_plan
from poolproof.history import History, digest, load, save, write_plan
from poolproof.plan import Plan, problems
from poolproof.pools import find_core
from poolproof.pools.sessionpool import SessionPoolCore
from poolproof.simulation import SOMETIMES, simulate
from sessionpool.core import Core
from tests.unit.histories import Story
from tests.unit.simulation import test_lab
from tests.unit.simulation.worlds import TARGET

IGNORING = f"{test_lab.__name__}:ignoring"
EXPLORE = import_module("poolproof.exploration.explore")  # which its package hides behind the function of that name


def test_every_seed_is_carried_out_and_counted() -> None:
    found = explore("sessionpool", seeds=6, first_seed=100)
    assert (found.runs, found.first_seed, found.operations > 0, found.faults > 0) == (6, 100, True, True)


def test_what_was_reached_and_what_was_not_is_every_named_state() -> None:
    found = explore("sessionpool", seeds=5)
    assert sorted((*found.reached, *found.missed)) == sorted(SOMETIMES)


def test_an_exploration_that_missed_something_is_no_proof() -> None:
    found = explore("sessionpool", seeds=2)
    assert (bool(found.missed), found.verdict) == (True, "unknown")


def test_an_exploration_of_nothing_is_no_proof() -> None:
    assert explore("sessionpool", seeds=0).verdict == "unknown"


def test_the_same_seeds_find_the_same() -> None:
    assert explore("sessionpool", seeds=3) == explore("sessionpool", seeds=3)


def test_progress_is_told() -> None:
    told: list[tuple[int, int, int]] = []
    explore("sessionpool", seeds=22, watcher=lambda *it: told.append(it))
    assert told == [(20, 22, 0), (22, 22, 0)]


def test_what_fails_is_shrunk_and_kept_and_is_reproduced(tmp_path: Path) -> None:
    found = explore(IGNORING, seeds=1, until_first=True, report=tmp_path)
    (failure,) = found.failures
    again = replay(Path(failure.path))
    assert (found.verdict, failure.promise) == ("broken", again.promise)
    assert (again.verdict, again.is_same, again.evidence) == ("broken", True, failure.evidence)


def test_a_target_without_a_core_is_refused() -> None:
    with pytest.raises(TargetError):
        explore("loky", seeds=1)


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_that_is_explored_has_exactly_the_faults_that_take_effect_in_it(seed: int) -> None:
    plan = random_plan(TARGET, seed)
    missed = {row.fault for row in simulate(plan).faults if row.effective != "yes"}
    kept = tuple(spec for number, spec in enumerate(plan.scenario.faults) if number not in missed)
    explored = explored_plan(TARGET, seed)
    assert (explored.scenario.faults, problems(explored)) == (kept, [])


@pytest.mark.parametrize("seed", range(30))
def test_the_true_pool_breaks_nothing(seed: int) -> None:
    findings = judge(simulate(explored_plan(find_core("sessionpool"), seed)))
    assert [it for it in findings if it.verdict == "broken"] == []


def test_one_failure_of_each_promise_is_looked_at_before_a_second_one() -> None:
    broken = [(1, "a"), (1, "b"), (2, "a"), (3, "c")]
    assert list(_choose(broken)) == [(1, "a"), (1, "b"), (3, "c"), (2, "a")]


def judged(monkeypatch: pytest.MonkeyPatch, **verdicts: Verdict) -> None:
    """Whatever is carried out, this is what the checks say of it."""
    findings = tuple(Finding(promise=name.replace("_", "-"), verdict=it) for name, it in verdicts.items())
    monkeypatch.setattr(EXPLORE, "judge", lambda history: findings)


@pytest.mark.parametrize("verdict", ["kept", "unknown"])
def test_an_exploration_that_could_not_tell_of_a_promise_is_no_proof(
    monkeypatch: pytest.MonkeyPatch, verdict: Verdict
) -> None:
    monkeypatch.setattr(EXPLORE, "SOMETIMES", ())
    judged(monkeypatch, closes_cleanly="kept", serves_fairly=verdict)
    assert explore("sessionpool", seeds=2).verdict == verdict


def test_what_says_little_is_looked_at_last() -> None:
    broken = [(1, "resolves-every-operation"), (2, "closes-cleanly"), (3, "runs-at-most-once")]
    assert [promise for _, promise in _choose(broken)] == [
        "runs-at-most-once",
        "resolves-every-operation",
        "closes-cleanly",
    ]


@pytest.mark.parametrize("folder", ["file", "file/found"])
def test_where_failures_can_not_be_kept_nothing_is_carried_out(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("taken")
    told: list[Any] = []
    with pytest.raises(UsageError, match="is no folder that you may write to"):
        explore("sessionpool", seeds=1, report=tmp_path / folder, watcher=lambda *it: told.append(it))
    assert told == []


# --- the same twice ---------------------------------------------------------------------------------------------------


class Drifting(SessionPoolCore):
    """Every second run is another one: its pool does not close."""

    runs = count()

    def make_core(self, chance: random.Random) -> Core:
        return (test_lab.Ignoring if next(self.runs) % 2 else Core)(self._settings, chance)


def test_a_core_that_keeps_something_from_one_run_to_the_next_is_found_out() -> None:
    with pytest.raises(PoolproofError, match="seed 50 does not give the same twice: the core reads a clock, draws"):
        explore(f"{__name__}:Drifting", seeds=1, first_seed=50)


def test_one_seed_in_fifty_is_carried_out_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def watched(history: History) -> str:
        compared.append(history.plan.scenario.name)
        return digest(history)

    monkeypatch.setattr(EXPLORE, "digest", watched)
    explore("sessionpool", seeds=3, first_seed=49)
    assert compared == ["explored-50", "explored-50"]


# --- real processes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is to be carried out with real processes leaves the same small history."""

    def carry_out(plan: Plan, folder: Path) -> History:
        history = Story(plan).op(0.1).watched(9.0).history()
        write_plan(plan, folder)
        save(history, folder)
        return history

    monkeypatch.setattr(EXPLORE, "carry_out", carry_out)


@pytest.mark.usefixtures("real")
def test_the_folder_of_a_real_run_that_fails_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, closes_cleanly="broken")
    (failure,) = explore("thread-pool-executor", layer=2, seeds=1, first_seed=7, report=tmp_path).failures
    assert failure.path == str(tmp_path / "explored-7")
    assert len(load(Path(failure.path)).operations) == 1


@pytest.mark.usefixtures("real")
def test_the_folder_of_a_real_run_that_breaks_nothing_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(monkeypatch, closes_cleanly="kept")
    explore("thread-pool-executor", layer=2, seeds=1, report=tmp_path)
    assert list(tmp_path.iterdir()) == []
