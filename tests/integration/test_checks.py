"""Every check catches a pool with its defect, by name, and is silent about a pool that has none."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from poolproof.config import Effective
from poolproof.experiment import SCENARIOS, Proof, find_scenarios, prove
from poolproof.experiment.scenarios import Ingredients
from poolproof.history import load
from poolproof.plan import PROMISES
from tests.pools.unusual import START_S


class Mutant(NamedTuple):
    """A defective pool of `tests/pools/mutants.py`.

    Attributes:
        broken: the promise that it breaks.
        factory: its name there.
        scenario: the one that shows it.
        inevitably: other promises that no pool with this defect can keep, and why.
    """

    broken: str
    factory: str
    scenario: str
    inevitably: Mapping[str, str] = {}


MUTANTS = (
    Mutant("resolves-every-operation", "loses_what_a_dead_worker_held", "kill-one"),
    Mutant("runs-at-most-once", "runs_some_operations_twice", "steady"),
    Mutant("runs-at-most-once", "repeats_what_a_dead_worker_held", "kill-one"),
    Mutant("returns-the-right-result", "returns_a_neighbours_result", "steady"),
    Mutant("returns-the-right-result", "garbles_results", "kill-idle"),
    Mutant("returns-the-right-result", "cancels_half_of_the_operations_unasked", "steady"),
    Mutant("returns-the-right-result", "refuses_without_need", "steady"),
    Mutant("types-every-error", "wraps_errors_of_the_user", "awkward-work"),
    Mutant(
        "types-every-error",
        "fails_some_operations_with_a_surprise",
        "steady",
        {"returns-the-right-result": "nothing had been harmed when they failed"},
    ),
    Mutant("closes-cleanly", "hangs_in_close", "shutdown"),
    Mutant("closes-cleanly", "raises_in_close", "shutdown"),
    Mutant("closes-cleanly", "swallows_what_comes_late", "shutdown"),
    Mutant("leaves-nothing-behind", "leaks_a_thread", "steady"),
    Mutant("leaves-nothing-behind", "leaks_a_descriptor", "steady"),
    Mutant("leaves-nothing-behind", "leaks_a_temporary_file", "steady"),
    Mutant("leaves-nothing-behind", "leaks_shared_memory", "steady"),
    Mutant("leaves-nothing-behind", "leaks_a_semaphore", "steady"),
    Mutant("leaves-nothing-behind", "leaks_a_zombie", "steady"),
    Mutant("leaves-nothing-behind", "leaks_a_child", "steady"),
    Mutant("leaves-nothing-behind", "leaves_its_workers_alive", "shutdown"),
    Mutant("leaves-nothing-behind", "leaves_workers_when_its_process_dies", "parent-death"),
    Mutant(
        "survives-worker-death",
        "is_dead_for_good_after_a_death",
        "kill-one",
        {
            "contains-the-blast": "no victim held any of the operations that fail later",
            "restores-capacity": "what fails at once does not run",
        },
    ),
    Mutant("contains-the-blast", "fails_innocents_at_a_death", "kill-one"),
    Mutant("restores-capacity", "does_not_replace_dead_workers", "kill-one"),
    Mutant("degrades-gracefully", "pauses_everywhere_at_a_death", "degradation"),
    Mutant("keeps-sessions-sticky", "serves_sessions_wherever_somebody_is_free", "sessions"),
    Mutant("keeps-sessions-sticky", "forgets_states_of_sessions_now_and_then", "sessions"),
    Mutant("isolates-sessions", "shares_one_state_among_sessions", "sessions"),
    Mutant("keeps-session-order", "lets_operations_of_a_session_overtake", "sessions"),
    Mutant("sheds-overload", "takes_whatever_comes", "overload"),
    Mutant("sheds-overload", "makes_its_clients_wait_while_it_is_full", "overload"),
    Mutant("sheds-overload", "refuses_only_when_the_work_is_done", "overload"),
    Mutant("serves-fairly", "serves_the_newest_first", "overload"),
    Mutant("honours-deadlines", "ignores_deadlines", "deadlines"),
    Mutant("honours-deadlines", "lets_short_operations_wait_past_their_deadlines", "deadlines"),
    Mutant("honours-deadlines", "tells_of_the_deadline_and_works_on", "deadlines"),
)


@pytest.mark.layer(2)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.broken}-{mutant.factory}")
def test_a_defect_breaks_its_own_promise_and_no_other(
    mutant: Mutant, experiment: Callable[..., Proof], quick: Effective
) -> None:
    proof = experiment(f"tests.pools.mutants:{mutant.factory}", scenarios=(mutant.scenario,), config=quick)

    broken = {name for name, promise in proof.promises.items() if promise.verdict == "broken"}
    assert broken == {mutant.broken, *mutant.inevitably}, proof.promises


@pytest.mark.layer(2)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_pool_without_a_defect_keeps_every_promise(
    scenario: str, experiment: Callable[..., Proof], quick: Effective
) -> None:
    proof = experiment("tests.pools.clean:make", scenarios=(scenario,), config=quick)

    doubted = [finding for finding in proof.scenarios[0].findings if finding.verdict != "kept"]
    assert not doubted
    assert proof.verdict == "kept"


@pytest.mark.layer(2)
@pytest.mark.parametrize(
    "factory", ["slow_to_start", "slow_executor", "fewer_workers_than_asked_for", "executor_of_its_own_size"]
)
def test_a_pool_that_is_unusual_and_has_no_defect_keeps_what_is_examined_when_undisturbed(
    factory: str, experiment: Callable[..., Proof], quick: Effective
) -> None:
    proof = experiment(f"tests.pools.unusual:{factory}", scenarios=("steady",), config=quick)

    doubted = [finding for finding in proof.scenarios[0].findings if finding.verdict != "kept"]
    assert not doubted
    assert proof.verdict == "kept"


@pytest.mark.layer(2)
def test_a_pool_is_ready_once_it_answered_itself_and_not_by_what_its_forerunner_still_answered(
    quick: Effective, tmp_path: Path
) -> None:
    prove("tests.pools.unusual:slow_to_start", quick, layer=2, seed=1, scenarios=("shutdown",), report=tmp_path)

    lifecycle = load(tmp_path / "shutdown").lifecycle
    opened = [event.at for event in lifecycle if (event.event, event.stage) == ("stage", "open")]
    ready = [event for event in lifecycle if event.event == "ready"]
    assert len(opened) == len(ready) == 2
    for began, event in zip(opened, ready, strict=True):
        assert event.at - began >= START_S * 1e9
        assert event.value is not None
        assert event.value >= START_S


@pytest.mark.functional
def test_the_scenarios_together_examine_every_promise() -> None:
    given = Ingredients(rate_per_s=100.0, seconds=2.0, arrivals="poisson", warm_up=8, workers=4)
    scenarios = find_scenarios((), given)

    assert {promise for scenario in scenarios for promise in scenario.examines} == set(PROMISES)


@pytest.mark.functional
def test_every_promise_has_a_mutant() -> None:
    assert {mutant.broken for mutant in MUTANTS} == set(PROMISES)


@pytest.mark.layer(2)
def test_a_worker_that_lives_on_after_the_close_is_seen_before_its_process_ends(
    experiment: Callable[..., Proof], quick: Effective
) -> None:
    proof = experiment("tests.pools.mutants:leaves_its_workers_alive", scenarios=("shutdown",), config=quick)

    told = [evidence.text for evidence in proof.promises["leaves-nothing-behind"].evidence]
    assert any("outlived the close of the pool" in text for text in told)
