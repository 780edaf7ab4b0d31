"""A job over scripted rounds: whose turn it is, when it ends, and what is said of what could not be judged."""

from collections.abc import Callable
from typing import Final

import pytest

from poolproof.performance.regression.comparison import Judgement, Verdict, overall
from poolproof.performance.regression.job import BASE, HEAD, Verdicts, take_turns
from poolproof.performance.regression.rounds import Round
from poolproof.performance.regression.rule import LOOKS, MARGINS, Margin

FAST: Final = Margin(metric="fast", what="what is fast", unit="us", relative=0.1, floor=1.0)
SLOW: Final = Margin(metric="slow", what="what is slow", unit="ms", relative=0.1, floor=1.0)
MOST: Final = LOOKS[-1].pairs
FIRST: Final = LOOKS[0].pairs
AT_THE_MARGIN: Final = (1.06, 1.13, 1.08, 1.11, 1.14, 1.07, 1.12, 1.09)
"""Ratios of which nobody can tell on which side of 1.10 they are."""


class Script:
    """Rounds as a function of metric, side and number say, in virtual time; None for a figure that is not there."""

    def __init__(self, figure: Callable[[str, int, int], float | None], round_s: float = 0.0) -> None:
        self._figure, self._round_s = figure, round_s
        self.now = 100.0
        self.taken: list[tuple[int, tuple[str, ...]]] = []

    def measure(self, side: int, metrics: tuple[str, ...]) -> Round:
        number = len(self.taken) // 2
        self.taken.append((side, metrics))
        self.now += self._round_s
        found = {metric: self._figure(metric, side, number) for metric in metrics}
        return Round(
            figures={metric: figure for metric, figure in found.items() if figure is not None},
            absent={metric: f"side {side} has none" for metric, figure in found.items() if figure is None},
            file="",
            packages={},
        )

    def run(self, *margins: Margin, seconds: float = 1e6, until_first: bool = False) -> Verdicts:
        return take_turns(
            self.measure, seconds=seconds, margins=margins, until_first=until_first, clock=lambda: self.now
        )


def steady(ratio: float) -> Callable[[str, int, int], float]:
    """Figures with a little of their own, head's so many times the base's."""
    return lambda metric, side, number: (100.0 + number % 7 / 10) * (ratio if side == HEAD else 1.0)


def verdicts(found: Verdicts) -> list[Verdict | None]:
    return [it.verdict for it in found.metrics]


def test_the_sides_take_turns_a_b_b_a() -> None:
    script = Script(steady(1.0))

    script.run(FAST)

    assert [side for side, _ in script.taken[:8]] == [BASE, HEAD, HEAD, BASE] * 2


def test_a_clear_job_ends_at_the_first_look() -> None:
    found = Script(steady(1.5)).run(FAST)

    assert found.pairs == FIRST
    (it,) = found.metrics
    assert it.verdict == "regressed"
    assert it.ratio == pytest.approx(1.5)
    assert it.low == pytest.approx(1.5)
    assert it.why == ""
    assert it.pairs == FIRST


def test_what_is_decided_is_measured_no_longer() -> None:
    def figure(metric: str, side: int, number: int) -> float:
        return steady(1.0 if metric == "fast" else AT_THE_MARGIN[number % 8])(metric, side, number)

    script = Script(figure)
    found = script.run(FAST, SLOW)

    assert {metrics for _, metrics in script.taken[: 2 * FIRST]} == {("fast", "slow")}
    assert {metrics for _, metrics in script.taken[2 * FIRST :]} == {("slow",)}
    assert [it.pairs for it in found.metrics] == [FIRST, MOST]
    assert verdicts(found) == ["pass", "inconclusive"]
    assert "either side of the margin" in found.metrics[1].why


def test_a_job_ends_in_time_and_says_what_that_cost() -> None:
    script = Script(steady(1.0), round_s=1.0)

    found = script.run(FAST, seconds=9.0)

    assert found.pairs == 4
    assert found.seconds == 8.0
    assert verdicts(found) == ["inconclusive"]
    assert found.metrics[0].why == "4 pairs are too few; give it more --seconds"


def test_when_the_time_is_over_what_there_is_is_looked_at() -> None:
    def figure(metric: str, side: int, number: int) -> float:
        # Undecided at the first look, and clear after three more pairs, which is before the second.
        return steady(1.0 if number < 3 else 1.5)(metric, side, number)

    found = Script(figure, round_s=1.0).run(FAST, seconds=2.0 * 13)

    assert found.pairs == 13
    assert verdicts(found) == ["regressed"]


def test_the_first_that_regressed_ends_it_where_that_is_asked_for() -> None:
    def figure(metric: str, side: int, number: int) -> float:
        return steady(1.5 if metric == "fast" else AT_THE_MARGIN[number % 8])(metric, side, number)

    found = Script(figure).run(FAST, SLOW, until_first=True)

    assert found.pairs == FIRST
    assert verdicts(found) == ["regressed", "inconclusive"]


def test_a_machine_on_which_the_same_code_differs_is_told_to_be_too_noisy() -> None:
    wild = (1.0, 3.0, 0.4, 5.0, 1.5, 0.2, 2.0)

    found = Script(lambda metric, side, number: 100.0 * wild[number % 7]).run(FAST)

    assert verdicts(found) == ["inconclusive"]
    assert found.metrics[0].why.startswith("too noisy to judge: the same code differs from itself by up to")


def test_what_neither_side_has_is_not_judged_and_told() -> None:
    script = Script(lambda metric, side, number: None if metric == "slow" else 100.0 + number % 7 / 10)

    found = script.run(FAST, SLOW)

    assert verdicts(found) == ["pass", None]
    assert found.metrics[1].why == "not there on either side: side 0 has none"
    assert overall(found.metrics) == "pass"


def test_what_the_head_has_lost_has_regressed() -> None:
    found = Script(lambda metric, side, number: None if side == HEAD else 100.0).run(FAST)

    assert verdicts(found) == ["regressed"]
    assert found.metrics[0].why == "base has it and head does not: side 1 has none"


def test_what_only_the_head_has_is_not_judged() -> None:
    found = Script(lambda metric, side, number: None if side == BASE else 100.0).run(FAST)

    assert verdicts(found) == [None]
    assert found.metrics[0].why == "only head has it; base: side 0 has none"


def test_what_is_there_in_some_rounds_only_is_inconclusive() -> None:
    found = Script(lambda metric, side, number: None if side == HEAD and number == 3 else 100.0 + number % 7).run(FAST)

    assert verdicts(found) == ["inconclusive"]
    assert f"of {MOST} rounds, 0 of base and 1 of head gave no figure: side 1 has none" in found.metrics[0].why


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (("pass", "pass", None), "pass"),
        (("pass", "inconclusive"), "inconclusive"),
        (("pass", "inconclusive", "regressed"), "regressed"),
        ((None, None), "inconclusive"),
        ((), "inconclusive"),
    ],
)
def test_the_worst_metric_is_the_verdict_and_nothing_is_no_pass(
    found: tuple[Verdict | None, ...], verdict: Verdict
) -> None:
    metrics = tuple(
        Judgement(metric="one", what="one", unit="us", better="lower", verdict=it, margin=0.1, floor=1.0, pairs=10)
        for it in found
    )

    assert overall(metrics) == verdict


def test_the_margins_are_those_that_were_promised() -> None:
    promised = {"p50": 0.10, "throughput": 0.10, "p99": 0.30, "recovery": 0.30, "memory": 0.10}

    assert {margin.metric: margin.relative for margin in MARGINS} == promised
