from pathlib import Path

import pytest

from poolproof.checks import judge
from poolproof.errors import TargetError
from poolproof.exploration import explore, replay
from poolproof.exploration.explore import _choose, explored_plan
from poolproof.exploration.swarm import random_plan
from poolproof.plan import problems
from poolproof.pools import find_core
from poolproof.simulation import SOMETIMES, simulate
from tests.unit.simulation import test_lab
from tests.unit.simulation.worlds import TARGET

IGNORING = f"{test_lab.__name__}:ignoring"


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
