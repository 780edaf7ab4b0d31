import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import pytest

from poolproof.plan import Abort, Load, Placed, Plan, Step, problems
from tests.unit.histories import make_plan

STEPS = (Step(rate=10, seconds=1),)


def why(abort: Abort, **seen: float) -> str:
    given: dict[str, Any] = {"ended": 100, "failed": 0, "backlog": 0, "memory_mb": 0.0} | seen
    return abort.met(**given)


def wrong(**load: Any) -> list[str]:
    return problems(make_plan(load=Load(**({"steps": STEPS} | load))))


# --- rates --------------------------------------------------------------------------------------------------------


def test_a_step_that_changes_its_rate_has_as_many_operations_as_the_mean_of_both() -> None:
    assert Step(rate=10, to=30, seconds=2).operations == 40


def test_a_step_that_falls_to_nothing_has_half_as_many() -> None:
    assert Step(rate=10, to=0, seconds=2).operations == 10


def test_a_step_of_one_rate_has_that_many_a_second() -> None:
    assert Step(rate=10, seconds=2).operations == 20


# --- aborts -------------------------------------------------------------------------------------------------------


def test_an_error_rate_above_its_bound_is_met_with_what_it_was() -> None:
    assert why(Abort(figure="error-rate", above=0.1), ended=50, failed=10) == "error-rate over 1 s > 0.1: it was 0.2"


def test_an_error_rate_at_its_bound_is_not_met() -> None:
    assert why(Abort(figure="error-rate", above=0.1), ended=50, failed=5) == ""


@pytest.mark.parametrize(("ended", "met"), [(0, False), (19, False), (20, True)])
def test_an_error_rate_of_fewer_than_twenty_says_nothing(ended: int, met: bool) -> None:
    assert bool(why(Abort(figure="error-rate", above=0.1), ended=ended, failed=ended)) == met


def test_a_backlog_above_its_bound_is_met() -> None:
    assert why(Abort(figure="backlog", above=7), backlog=8) == "backlog > 7: it was 8"


def test_a_backlog_at_its_bound_is_not_met() -> None:
    assert why(Abort(figure="backlog", above=8), backlog=8) == ""


def test_memory_above_its_bound_is_met() -> None:
    assert why(Abort(figure="memory", above=100), memory_mb=100.5) == "memory > 100 MB: it was 100.5"


@pytest.mark.parametrize(
    ("figure", "seen"),
    [
        ("error-rate", {"backlog": 99, "memory_mb": 99}),
        ("backlog", {"failed": 99, "memory_mb": 99}),
        ("memory", {"failed": 99, "backlog": 99}),
    ],
)
def test_an_abort_is_about_its_own_figure_alone(
    figure: Literal["error-rate", "backlog", "memory"], seen: Mapping[str, float]
) -> None:
    assert why(Abort(figure=figure, above=0.5), **seen) == ""


@pytest.mark.parametrize(
    ("abort", "told"),
    [
        (Abort(figure="error-rate", above=0.05, over_s=2), "error-rate over 2 s > 0.05"),
        (Abort(figure="backlog", above=100), "backlog > 100"),
        (Abort(figure="memory", above=512), "memory > 512 MB"),
    ],
)
def test_an_abort_is_told_in_a_few_words(abort: Abort, told: str) -> None:
    assert abort.describe() == told


# --- rates in multiples of the capacity -----------------------------------------------------------------------------


def test_multiples_of_the_capacity_become_operations_a_second() -> None:
    load = Load(steps=(Step(rate=0.5, to=2, seconds=3), Step(rate=1, seconds=1)), service_s=0.02)
    assert load.at_capacity(4) == Load(steps=(Step(rate=100, to=400, seconds=3), Step(rate=200, seconds=1)))


def test_operations_a_second_stay_what_they_are() -> None:
    load = Load(steps=STEPS)
    assert load.at_capacity(4) is load


# --- what makes no sense --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_weights_that_are_none_make_no_sense(weight: float) -> None:
    assert wrong(mix={"predict": 1.0, "batch": weight}) == ["scenario.load: mix: expected weights of 0 or more"]


def test_a_mix_whose_weights_are_all_zero_makes_no_sense() -> None:
    assert wrong(mix={"predict": 0.0, "batch": 0.0}) == ["scenario.load: mix: all weights are zero"]


@pytest.mark.parametrize("mix", [{}, {"predict": 1.0}, {"predict": 0.0, "batch": 1.0}])
def test_a_mix_of_the_workloads_own_or_with_some_weight_makes_sense(mix: dict[str, float]) -> None:
    assert wrong(mix=mix) == []


@pytest.mark.parametrize(("skew", "is_wrong"), [(-0.1, True), (0, False), (5, False), (5.1, True), (math.nan, True)])
def test_a_popularity_has_bounds(skew: float, is_wrong: bool) -> None:
    assert wrong(skew=skew) == [f"scenario.load: skew = {skew:g}: expected 0 to 5"] * is_wrong


@pytest.mark.parametrize(("think_s", "is_wrong"), [(-1, True), (0, False), (10, False), (math.inf, True)])
def test_a_user_thinks_for_a_time_of_0_or_more(think_s: float, is_wrong: bool) -> None:
    assert (
        wrong(model="closed", think_s=think_s)
        == [f"scenario.load: think_s = {think_s:g}: expected a time of 0 or more"] * is_wrong
    )


@pytest.mark.parametrize(("turns", "model"), [(-1, "closed"), (-1, "open"), (1, "open")])
def test_only_users_have_turns(turns: int, model: str) -> None:
    assert wrong(model=model, turns=turns) == [
        f"scenario.load: turns = {turns}: expected 0 or more, and 0 in the open model"
    ]
    assert wrong(model="closed", turns=1) == []


@pytest.mark.parametrize("terms", [{"service_s": 0.1}, {"burst": 2}])
def test_users_know_neither_multiples_of_the_capacity_nor_bursts(terms: dict[str, Any]) -> None:
    assert wrong(model="closed", **terms) == [
        "scenario.load: the closed model has users, and neither multiples of the capacity nor bursts"
    ]
    assert wrong(**terms) == []


def test_nothing_is_placed_beside_users() -> None:
    placed = (Placed(at_s=0.5, kind="predict"),)
    assert wrong(model="closed", placed=placed) == [
        "scenario.load: the closed model has users, and places no operations beside theirs"
    ]
    assert wrong(placed=placed) == []


@pytest.mark.parametrize(("above", "over_s"), [(-1, 1), (math.inf, 1), (0.1, 0), (0.1, math.inf), (math.nan, 1)])
def test_an_abort_needs_a_bound_and_a_time(above: float, over_s: float) -> None:
    fine = Abort(figure="backlog", above=0.0)
    assert wrong(aborts=(fine, Abort(figure="error-rate", above=above, over_s=over_s))) == [
        f"scenario.load.aborts[1]: above = {above:g}, over_s = {over_s:g}: expected a bound of 0 or more, and a time "
        "above 0"
    ]


def test_everything_that_makes_no_sense_is_told_at_once() -> None:
    assert len(wrong(mix={"predict": -1.0}, skew=9, think_s=-1, burst=0)) == 4


def test_many_users_are_no_count_of_operations() -> None:
    many = (Step(rate=1000, seconds=86_400),)
    assert wrong(model="closed", steps=many) == []
    assert len(wrong(steps=many)) == 1


def test_a_plan_with_all_of_it_is_read_back_as_it_was_written() -> None:
    load = Load(steps=STEPS, mix={"predict": 2.0}, skew=1.1, aborts=(Abort(figure="memory", above=5),))
    plan = make_plan(load=load)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
