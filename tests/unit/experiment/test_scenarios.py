import pytest

from poolproof.errors import UsageError
from poolproof.experiment import SCENARIOS, find_scenarios
from poolproof.plan import IMPLIED, PROMISES, Scenario
from poolproof.workloads import awkward

INGREDIENTS = (100.0, 4.0, "poisson", 8)
ALL = find_scenarios((), INGREDIENTS)
NAMES = (
    "steady",
    "kill-one",
    "kill-idle",
    "kill-most",
    "stall-one",
    "awkward-work",
    "shutdown",
    "parent-death",
)


def named(name: str) -> Scenario:
    (found,) = find_scenarios((name,), INGREDIENTS)
    return found


def test_without_a_name_all_of_them_are_found_in_their_order() -> None:
    assert tuple(scenario.name for scenario in ALL) == NAMES == tuple(SCENARIOS)


def test_named_ones_are_found_in_their_own_order() -> None:
    found = find_scenarios(("shutdown", "kill-one"), INGREDIENTS)
    assert [scenario.name for scenario in found] == ["kill-one", "shutdown"]


@pytest.mark.parametrize("names", [("kill-two",), ("steady", "kill-two")])
def test_an_unknown_one_is_refused_with_what_there_is(names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"unknown scenario 'kill-two': name one of steady, kill-one, .*parent-death$"):
        find_scenarios(names, INGREDIENTS)


@pytest.mark.parametrize("scenario", ALL[:-2], ids=lambda scenario: scenario.name)
def test_each_but_the_last_two_ends_with_a_capacity_probe_and_a_close(scenario: Scenario) -> None:
    assert scenario.stages[-2:] == ("probe-after", "close")
    assert "probe-before" in scenario.stages


@pytest.mark.parametrize("scenario", ALL[:-1], ids=lambda scenario: scenario.name)
def test_each_but_the_last_ends_with_a_close(scenario: Scenario) -> None:
    assert scenario.stages[-1].startswith("close")


@pytest.mark.parametrize("scenario", ALL[:-1], ids=lambda scenario: scenario.name)
def test_each_that_closes_examines_the_close(scenario: Scenario) -> None:
    assert {"closes-cleanly", "leaves-nothing-behind"} <= set(scenario.examines)


def test_the_death_of_the_parent_is_the_end_of_its_scenario() -> None:
    assert named("parent-death").stages == ("open", "load")


def test_a_shutdown_is_tried_without_and_with_cancellation() -> None:
    assert named("shutdown").stages == ("close-loaded", "close-cancelling")


def test_only_the_steady_one_goes_through_cycles() -> None:
    assert [scenario.name for scenario in ALL if "cycles" in scenario.stages] == ["steady"]


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_each_examines_promises_that_there_are_each_once(scenario: Scenario) -> None:
    assert set(scenario.examines) <= set(PROMISES)
    assert len(set(scenario.examines)) == len(scenario.examines)


@pytest.mark.parametrize("scenario", ALL[:-1], ids=lambda scenario: scenario.name)
def test_each_with_load_that_is_seen_through_examines_every_implied_promise(scenario: Scenario) -> None:
    assert set(IMPLIED) <= set(scenario.examines)


def test_every_promise_is_examined_by_one_at_least() -> None:
    assert {promise for scenario in ALL for promise in scenario.examines} == set(PROMISES)


@pytest.mark.parametrize("name", ["kill-one", "kill-idle", "kill-most"])
def test_each_that_kills_workers_examines_what_becomes_of_the_rest(name: str) -> None:
    assert set(named(name).examines) == {*IMPLIED, "survives-worker-death", "contains-the-blast", "restores-capacity"}


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_faults_come_within_the_measured_window(scenario: Scenario) -> None:
    assert all(fault.at_s > 0 and fault.at_s + fault.for_s <= scenario.load.seconds for fault in scenario.faults)


@pytest.mark.parametrize("scenario", ALL[:-2], ids=lambda scenario: scenario.name)
def test_the_measured_window_lasts_as_long_as_was_asked(scenario: Scenario) -> None:
    assert scenario.load.seconds == pytest.approx(4.0)


@pytest.mark.parametrize("name", ["steady", "awkward-work", "shutdown"])
def test_three_do_without_faults(name: str) -> None:
    assert named(name).faults == ()


def test_the_idle_worker_is_killed_in_a_pause() -> None:
    scenario = named("kill-idle")
    before, pause, after = scenario.load.steps
    (fault,) = scenario.faults
    assert (pause.rate, before.rate, after.rate, fault.coincide) == (0, 100, 100, "idle")
    assert before.seconds < fault.at_s
    assert fault.at_s + fault.patience_s <= before.seconds + pause.seconds + 1e-9


def test_most_means_sixty_percent_of_the_workers() -> None:
    (fault,) = named("kill-most").faults
    assert (fault.kind, fault.share, fault.coincide) == ("kill", 0.6, "in-flight")


def test_a_stall_lasts_half_of_the_window() -> None:
    (fault,) = named("stall-one").faults
    assert (fault.kind, fault.count, fault.for_s) == ("stall", 1, 2.0)


def test_the_parent_is_killed_while_work_is_in_flight() -> None:
    (fault,) = named("parent-death").faults
    assert (fault.kind, fault.target, fault.coincide) == ("kill", "parent", "in-flight")


def test_every_awkward_kind_is_placed_once_within_the_window() -> None:
    placed = named("awkward-work").load.placed
    assert [place.kind for place in placed] == list(awkward.workload.kinds)
    assert all(0 < place.at_s < 4.0 for place in placed)


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_rate_arrivals_and_warm_up_are_what_was_asked(arrivals: str) -> None:
    (scenario,) = find_scenarios(("steady",), (7.0, 3.0, arrivals, 5))
    load = scenario.load
    assert (load.steps[0].rate, load.seconds, load.arrivals, load.warm_up) == (7.0, 3.0, arrivals, 5)
