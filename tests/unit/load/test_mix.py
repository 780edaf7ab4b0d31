import math
from typing import Any

import pytest

from poolproof.errors import UsageError
from poolproof.load import Mix, expect_kinds
from poolproof.plan import Load, Step, error_rate, p99


def test_an_empty_mix_is_the_workloads_own() -> None:
    assert Mix().terms() == {
        "mix": {},
        "sessions": 0,
        "skew": 0.0,
        "burst": 1,
        "idempotent": 0.0,
        "deadline_s": 0.0,
    }


def test_every_term_of_a_mix_becomes_one_of_the_load() -> None:
    mix = Mix(weights={"predict": 3, "batch": 1}, sessions=5, skew=1.1, burst=2, idempotent=0.5, deadline="250ms")
    assert Load(steps=(Step(rate=1, seconds=1),), **mix.terms()) == Load(
        steps=(Step(rate=1, seconds=1),),
        mix={"predict": 3.0, "batch": 1.0},
        sessions=5,
        skew=1.1,
        burst=2,
        idempotent=0.5,
        deadline_s=0.25,
    )


def test_a_kind_of_weight_zero_is_left_out() -> None:
    assert Mix(weights={"predict": 1, "batch": 0}).terms()["mix"] == {"predict": 1.0}


@pytest.mark.parametrize("weight", [-1, -0.5, math.nan, math.inf, "1", None, True])
def test_a_weight_that_is_none_is_refused(weight: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Mix(weights={"predict": 1, "batch": weight})
    assert str(caught.value) == f"mix: the weight of 'batch' is {weight!r}: expected a number of 0 or more"


def test_a_mix_whose_weights_are_all_zero_is_refused() -> None:
    with pytest.raises(UsageError, match=r"mix: the weights of predict, batch are all zero: give one of them more"):
        Mix(weights={"predict": 0, "batch": 0.0})


def test_a_deadline_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match=r"mix: deadline: 'soon' is no duration"):
        Mix(deadline="soon").terms()


def test_an_objective_on_an_operation_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        expect_kinds((p99("predict") < "1s", error_rate("guess") < 0.1), ["predict", "batch"])
    assert str(caught.value) == (
        "the objective error-rate(guess) < 0.1 is about operations that the load does not have: it has predict, batch"
    )


def test_objectives_on_all_operations_and_on_those_of_the_load_are_let_through() -> None:
    expect_kinds((p99("batch") < "1s", p99("predict") < "1s", error_rate() < 0.1), iter(["predict", "batch"]))
