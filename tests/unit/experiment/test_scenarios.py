from typing import Literal

import msgspec
import pytest

from poolproof.checks.degrades_gracefully import LEAST_NS, SETTLED
from poolproof.errors import UsageError
from poolproof.experiment import SCENARIOS, find_scenarios
from poolproof.experiment.scenarios import (
    MODERATE,
    OVERLOAD,
    SATURATION,
    STORM,
    Ingredients,
)
from poolproof.plan import IMPLIED, PROMISES, FaultSpec, Load, Placed, Scenario, Step
from poolproof.workloads import awkward
from poolproof.workloads.scripted import OVERDUE_S, WAIT_S, waits

INGREDIENTS = Ingredients(rate_per_s=100.0, seconds=4.0, arrivals="poisson", warm_up=8, workers=4)
ALL = find_scenarios((), INGREDIENTS)
NAMES = (
    "steady",
    "sessions",
    "deadlines",
    "overload",
    "kill-one",
    "kill-idle",
    "kill-most",
    "kill-storm",
    "stall-one",
    "degradation",
    "awkward-work",
    "shutdown",
    "parent-death",
)
DEATH = {"survives-worker-death", "contains-the-blast", "restores-capacity"}


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
    with pytest.raises(UsageError, match=r"unknown scenario 'kill-two': name one of steady, sessions, .*parent-death$"):
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


@pytest.mark.parametrize("name", ["kill-one", "kill-idle", "kill-most", "kill-storm"])
def test_each_that_kills_workers_examines_what_becomes_of_the_rest(name: str) -> None:
    assert set(named(name).examines) == {*IMPLIED, *DEATH}


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("steady", set()),
        (
            "sessions",
            {"keeps-sessions-sticky", "isolates-sessions", "keeps-session-order"}
            | {"contains-the-blast", "restores-capacity"},
        ),
        ("deadlines", {"restores-capacity", "honours-deadlines"}),
        ("overload", {"sheds-overload", "serves-fairly"}),
        ("stall-one", {"contains-the-blast", "restores-capacity"}),
        ("degradation", {"contains-the-blast", "restores-capacity", "degrades-gracefully"}),
        ("awkward-work", {"contains-the-blast", "restores-capacity"}),
        ("shutdown", set()),
    ],
)
def test_each_examines_beside_the_implied_promises_what_it_is_for(name: str, own: set[str]) -> None:
    assert set(named(name).examines) == {*IMPLIED, *own}


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_faults_come_within_the_measured_window(scenario: Scenario) -> None:
    assert all(fault.at_s > 0 and fault.at_s + fault.for_s <= scenario.load.seconds for fault in scenario.faults)


@pytest.mark.parametrize("scenario", [*ALL[:-2], ALL[-1]], ids=lambda scenario: scenario.name)
def test_the_measured_window_lasts_as_long_as_was_asked(scenario: Scenario) -> None:
    assert scenario.load.seconds == pytest.approx(4.0)


def test_a_shutdown_has_no_measured_window() -> None:
    assert named("shutdown").load.steps == (Step(rate=0, seconds=0),)


def test_each_is_keyed_by_its_own_name() -> None:
    assert {name: make(INGREDIENTS).name for name, make in SCENARIOS.items()} == {name: name for name in NAMES}


def test_those_without_faults_are_the_ones_whose_load_is_the_trial() -> None:
    without = {scenario.name for scenario in ALL if not scenario.faults}
    assert without == {"steady", "deadlines", "overload", "awkward-work", "shutdown"}


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
def test_rate_arrivals_and_warm_up_are_what_was_asked(arrivals: Literal["constant", "poisson"]) -> None:
    given = Ingredients(rate_per_s=7.0, seconds=3.0, arrivals=arrivals, warm_up=5, workers=4)
    (scenario,) = find_scenarios(("steady",), given)
    load = scenario.load
    assert (load.steps[0].rate, load.seconds, load.arrivals, load.warm_up) == (7.0, 3.0, arrivals, 5)


def in_short(fault: FaultSpec) -> FaultSpec:
    """A fault whose times are told to the microsecond."""
    at_s, for_s, patience_s = (round(seconds, 6) for seconds in (fault.at_s, fault.for_s, fault.patience_s))
    return msgspec.structs.replace(fault, at_s=at_s, for_s=for_s, patience_s=patience_s)


