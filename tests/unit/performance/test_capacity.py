"""The search for a capacity: its decisions on scripted pools, single runs on stories, the whole on layer 1."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np
import pytest

from poolproof.config import load_config
from poolproof.errors import UsageError
from poolproof.experiment import Experiment, Run, combine
from poolproof.performance.capacity import (
    FEWEST_WINDOWS,
    Capacity,
    Repeat,
    Standing,
    Trial,
    examine,
    find_capacity,
    growing_backlog,
    next_rate,
    operations_needed,
    search,
    try_rate,
)
from poolproof.plan import Objective, completed, error_rate, longest, p99, throughput
from tests.unit.histories import Story, promised

TRUE: Final = 137.0
SERVICE_S: Final = 0.010
"""Of `predict`, as configured."""

Attempt = Callable[[float, int], Repeat]


def said(verdict: Standing) -> Repeat:
    return Repeat(verdict=verdict, why="" if verdict == "met" else f"it {verdict}")


def pool(capacity: float, generator: float = math.inf) -> Attempt:
    """A pool that meets all rates up to its capacity, and a generator that is at its limits beyond a rate."""

    def attempt(rate: float, number: int) -> Repeat:
        return said("unknown" if rate > generator else "met" if rate <= capacity else "failed")

    return attempt


def scripted(*verdicts: Standing) -> Attempt:
    """A pool that does so at any rate, one repeat after the other."""
    return lambda rate, number: said(verdicts[number])


def searched(attempt: Attempt, **changed: Any) -> Capacity:
    usual = {
        "first_rate": 10.0,
        "min_rate": 1.0,
        "max_rate": 10_000.0,
        "growth": 2.0,
        "precision": 0.05,
        "repeats": 3,
    }
    return search(attempt, **{**usual, **changed})


def rates(found: Capacity) -> list[float]:
    return [trial.rate for trial in found.trials]


# --- which rates are tried, and what they say together --------------------------------------------------------------


@pytest.mark.parametrize("first_rate", [1.0, 10.0, 136.9, 137.0, 137.1, 500.0, 9_999.0])
@pytest.mark.parametrize("growth", [1.1, 2.0, 10.0])
@pytest.mark.parametrize("precision", [0.001, 0.05, 0.3])
def test_the_capacity_is_found_within_the_precision_wherever_the_search_begins(
    first_rate: float, growth: float, precision: float
) -> None:
    found = searched(pool(TRUE), first_rate=first_rate, growth=growth, precision=precision)
    met, failed = found.bracket
    assert (found.verdict, found.rate) == ("found", met)
    assert met is not None
    assert failed is not None
    assert met <= TRUE < failed <= met * (1 + precision)


def test_the_rate_rises_geometrically_and_is_then_bisected_on_a_logarithmic_scale() -> None:
    found = searched(pool(TRUE), precision=0.2)
    assert rates(found) == pytest.approx([10, 20, 40, 80, 160, 113.137, 134.543], rel=1e-5)
    assert found.bracket == pytest.approx((134.543, 160), rel=1e-5)


def test_a_first_rate_that_fails_already_falls_geometrically_until_one_is_met() -> None:
    assert rates(searched(pool(TRUE), first_rate=1_000.0, precision=1.5)) == [1_000, 500, 250, 125]


def test_no_rate_is_tried_twice() -> None:
    found = searched(pool(TRUE), precision=0.001)
    assert len(set(rates(found))) == len(found.trials)


def test_a_pool_that_never_fails_is_good_for_the_highest_rate_at_least() -> None:
    found = searched(pool(math.inf), max_rate=300.0)
    assert (found.verdict, found.rate, found.bracket) == ("at-least", 300.0, (300.0, None))
    assert rates(found)[-2:] == [160.0, 300.0]
    assert found.why == "300/s, the highest rate that was allowed, was met: nothing failed"


def test_a_pool_that_always_fails_has_none_and_the_search_ends_at_the_lowest_rate() -> None:
    found = searched(pool(0.0), min_rate=3.0)
    assert (found.verdict, found.rate, found.bracket) == ("none", None, (None, 3.0))
    assert rates(found) == [10.0, 5.0, 3.0]
    assert found.why == "3/s, the lowest rate that so short a load tells of, failed: it failed"


def test_a_generator_at_its_limits_ends_the_rise_and_no_rate_counts_as_failed() -> None:
    found = searched(pool(math.inf, generator=100.0))
    assert (found.verdict, found.rate, found.bracket) == ("at-least", 80.0, (80.0, None))
    assert found.why == "whether 160/s is met could not be told: it unknown"
    assert rates(found)[-1] == 160.0


def test_a_generator_that_is_at_its_limits_from_the_start_leaves_the_capacity_unknown() -> None:
    found = searched(pool(math.inf, generator=1.0))
    assert (found.verdict, found.rate, found.bracket) == ("unknown", None, (None, None))


def test_a_bisection_that_could_not_be_ended_keeps_what_was_met_and_what_failed() -> None:
    def attempt(rate: float, number: int) -> Repeat:
        return said("unknown" if 80 < rate < 160 else "met" if rate <= TRUE else "failed")

    found = searched(attempt)
    assert (found.verdict, found.rate, found.bracket) == ("at-least", 80.0, (80.0, 160.0))
    assert found.why.endswith("; 160/s failed")


def test_a_disturbed_run_at_every_rate_changes_nothing() -> None:
    quiet = pool(TRUE)
    disturbed = searched(lambda rate, number: said("failed") if number == 0 else quiet(rate, number))
    assert disturbed.bracket == searched(quiet).bracket


def test_a_run_at_every_rate_that_says_nothing_changes_nothing() -> None:
    quiet = pool(TRUE)
    disturbed = searched(lambda rate, number: said("unknown") if number == 0 else quiet(rate, number))
    assert (disturbed.verdict, disturbed.bracket) == ("found", searched(quiet).bracket)


def test_who_listens_is_told_of_each_rate_once_it_is_decided() -> None:
    told: list[Trial] = []
    found = searched(pool(TRUE), on_trial=told.append)
    assert tuple(told) == found.trials


def test_there_is_no_next_rate_before_the_first() -> None:
    with pytest.raises(ValueError, match="has to be tried first"):
        next_rate(None, None, min_rate=1, max_rate=2, growth=2, precision=0.1)


# --- the repeats of a rate ------------------------------------------------------------------------------------------

M: Final = "met"
F: Final = "failed"
U: Final = "unknown"


@pytest.mark.parametrize(
    ("repeats", "verdicts", "expected"),
    [
        (1, (M,), M),
        (1, (U,), U),
        (3, (M, M), M),
        (3, (F, F), F),
        (3, (M, F, M), M),
        (3, (F, M, F), F),
        (3, (U, U, U), U),
        (3, (U, U, M, M), M),
        (3, (U, F, U, M, F), F),
        (3, (F, U, M, U, U), U),
        (5, (M, F, M, F, M), M),
    ],
)
def test_a_rate_is_what_the_majority_of_its_repeats_says_and_those_that_say_nothing_are_run_again(
    repeats: int, verdicts: Sequence[Standing], expected: Standing
) -> None:
    trial = try_rate(scripted(*verdicts, M, M), 10.0, repeats)
    assert (trial.verdict, [one.verdict for one in trial.repeats]) == (expected, [*verdicts])


def test_a_rate_tells_all_its_repeats_and_the_reason_of_the_majority() -> None:
    trial = try_rate(scripted("failed", "met", "failed"), 12.5, 3)
    assert trial.describe() == "12.5/s: failed (failed, met, failed): it failed"


def test_a_failed_test_is_told_the_answer_and_every_rate() -> None:
    lines = searched(pool(TRUE), precision=0.5, first_rate=80.0).describe().splitlines()
    assert lines == [
        "found 113.137/s: 113.137/s was met, 160/s failed: it failed",
        "80/s: met (met, met)",
        "160/s: failed (failed, failed): it failed",
        "113.137/s: met (met, met)",
    ]


# --- one run --------------------------------------------------------------------------------------------------------

LATENESS: Final = 0.05


def steady(late_s: float = 0.0, took: float = 0.02) -> Story:
    """100 operations a second for 4 s, each sent so late and done so long afterwards."""
    story = Story.of(claims=promised("runs-at-most-once"), examines=("runs-at-most-once",))
    for number in range(400):
        story.op(number / 100 + late_s, took, due=number / 100, by=None)
    return story


def behind() -> Story:
    """The same, of which a pool can do but half."""
    story = Story.of()
    for number in range(400):
        story.op(number / 100, 0.02 + number / 100, by=None)
    return story


def judged(story: Story, *objectives: Objective) -> Repeat:
    scenario = msgspec.structs.replace(story.plan.scenario, objectives=objectives)
    story.plan = msgspec.structs.replace(story.plan, scenario=scenario)
    history = story.history()
    return examine(Run(proof=combine([(history, "")]), history=history))


def test_a_run_that_meets_its_objectives_without_a_backlog_is_met_and_told_in_figures() -> None:
    found = judged(steady(), p99() < "50ms", error_rate() <= 0)
    assert found == Repeat(verdict="met", offered=400, p99_ms=20.0, throughput=99.75)


def test_a_broken_objective_fails_the_run_and_is_the_reason() -> None:
    found = judged(steady(), p99() < "10ms", error_rate() <= 0)
    assert (found.verdict, found.why) == ("failed", "p99 < 10 ms: broken: 20 ms, margin -100%")


def test_a_growing_backlog_fails_a_run_that_meets_all_its_objectives() -> None:
    found = judged(behind(), error_rate() <= 0)
    assert (found.verdict, found.why) == ("failed", "the backlog grew by 200 operations, of 400 that were offered")


def test_a_generator_that_was_the_bottleneck_leaves_unknown_whether_a_broken_objective_is_the_pools() -> None:
    story = steady()
    for number in range(40):
        story.op(4 + LATENESS, 0.02, due=3.9 + number / 1000, by=None)
    found = judged(story.fails(3.9), error_rate() <= 0, longest() < "10ms")
    assert found.verdict == "unknown"
    assert found.why.startswith("the generator, not the pool, was the limit: own lag p99 was ")


def test_a_run_that_did_not_go_its_whole_way_is_unknown_whatever_failed_in_it() -> None:
    story = steady().fails(3.5).event("void", 3.6, detail="the lab was killed by SIGKILL")
    found = judged(story, error_rate() <= 0)
    assert (found.verdict, found.why) == (
        "unknown",
        "the run did not go its whole way: the lab was killed by SIGKILL",
    )


def test_an_objective_that_could_not_be_judged_leaves_a_run_unknown_unless_another_one_is_broken() -> None:
    untold = p99("batch") < "50ms"
    assert judged(steady(), untold).verdict == "unknown"
    assert judged(steady().fails(3.5), untold, error_rate() <= 0).verdict == "failed"


def test_broken_promises_are_shown_and_do_not_count() -> None:
    story = steady()
    story.op(3.99, 0.02).ran(400, 11, 3.995, 4.0)
    found = judged(story, error_rate() <= 0)
    assert (found.verdict, found.broken) == ("met", ("runs-at-most-once",))


# --- backlogs -------------------------------------------------------------------------------------------------------

WINDOWS: Final = np.arange(20)


@pytest.mark.parametrize(
    ("backlog", "expected"),
    [
        (2 * WINDOWS, 40.0),  # grows all along
        (np.full(20, 300), 0.0),  # long, and remains so
        (300 - 2 * WINDOWS, 0.0),  # shrinks
        (WINDOWS // 6, 0.0),  # by no more than there are workers
        (np.where(WINDOWS == 9, 400, WINDOWS % 2), 0.0),  # a stall that was made up for
        (np.where(WINDOWS < 17, 0, 100), 0.0),  # a stall at the very end
        (np.minimum(WINDOWS, 3), 0.0),  # what is under way once the load has begun
        (2 * WINDOWS[: FEWEST_WINDOWS - 1], 0.0),  # too short a course to tell
    ],
)
def test_a_backlog_grows_where_the_whole_course_rises_by_more_than_the_workers(
    backlog: np.ndarray[Any, np.dtype[np.int64]], expected: float
) -> None:
    assert growing_backlog(backlog, offered=200, workers=4) == expected


@pytest.mark.parametrize(("offered", "grows"), [(3_900, True), (4_100, False)])
def test_a_backlog_grows_where_it_rises_by_more_than_a_hundredth_of_what_was_offered(offered: int, grows: bool) -> None:
    assert bool(growing_backlog(2 * WINDOWS, offered=offered, workers=4)) is grows


def test_a_course_that_is_noise_around_a_level_grows_in_few_of_many_runs() -> None:
    chance = np.random.default_rng(1)
    courses = chance.poisson(50, size=(500, 20))
    assert sum(growing_backlog(course, offered=400, workers=4) > 0 for course in courses) <= 10


# --- what makes sense -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objectives", "expected"),
    [
        ((), 20),
        ((p99() < "50ms",), 100),
        ((p99() < "50ms", error_rate() < 0.002), 500),
        ((completed() > 0.999,), 1_000),
        ((throughput() > 5, error_rate() <= 0), 20),
    ],
)
def test_a_run_takes_as_many_operations_as_its_objectives_do(objectives: Sequence[Objective], expected: int) -> None:
    assert operations_needed(objectives, is_random=False) == expected


def test_a_random_number_of_operations_has_to_be_higher_on_average() -> None:
    assert operations_needed([p99() < "50ms"], is_random=True) == 140


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"first_rate": 0.0}, "first_rate = 0.0: expected operations a second, above 0"),
        ({"max_rate": math.inf}, "max_rate = inf: expected operations a second, above 0"),
        ({"growth": 1.0}, "growth = 1.0: expected a factor above 1"),
        ({"precision": 0.0}, "precision = 0.0: expected a share of 0.001 or more"),
        ({"repeats": 0}, "repeats = 0: expected 1 or more"),
        ({"max_rate": 50.0}, "first_rate = 80 is above max_rate = 50"),
        ({"max_rate": 1e9}, "max_rate = 1e+09 over 2 s is more than 20,000,000 operations"),
        (
            {"first_rate": 10.0, "objectives": [p99() < "50ms"]},
            "first_rate = 10 over 2 s is 20 operations, and these objectives take 100: raise the rate",
        ),
        ({"over": "soon"}, "over: 'soon' is no duration"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_before_anything_is_run(changed: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        simulated(**changed)
    assert expected in str(refused.value)


def test_all_that_makes_no_sense_is_told_at_once() -> None:
    with pytest.raises(UsageError, match=r"growth = 0: .*; precision = -1: .*; repeats = 0: "):
        simulated(growth=0, precision=-1, repeats=0)


# --- the whole, in virtual time -------------------------------------------------------------------------------------


def simulated(workers: int = 1, seed: int = 1, **changed: Any) -> Capacity:
    """A search on layer 1, of operations of 10 ms each."""
    usual: dict[str, Any] = {
        "objectives": (),
        "mix": {"predict": 1},
        "arrivals": "constant",
        "first_rate": 80.0,
    }
    experiment = Experiment(effective=load_config(1), layer=1, seed=seed)
    return find_capacity(experiment, workers=workers, **{**usual, **changed})


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_the_capacity_of_simulated_workers_is_that_of_arithmetic(workers: int) -> None:
    found = simulated(workers)
    met, failed = found.bracket
    assert met is not None
    assert failed is not None
    assert found.verdict == "found"
    # The pool takes its share of the time, 0.15 ms an operation: the capacity lies just below the arithmetic one.
    assert met <= workers / SERVICE_S < failed * 1.02
    assert failed <= met * 1.05


def test_a_finer_precision_comes_closer_to_the_capacity() -> None:
    coarse, fine = (simulated(2, precision=precision, over="4s") for precision in (0.2, 0.02))
    assert coarse.rate is not None
    assert fine.rate is not None
    assert coarse.rate <= fine.rate <= 2 / SERVICE_S
    assert fine.rate == pytest.approx(2 / SERVICE_S, rel=0.03)


def test_more_workers_are_good_for_more() -> None:
    one, two, three = (simulated(workers, precision=0.2).rate or 0.0 for workers in (1, 2, 3))
    assert 0 < one < two < three


def test_a_stricter_objective_is_met_at_lower_rates_only() -> None:
    bounds = ("20ms", "60ms", "300ms")
    found = [simulated(2, arrivals="poisson", over="5s", objectives=[p99() < bound]).rate or 0.0 for bound in bounds]
    assert found == sorted(found)
    assert found[0] < 0.6 * found[-1]


def test_the_same_seed_finds_the_same_and_tries_the_same() -> None:
    assert simulated(2, arrivals="poisson") == simulated(2, arrivals="poisson")


def test_the_repeats_of_a_rate_differ_and_are_alike_at_every_rate() -> None:
    found = simulated(2, arrivals="poisson", repeats=5)
    offered = [[one.offered for one in trial.repeats] for trial in found.trials]
    assert all(len(set(each)) > 1 for each in offered)
    ranks = {tuple(np.argsort(each[:3]).tolist()) for each in offered}
    assert len(ranks) == 1  # the repeat that had most operations has most at every rate


def test_without_an_objective_a_backlog_alone_tells_what_is_too_much() -> None:
    found = simulated(2)
    assert "the backlog grew by" in found.why


def test_without_an_objective_on_errors_what_a_pool_refuses_is_too_much() -> None:
    found = simulated(first_rate=400.0)
    assert "error-rate <= 0: broken" in found.trials[0].why


def test_with_an_objective_on_errors_as_many_may_be_refused() -> None:
    """Of four times the capacity three quarters are refused, and the queue is full nearly all the time."""
    found = simulated(first_rate=400.0, over="10s", objectives=[error_rate() < 0.9], max_rate=400.0)
    assert (found.verdict, found.rate) == ("at-least", 400.0)


def test_the_highest_rate_is_by_default_what_the_generator_is_good_for() -> None:
    config = load_config(1, options={"budgets.generator_rate_per_s": 90.0})
    experiment = Experiment(effective=config, layer=1, seed=1)
    found = find_capacity(experiment, objectives=[], mix={"predict": 1}, workers=2, first_rate=50, precision=0.5)
    assert (found.verdict, found.rate) == ("at-least", 90.0)


def test_random_arrivals_that_vary_by_more_than_the_precision_are_noted() -> None:
    assert "arrivals are random: how many come within 2 s varies by " in simulated(arrivals="poisson").notes[0]


def test_operations_too_long_for_the_load_to_show_an_overload_are_noted() -> None:
    found = simulated(2, workload="waits", mix=None, over="0.3s", arrivals="constant", first_rate=70.0)
    assert "a backlog can't be seen within 0.3 s at an overload of less than " in found.notes[0]


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_a_long_enough_load_has_nothing_noted(arrivals: Literal["constant", "poisson"]) -> None:
    assert simulated(4, arrivals=arrivals, over="4s").notes == ()


def test_the_pool_that_is_named_is_the_one_that_is_searched() -> None:
    with pytest.raises(UsageError, match="thread-pool-executor"):  # which can't be simulated
        simulated(target="thread-pool-executor")


def test_the_runs_of_a_search_are_kept_where_reports_are(tmp_path: Any) -> None:
    experiment = Experiment(effective=load_config(1), layer=1, seed=1, report=tmp_path)
    find_capacity(experiment, objectives=[], workers=1, first_rate=20, max_rate=20, repeats=1)
    assert [folder.name for folder in tmp_path.iterdir()] == ["capacity-20-1"]
