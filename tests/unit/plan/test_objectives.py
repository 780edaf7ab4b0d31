import math
import operator
from collections.abc import Callable
from typing import Any, get_args

import pytest

from poolproof.errors import UsageError
from poolproof.plan import (
    HIGHER_IS_BETTER,
    UNITS,
    FigureName,
    Measure,
    Objective,
    completed,
    error_rate,
    longest,
    memory,
    own_lag,
    p50,
    p90,
    p95,
    p99,
    p999,
    recovery,
    throughput,
)

Comparison = Callable[[Any, Any], Any]
OF_A_KIND = {
    "p50": p50,
    "p90": p90,
    "p95": p95,
    "p99": p99,
    "p99.9": p999,
    "max": longest,
    "error-rate": error_rate,
    "completed": completed,
    "throughput": throughput,
}
OF_THE_RUN = {
    "lag-p99": own_lag(),
    "detect": recovery("detect"),
    "capacity": recovery("capacity"),
    "steady": recovery(),
    "memory": memory(),
}


@pytest.mark.parametrize("figure", sorted(OF_A_KIND))
def test_a_figure_can_be_of_one_kind(figure: str) -> None:
    measure = OF_A_KIND[figure]("predict")
    assert (measure.figure, measure.kind) == (figure, "predict")


@pytest.mark.parametrize("figure", sorted(OF_A_KIND))
def test_a_figure_is_of_all_kinds_where_none_is_named(figure: str) -> None:
    measure = OF_A_KIND[figure]()
    assert (measure.figure, measure.kind) == (figure, "")


@pytest.mark.parametrize("figure", sorted(OF_THE_RUN))
def test_a_figure_of_the_run_has_no_kind(figure: str) -> None:
    measure = OF_THE_RUN[figure]
    assert (measure.figure, measure.kind) == (figure, "")


def test_every_figure_can_be_asked_for_and_has_a_unit() -> None:
    assert sorted({*OF_A_KIND, *OF_THE_RUN}) == sorted(get_args(FigureName)) == sorted(UNITS)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (p99("predict") < "50ms", Objective(figure="p99", kind="predict", bound=50.0)),
        (p99() <= "50ms", Objective(figure="p99", bound=50.0, is_strict=False)),
        (p50() < 0.25, Objective(figure="p50", bound=250.0)),
        (error_rate() < 0.001, Objective(figure="error-rate", bound=0.001)),
        (error_rate() <= 0, Objective(figure="error-rate", bound=0.0, is_strict=False)),
        (error_rate() <= 1, Objective(figure="error-rate", bound=1.0, is_strict=False)),
        (completed() > 0.999, Objective(figure="completed", bound=0.999)),
        (throughput("batch") >= 40, Objective(figure="throughput", kind="batch", bound=40.0, is_strict=False)),
        (own_lag() < "1ms", Objective(figure="lag-p99", bound=1.0)),
        (recovery("capacity") < "2s", Objective(figure="capacity", bound=2000.0)),
        (memory() < 512, Objective(figure="memory", bound=512.0)),
    ],
)
def test_a_comparison_is_an_objective_in_the_unit_of_its_figure(objective: Objective, expected: Objective) -> None:
    assert objective == expected


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (p99("predict") < "50ms", "p99(predict) < 50 ms"),
        (p999() <= "1.5s", "p99.9 <= 1500 ms"),
        (completed() > 0.99, "completed > 0.99"),
        (throughput() >= 100, "throughput >= 100/s"),
        (memory() < 256, "memory < 256 MB"),
    ],
)
def test_an_objective_is_described_as_it_is_written(objective: Objective, expected: str) -> None:
    assert objective.describe() == expected


@pytest.mark.parametrize(
    ("objective", "below", "at", "above"),
    [
        (p99() < "50ms", True, False, False),
        (p99() <= "50ms", True, True, False),
        (throughput() > 50, False, False, True),
        (throughput() >= 50, False, True, True),
    ],
)
def test_a_bound_is_kept_on_its_better_side_and_at_it_where_it_says_so(
    objective: Objective, below: bool, at: bool, above: bool
) -> None:
    assert [objective.is_met(value) for value in (49.9, 50.0, 50.1)] == [below, at, above]


@pytest.mark.parametrize("compare", [operator.gt, operator.ge])
@pytest.mark.parametrize("figure", sorted(set(get_args(FigureName)) - HIGHER_IS_BETTER))
def test_to_ask_for_more_of_what_should_be_little_is_refused(figure: FigureName, compare: Comparison) -> None:
    with pytest.raises(UsageError, match="less of it is better, so write <"):
        compare(Measure(figure=figure), 0.5)


@pytest.mark.parametrize("compare", [operator.lt, operator.le])
@pytest.mark.parametrize("figure", sorted(HIGHER_IS_BETTER))
def test_to_ask_for_less_of_what_should_be_much_is_refused(figure: FigureName, compare: Comparison) -> None:
    with pytest.raises(UsageError, match="more of it is better, so write >"):
        compare(Measure(figure=figure), 0.5)


def test_what_is_refused_is_named_with_its_relation_and_bound() -> None:
    with pytest.raises(UsageError, match=r"^p99\(predict\) >= '50ms': less of it"):
        p99("predict") >= "50ms"  # noqa: B015 - that it raises is the point


@pytest.mark.parametrize(
    ("measure", "bound", "why"),
    [
        (p99(), "soon", r"p99\(\) <: 'soon' is no duration"),
        (p99(), -1, r"p99\(\) <: -1 is no duration"),
        (error_rate(), "1%", r"error-rate\(\) < '1%': expected a number of 0 or more"),
        (error_rate(), -0.1, r"error-rate\(\) < -0.1: expected a number of 0 or more"),
        (error_rate(), math.nan, "expected a number of 0 or more"),
        (memory(), math.inf, "expected a number of 0 or more"),
        (error_rate(), 1.01, r"error-rate\(\) < 1.01: expected a share between 0 and 1, as 0.001"),
    ],
)
def test_a_bound_that_makes_no_sense_is_refused(measure: Measure, bound: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        measure < bound  # noqa: B015 - that it raises is the point


def test_a_share_of_more_than_all_is_refused_where_more_is_better() -> None:
    with pytest.raises(UsageError, match=r"completed\(\) > 99: expected a share between 0 and 1"):
        completed() > 99  # noqa: B015 - that it raises is the point


def test_throughput_may_be_more_than_one() -> None:
    assert (throughput() > 400).bound == 400.0


def test_a_chain_of_comparisons_is_refused_for_it_would_lose_its_first_half() -> None:
    with pytest.raises(UsageError, match=r"p99 > 1 ms|p99.* is an objective and no truth value"):
        bool(p99() < "50ms")