@pytest.mark.parametrize(
    ("name", "faults"),
    [
        ("sessions", (FaultSpec(kind="kill", count=1, at_s=2.0),)),
        ("kill-one", (FaultSpec(kind="kill", count=1, at_s=1.0),)),
        ("kill-idle", (FaultSpec(kind="kill", count=1, at_s=1.48, coincide="idle", patience_s=0.32),)),
        ("kill-most", (FaultSpec(kind="kill", share=0.6, at_s=1.12, patience_s=1.0),)),
        (
            "kill-storm",
            tuple(FaultSpec(kind="kill", count=1, at_s=at, patience_s=0.4) for at in (0.4, 0.75, 1.1, 1.45, 1.8)),
        ),
        ("stall-one", (FaultSpec(kind="stall", count=1, at_s=1.0, for_s=2.0),)),
        ("degradation", (FaultSpec(kind="kill", share=0.5, at_s=1.6),)),
        ("parent-death", (FaultSpec(kind="kill", target="parent", at_s=1.0),)),
    ],
)
def test_the_faults_of_a_window_of_four_seconds_are_these(name: str, faults: tuple[FaultSpec, ...]) -> None:
    assert tuple(in_short(fault) for fault in named(name).faults) == faults


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("kill-idle", [(100, 1.0), (0, 0.8), (100, 2.2)]),
        ("kill-most", [(100, 1.0), (250, 0.6), (100, 2.4)]),
        ("degradation", [(1.2, 4.0), (0.4, 0.0)]),
        ("overload", [(0.4, 0.8), (3, 1.4), (0.4, 1.8)]),
        ("deadlines", [(0.4, 4.0)]),
    ],
)
def test_the_steps_of_a_window_of_four_seconds_are_these(name: str, steps: list[tuple[float, float]]) -> None:
    found = [(step.rate, round(step.seconds, 6)) for step in named(name).load.steps]
    assert found == steps


# --- kill-storm ---------------------------------------------------------------------------------------------------


def test_a_storm_kills_one_busy_worker_after_the_other() -> None:
    faults = named("kill-storm").faults
    assert {(fault.kind, fault.target, fault.count, fault.coincide) for fault in faults} == {
        ("kill", "worker", 1, "in-flight")
    }
    assert len(faults) == STORM


def test_the_kills_of_a_storm_are_evenly_spread_and_leave_time_before_and_after() -> None:
    assert [fault.at_s for fault in named("kill-storm").faults] == pytest.approx([0.4, 0.75, 1.1, 1.45, 1.8])


def test_the_last_kill_of_a_storm_that_is_looked_for_in_vain_is_given_up_within_the_window() -> None:
    (*_, last) = named("kill-storm").faults
    assert last.at_s + last.patience_s < 4.0


# --- at so much of the capacity -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_a_load_in_multiples_of_the_capacity_is_one_of_waits(scenario: Scenario) -> None:
    in_multiples = scenario.name in ("deadlines", "overload", "degradation")
    assert (scenario.load.service_s, scenario.workload) == ((WAIT_S, "waits") if in_multiples else (0.0, ""))


@pytest.mark.parametrize("name", ["deadlines", "overload", "degradation"])
def test_a_load_in_multiples_of_the_capacity_is_evenly_spaced_whatever_was_asked(name: str) -> None:
    assert (named(name).load.arrivals, named(name).load.warm_up) == ("constant", 8)


def test_half_of_the_workers_are_lost_while_more_is_offered_than_all_of_them_can_do() -> None:
    scenario = named("degradation")
    (fault,) = scenario.faults
    assert (fault.kind, fault.share, fault.coincide) == ("kill", 0.5, "in-flight")
    assert scenario.load.steps[0] == Step(rate=SATURATION, seconds=4.0)
    assert SATURATION > 1


@pytest.mark.parametrize("seconds", [2.0, 3.0, 60.0])
def test_the_loss_leaves_time_enough_to_be_judged_however_short_the_window(seconds: float) -> None:
    given = Ingredients(rate_per_s=1.0, seconds=seconds, arrivals="poisson", warm_up=8, workers=4)
    (scenario,) = find_scenarios(("degradation",), given)
    (fault,) = scenario.faults
    assert (1 - SETTLED) * fault.at_s * 1e9 >= LEAST_NS
    assert (scenario.load.steps[0].seconds - fault.at_s) * 1e9 >= LEAST_NS


@pytest.mark.parametrize(("seconds", "saturated"), [(2.0, 2.0), (6.0, 6.0), (7.0, 6.0), (600.0, 6.0)])
def test_a_pool_is_offered_more_than_it_can_do_for_six_seconds_at_most(seconds: float, saturated: float) -> None:
    given = Ingredients(rate_per_s=1.0, seconds=seconds, arrivals="poisson", warm_up=8, workers=4)
    (scenario,) = find_scenarios(("degradation",), given)
    beyond, after = scenario.load.steps
    assert (beyond.seconds, after.seconds, after.rate) == pytest.approx((saturated, seconds - saturated, MODERATE))
    assert scenario.faults[0].at_s == pytest.approx(0.4 * saturated)


