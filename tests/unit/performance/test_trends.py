from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from poolproof.performance.baselines import Point
from poolproof.performance.trends import LEAST_POINTS, Trend, trend


def commit(number: int) -> str:
    return f"{number:04x}{'0' * 36}"


def history(values: Sequence[float | None], **changed: Any) -> list[Point]:
    usual = {"unit": "ms", "better": "lower", "is_dirty": False}
    return [
        Point(**{**usual, "at": f"day {i}", "commit": commit(i), "value": value, **changed})
        for i, value in enumerate(values)
    ]


def noisy(seed: int, points: int, noise: float = 0.03) -> list[float]:
    return [float(value) for value in 20 * np.exp(np.random.default_rng(seed).normal(0, noise, points))]


def stepped(seed: int, points: int, at: int, by: float, noise: float = 0.03) -> list[float]:
    return [value * (by if i >= at else 1) for i, value in enumerate(noisy(seed, points, noise))]


def two_levels(seed: int, points: int) -> list[float]:
    random = np.random.default_rng(seed)
    return [float(v) for v in 20 * np.exp(random.choice([-0.05, 0.05], points) + random.normal(0, 0.01, points))]


def heavy(seed: int, points: int) -> list[float]:
    return [float(value) for value in 20 * np.exp(0.03 * np.random.default_rng(seed).standard_t(3, points))]


@pytest.mark.parametrize("points", [10, 15, 30])
@pytest.mark.parametrize("noise", [noisy, heavy])
def test_at_most_two_in_a_hundred_histories_of_pure_noise_are_called_changed(noise: Any, points: int) -> None:
    states = [trend(history(noise(seed, points))).state for seed in range(200)]
    assert states.count("changed") <= 4
    assert states.count("unknown") == 0


@pytest.mark.parametrize("points", [10, 15, 30])
def test_a_machine_that_alternates_between_two_levels_is_seldom_called_changed(points: int) -> None:
    assert sum(trend(history(two_levels(seed, points))).state == "changed" for seed in range(200)) <= 4


@pytest.mark.parametrize(("points", "at"), [(10, 5), (10, 7), (15, 3), (20, 10), (30, 27), (60, 30)])
def test_a_step_of_a_fifth_is_found_with_its_range_of_commits(points: int, at: int) -> None:
    found = [trend(history(stepped(seed, points, at, 1.2, 0.02))) for seed in range(50)]
    right = f"{commit(at - 1)[:12]}..{commit(at)[:12]}"
    assert sum([change.commits for change in one.changes] == [right] for one in found) >= 45


def only(found: Trend) -> Any:
    (change,) = found.changes
    return change


def test_a_change_tells_both_medians_their_ratio_and_since_when() -> None:
    change = only(trend(history([10.0, 10.1, 9.9, 10.0, 10.1, 9.9, 10.0, 12.0, 12.1, 11.9, 12.0, 12.1])))
    assert (change.before, change.after, change.unit, change.since) == (10.0, 12.0, "ms", "day 7")
    assert change.ratio == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("better", "by", "direction"),
    [("lower", 1.5, "worse"), ("lower", 0.7, "better"), ("higher", 1.5, "better"), ("higher", 0.7, "worse")],
)
def test_the_direction_goes_by_what_is_better(better: str, by: float, direction: str) -> None:
    assert only(trend(history(stepped(1, 20, 10, by), better=better))).direction == direction


def test_two_changes_are_two() -> None:
    values = [v * (1.5 if 10 <= i < 20 else 1) for i, v in enumerate(noisy(2, 30))]
    assert [change.direction for change in trend(history(values)).changes] == ["worse", "better"]


@pytest.mark.parametrize("at", [0, 1, 6, 12, 18, 19])
@pytest.mark.parametrize("by", [2.0, 100.0, 0.01])
def test_a_single_outlier_is_no_change(at: int, by: float) -> None:
    for seed in range(10):
        values = noisy(seed, 20)
        values[at] *= by
        assert trend(history(values)).state == "steady"