@pytest.mark.parametrize(("seconds", "during"), [(2.0, 0.7), (4.0, 1.4), (5.0, 1.5), (600.0, 1.5)])
def test_an_overload_lasts_a_second_and_a_half_at_most(seconds: float, during: float) -> None:
    given = Ingredients(rate_per_s=1.0, seconds=seconds, arrivals="poisson", warm_up=8, workers=4)
    (scenario,) = find_scenarios(("overload",), given)
    assert [step.seconds for step in scenario.load.steps] == pytest.approx(
        [0.2 * seconds, during, 0.8 * seconds - during]
    )


def test_an_overload_comes_and_goes() -> None:
    before, during, after = named("overload").load.steps
    assert (before.rate, during.rate, after.rate) == (MODERATE, OVERLOAD, MODERATE)
    assert during.seconds == pytest.approx(0.35 * 4.0)
    assert MODERATE < 1 < OVERLOAD


# --- sessions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [2, 4, 16])
def test_there_are_several_sessions_a_worker(workers: int) -> None:
    given = Ingredients(rate_per_s=100.0, seconds=4.0, arrivals="poisson", warm_up=8, workers=workers)
    (scenario,) = find_scenarios(("sessions",), given)
    assert scenario.load.sessions == 3 * workers


def test_operations_of_a_session_come_in_bursts() -> None:
    assert named("sessions").load.burst == 3


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_no_other_has_sessions_or_bursts(scenario: Scenario) -> None:
    if scenario.name != "sessions":
        assert (scenario.load.sessions, scenario.load.burst) == (0, 1)


def test_one_busy_worker_is_killed_when_half_of_the_operations_of_sessions_were_offered() -> None:
    (fault,) = named("sessions").faults
    assert (fault.kind, fault.count, fault.at_s, fault.coincide) == ("kill", 1, 2.0, "in-flight")


# --- deadlines ----------------------------------------------------------------------------------------------------


def test_the_operations_of_the_mix_have_plenty_of_time() -> None:
    load = named("deadlines").load
    assert load.deadline_s == 2.5 > 10 * WAIT_S


def test_some_operations_take_longer_than_they_may() -> None:
    assert named("deadlines").load.placed[:3] == (
        Placed(at_s=0.4, kind="overdue", deadline_s=0.4),
        Placed(at_s=1.4, kind="overdue", deadline_s=0.4),
        Placed(at_s=2.4, kind="overdue", deadline_s=0.4),
    )
    assert OVERDUE_S > 0.4


@pytest.mark.parametrize("seconds", [2.0, 4.0, 600.0])
@pytest.mark.parametrize("workers", [2, 4, 16])
def test_some_operations_have_little_time_while_every_worker_is_busy_with_others(workers: int, seconds: float) -> None:
    given = Ingredients(rate_per_s=100.0, seconds=seconds, arrivals="poisson", warm_up=8, workers=workers)
    (scenario,) = find_scenarios(("deadlines",), given)
    *occupied, first, second, third = scenario.load.placed[3:]
    assert [(place.kind, place.deadline_s) for place in occupied] == [("overdue", 0.0)] * workers
    assert [place.at_s for place in occupied] == pytest.approx([0.7 * seconds] * workers)
    assert [(place.kind, place.deadline_s) for place in (first, second, third)] == [("wait", 0.4)] * 3
    assert [place.at_s - occupied[0].at_s for place in (first, second, third)] == pytest.approx([0.075, 0.15, 0.225])
    assert third.at_s + third.deadline_s < occupied[0].at_s + OVERDUE_S


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_what_is_placed_is_known_to_its_workload_or_to_the_kit(scenario: Scenario) -> None:
    own = waits().kinds if scenario.workload == "waits" else {}
    assert all(place.kind in {*own, *awkward.workload.kinds} for place in scenario.load.placed)


# --- what they are made from --------------------------------------------------------------------------------------


def test_a_plain_load_is_one_step_of_the_configured_rate() -> None:
    assert INGREDIENTS.load() == Load(steps=(Step(rate=100.0, seconds=4.0),), arrivals="poisson", warm_up=8)


def test_the_steps_of_a_load_are_shares_of_the_window_at_multiples_of_the_rate() -> None:
    assert INGREDIENTS.load((0.25, 2.0), (0.5, 0.0)).steps == (Step(rate=200.0, seconds=1), Step(rate=0, seconds=2))


def test_the_steps_of_a_load_of_waits_are_shares_of_the_window_at_multiples_of_the_capacity() -> None:
    assert INGREDIENTS.waits((0.25, 2.0), (0.5, 0.5)).steps == (Step(rate=2, seconds=1), Step(rate=0.5, seconds=2))