@pytest.mark.parametrize("at", [0, 9, 18])
def test_two_outliers_in_a_row_are_no_change_either(at: int) -> None:
    for seed in range(10):
        values = noisy(seed, 20)
        values[at] *= 5
        values[at + 1] *= 5
        assert trend(history(values)).state == "steady"


def test_an_outlier_does_not_hide_a_change() -> None:
    values = stepped(3, 20, 10, 1.3)
    values[4] *= 50
    assert only(trend(history(values))).since == "day 10"


def test_what_goes_first_is_the_least_clear_of_what_was_found() -> None:
    values = [10.0, 10.05] * 6 + [10.3, 10.35] * 3 + [20.0, 20.1] * 6
    assert [change.since for change in trend(history(values)).changes] == ["day 18"]


def test_a_step_below_the_margin_is_none_however_clear() -> None:
    assert trend(history([10.0] * 20 + [10.4] * 20)).state == "steady"
    assert trend(history([10.0] * 20 + [10.6] * 20)).state == "changed"


def test_a_step_that_the_noise_could_have_made_is_none() -> None:
    assert sum(trend(history(stepped(seed, 12, 6, 1.2, 0.2))).state == "changed" for seed in range(50)) <= 1


def test_figures_that_are_all_the_same_are_steady() -> None:
    assert trend(history([3.0] * 20)) == Trend(state="steady", points=20)


@pytest.mark.parametrize("points", [1, LEAST_POINTS - 1])
def test_too_few_points_tell_neither_that_it_changed_nor_that_it_did_not(points: int) -> None:
    found = trend(history([1.0, *[9.0] * (points - 1)]))
    assert (found.state, found.points, found.changes) == ("unknown", points, ())
    assert f"takes {LEAST_POINTS} measurements" in found.why


def test_an_empty_history_tells_nothing() -> None:
    assert trend([]) == Trend(state="unknown", points=0, why="nothing has been measured yet")


def test_points_that_could_not_be_told_are_left_out() -> None:
    values: list[float | None] = [*stepped(1, 20, 10, 1.5)]
    values.insert(10, None)
    found = trend(history(values))
    assert (found.points, only(found).since) == (20, "day 11")


def test_points_in_another_unit_are_left_out() -> None:
    old, new = history([20.0] * 12, unit="s"), history([20_000.0] * 12)
    assert trend([*old, *new]) == Trend(state="steady", points=12)


def test_points_of_which_the_other_direction_was_the_better_are_left_out() -> None:
    old, new = history([20.0] * 12, better="higher"), history([30.0] * 12)
    assert trend([*old, *new]) == Trend(state="steady", points=12)


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf")])
def test_what_has_no_ratio_tells_nothing(value: float) -> None:
    found = trend(history([*[5.0] * 12, value]))
    assert (found.state, found.why) == ("unknown", "there is no ratio to figures of 0 or less")


def test_what_lies_far_back_is_not_looked_at() -> None:
    assert trend(history([1.0] * 20 + [9.0] * 200)) == Trend(state="steady", points=200)


STEP = [10.0] * 10 + [20.0] * 10


def test_a_change_between_two_runs_of_one_commit_is_not_the_codes() -> None:
    change = only(trend(history(STEP, commit="c" * 40)))
    assert (change.commits, change.note) == ("", f"both sides are {'c' * 12}: it is not the code that changed")


def test_without_commits_there_is_no_range() -> None:
    change = only(trend(history(STEP, commit="")))
    assert (change.commits, change.note) == ("", "the commits were not known when it was measured")


def test_a_range_says_which_end_had_uncommitted_changes() -> None:
    points = history(STEP)
    dirty = history(STEP, is_dirty=True)
    change = only(trend([*points[:10], dirty[10], *points[11:]]))
    assert change.commits == "000900000000..000a00000000"
    assert change.note == f"measured with uncommitted changes on {dirty[10].commit[:12]}"


def test_uncommitted_changes_on_the_same_commit_may_be_what_changed() -> None:
    change = only(trend(history(STEP, commit="c" * 40, is_dirty=True)))
    assert "it is not the code" not in change.note
    assert "uncommitted changes" in change.note
