"""The rule on synthetic jobs: how often it errs, how often it finds, and what each of its parts is there for."""

from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
import pytest
from scipy.stats import wilcoxon

from poolproof.performance.regression.rule import (
    CONTROL_RATE,
    ERROR_RATE,
    LOOKS,
    MARGINS,
    PASS,
    REGRESSED,
    UNDECIDED,
    Floats,
    Margin,
    Standing,
    controls,
    estimate,
    holm,
    interval,
    log_ratios,
    take_look,
    thresholds,
    undecided,
)

METRICS: Final = [margin.metric for margin in MARGINS]
USUAL: Final = np.array([35.0, 95.0, 80_000.0, 8.0, 31.0])
"""What the default target shows on the machine where the noise below was seen, in the units of the margins."""
PAIRS: Final = LOOKS[-1].pairs


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How a machine disturbs rounds; the defaults are a little worse than 120 rounds on two shared cores showed.

    Attributes:
        own: of each metric, the standard deviation of a round's logarithm by itself.
        outliers: the share of rounds that meet something, and by what factor they then take longer at most.
        regime: by how much the logarithm rises while the machine is in its slow state, which it enters and leaves.
        wander: of the step from round to round, which all metrics share.
        drift: by how much the machine slows down, from the first round to the last.
    """

    own: tuple[float, ...] = (0.08, 0.25, 0.12, 0.20, 0.003)
    outliers: tuple[float, float] = (0.05, 3.0)
    regime: float = 0.35
    wander: float = 0.02
    drift: float = 0.2

    def rounds(self, jobs: int, chance: np.random.Generator) -> Floats:
        """The logarithm by which each round costs more than it would, of shape (jobs, metrics, 2 × PAIRS)."""
        count = 2 * PAIRS
        share, factor = self.outliers
        shape = (jobs, len(METRICS), count)
        met = chance.random((jobs, 1, count)) < share
        switches = np.cumsum(chance.random((jobs, 1, count)) < 0.15, axis=-1)
        common = (
            self.regime * ((switches + chance.integers(2, size=(jobs, 1, 1))) % 2)
            + np.cumsum(chance.normal(0, self.wander, (jobs, 1, count)), axis=-1)
            + np.linspace(0, self.drift, count)
        )
        own = chance.normal(0, 1, shape) * np.array(self.own)[:, None]
        shared = (common + met * chance.random((jobs, 1, count)) * np.log(factor)) * np.where(
            np.array(self.own) < 0.05, 0, 1
        )[:, None]
        made: Floats = own + shared
        return made


def jobs(count: int, worse: dict[str, float], noise: Noise = Noise(), seed: int = 1) -> tuple[Floats, Floats]:
    """Base's and head's figures of so many jobs, (jobs, metrics, PAIRS); `worse` is by how many times head is worse."""
    logs = noise.rounds(count, np.random.default_rng(seed))
    signs = np.array([margin.sign for margin in MARGINS])[:, None]
    harm = np.log([worse.get(name, 1.0) for name in METRICS])[:, None]
    first, second = logs[..., ::2], logs[..., 1::2]
    base_first = np.arange(PAIRS) % 2 == 0
    base = np.where(base_first, first, second)
    head = np.where(base_first, second, first) + harm
    scale = USUAL[:, None]
    return scale * np.exp(signs * base), scale * np.exp(signs * head)


def judged(base: Floats, head: Floats, margins: tuple[Margin, ...] = MARGINS) -> Standing:
    """All planned looks, one after the other."""
    standing = undecided(*base.shape[:-1])
    for look in LOOKS:
        standing = take_look(standing, margins, base[..., : look.pairs], head[..., : look.pairs], share=look.share)
    return standing


def any_of(standing: Standing, verdict: int) -> float:
    """The share of jobs in which any metric has this verdict."""
    return float((standing.verdicts == verdict).any(axis=-1).mean())


def of(standing: Standing, metric: str, verdict: int) -> float:
    """The share of jobs in which this metric has this verdict."""
    return float((standing.verdicts[:, METRICS.index(metric)] == verdict).mean())


AT_THE_MARGIN: Final = {
    margin.metric: 1 + margin.relative if margin.better == "lower" else 1 / (1 - margin.relative) for margin in MARGINS
}
QUIET: Final = Noise(own=(0.05, 0.15, 0.08, 0.15, 0.003), outliers=(0.02, 3.0), regime=0.05)


# --- how often it errs ------------------------------------------------------------------------------------------


def test_of_ten_thousand_jobs_with_the_same_code_hardly_any_calls_it_regressed() -> None:
    standing = judged(*jobs(10_000, {}))

    assert any_of(standing, REGRESSED) <= 0.001
    assert (standing.verdicts == PASS).mean() >= 0.85  # and most of it is passed, however noisy the machine


@cache
def at_the_very_margin() -> Standing:
    return judged(*jobs(3_000, AT_THE_MARGIN, seed=2))


def test_what_is_worse_by_just_its_margin_is_called_regressed_in_no_more_than_the_error_rate() -> None:
    assert 0.002 < any_of(at_the_very_margin(), REGRESSED) <= ERROR_RATE


def test_what_is_worse_by_just_its_margin_is_passed_in_no_more_than_the_error_rate() -> None:
    assert 0.002 < any_of(at_the_very_margin(), PASS) <= ERROR_RATE


def test_the_error_rates_hold_without_any_noise_that_both_sides_share() -> None:
    noise = Noise(regime=0.0, wander=0.0, drift=0.0, outliers=(0.0, 1.0))

    standing = judged(*jobs(3_000, AT_THE_MARGIN, noise, seed=3))

    assert any_of(standing, REGRESSED) <= ERROR_RATE
    assert any_of(standing, PASS) <= ERROR_RATE


def test_a_machine_that_slows_down_during_the_job_counts_against_nobody() -> None:
    standing = judged(*jobs(1_000, {}, Noise(drift=3.0), seed=4))

    assert any_of(standing, REGRESSED) <= 0.002
    assert of(standing, "memory", PASS) == 1.0
    assert of(standing, "p50", PASS) >= 0.75


# --- what it finds ----------------------------------------------------------------------------------------------


def test_a_p50_that_is_twenty_percent_slower_is_found_on_a_quiet_machine() -> None:
    standing = judged(*jobs(1_000, {"p50": 1.2}, QUIET, seed=5))

    assert of(standing, "p50", REGRESSED) >= 0.95


def test_a_p99_that_is_half_as_slow_again_is_found_on_a_quiet_machine() -> None:
    standing = judged(*jobs(1_000, {"p99": 1.5}, QUIET, seed=6))

    assert of(standing, "p99", REGRESSED) >= 0.9


def test_a_throughput_that_fell_by_a_quarter_is_found_and_one_that_rose_by_it_passes() -> None:
    assert of(judged(*jobs(500, {"throughput": 1 / 0.75}, QUIET, seed=7)), "throughput", REGRESSED) >= 0.95
    assert of(judged(*jobs(500, {"throughput": 0.75}, QUIET, seed=8)), "throughput", PASS) >= 0.95


# --- what each part is for --------------------------------------------------------------------------------------


def one_job(ratios: Floats, *, base: float = 1_000.0, control: Floats | None = None) -> tuple[Floats, Floats]:
    """One job of one metric, in which each pair has this ratio, and the base wanders by `control` from pair to pair."""
    figures = base * (np.ones_like(ratios) if control is None else control)
    return figures[None, :], (figures * ratios)[None, :]


def spread(centre: float, pairs: int = 20, width: float = 0.02) -> Floats:
    """Ratios about a centre, none like another, without any trend."""
    made: Floats = centre * np.exp(width * np.linspace(-1, 1, pairs)[np.random.default_rng(9).permutation(pairs)])
    return made


PLAIN: Final = Margin(metric="plain", what="plain", unit="us", relative=0.10, floor=2.0)


def look_once(base: Floats, head: Floats, margins: tuple[Margin, ...] = (PLAIN,), share: float = 1.0) -> list[int]:
    found: list[int] = take_look(undecided(len(margins)), margins, base, head, share=share).verdicts.tolist()
    return found


def test_a_clear_job_is_told_either_way() -> None:
    assert look_once(*one_job(spread(1.3))) == [REGRESSED]
    assert look_once(*one_job(spread(1.0))) == [PASS]
    assert look_once(*one_job(spread(0.5))) == [PASS]
    assert look_once(*one_job(spread(1.1))) == [UNDECIDED]


def test_a_change_below_the_floor_is_none_however_large_a_share_it_is() -> None:
    assert look_once(*one_job(spread(1.5), base=2.0)) == [PASS]
    assert look_once(*one_job(spread(1.5), base=200.0)) == [REGRESSED]


def test_where_more_is_better_less_is_worse() -> None:
    speed = Margin(metric="speed", what="speed", unit="op/s", better="higher", relative=0.10, floor=2.0)

    assert look_once(*one_job(spread(0.7)), (speed,)) == [REGRESSED]
    assert look_once(*one_job(spread(1.3)), (speed,)) == [PASS]
    assert thresholds((speed,), np.full((1, 3), 100.0))[0] == pytest.approx(-np.log(0.9))


def test_nothing_is_told_where_the_same_code_differs_from_itself_by_more_than_the_margin() -> None:
    wild = np.exp(np.random.default_rng(10).normal(0, 0.6, 20))

    for centre in (1.0, 1.5):
        base, head = one_job(spread(centre), control=wild)
        standing = take_look(undecided(1), (PLAIN,), base, head, share=1.0)
        assert standing.verdicts.tolist() == [UNDECIDED]
        assert standing.p_control[0] > CONTROL_RATE
        assert min(standing.p_worse[0], standing.p_within[0]) < 1e-4  # all that stands in the way is the control


@pytest.mark.parametrize("sign", [1, -1])
def test_a_side_that_seems_to_differ_from_itself_is_not_believed_whichever_way_it_differs(sign: int) -> None:
    steps = sign * 0.5 * np.where(np.arange(19) // 2 % 2, -1, 1)
    sways = np.exp(np.concatenate([[0.0], np.cumsum(steps)]))  # so that each control says the same

    base, head = one_job(spread(1.3), control=sways)

    assert np.median(controls(base, head)) == pytest.approx(sign * 0.5, abs=0.05)
    assert look_once(base, head) == [UNDECIDED]


def test_the_control_arm_is_where_a_side_meets_itself() -> None:
    base = np.array([[1.0, 2.0, 4.0, 8.0, 16.0]])
    head = np.array([[1.0, 3.0, 9.0, 27.0, 81.0]])

    # A B, B A, A B, B A, A B: head, base, head, base; the sign turns after two.
    assert controls(base, head)[0] == pytest.approx([np.log(3), np.log(2), -np.log(3), -np.log(2)])


def test_more_metrics_ask_for_more_evidence_of_each() -> None:
    pairs = 10
    base, head = one_job(spread(1.3, pairs))  # the p value is 2^-10, the least that ten pairs can have

    assert look_once(base, head, share=0.02) == [REGRESSED]
    six = (np.repeat(base, 6, axis=0), np.concatenate([head, *[base * spread(1.1, pairs)] * 5]))
    assert look_once(*six, (PLAIN,) * 6, share=0.02)[0] == UNDECIDED
    assert look_once(*six, (PLAIN,) * 6, share=0.2)[0] == REGRESSED


def test_holm_steps_down_and_counts_only_what_was_tested() -> None:
    assert holm(np.array([0.01, 0.02, 0.04]), 0.05).tolist() == [True, True, True]
    assert holm(np.array([0.04, 0.02, 0.01]), 0.03).tolist() == [False, False, True]
    assert holm(np.array([0.04, 0.02, 0.02]), 0.05).tolist() == [False, False, False]
    assert holm(np.array([np.nan, 0.024, np.nan, 0.04]), 0.05).tolist() == [False, True, False, True]


def test_the_looks_share_one_error_rate() -> None:
    assert sum(look.share for look in LOOKS) == pytest.approx(1.0)
    assert [look.pairs for look in LOOKS] == sorted({look.pairs for look in LOOKS})
    # At the first look the best that can be seen suffices even where all metrics are tested.
    assert 2.0 ** -LOOKS[0].pairs <= LOOKS[0].share * ERROR_RATE / len(MARGINS)


def test_a_share_of_the_error_rate_is_all_that_a_look_may_use() -> None:
    base, head = one_job(spread(1.3, 10))

    assert look_once(base, head, share=0.021) == [REGRESSED]
    assert look_once(base, head, share=0.019) == [UNDECIDED]


def test_what_is_decided_stays_so_and_is_not_looked_at_again() -> None:
    base, head = one_job(spread(1.3))
    first = take_look(undecided(1), (PLAIN,), base, head, share=1.0)

    gap = np.full((1, 5), np.nan)
    later = take_look(first, (PLAIN,), np.hstack([base, gap]), np.hstack([head, gap]), share=1.0)

    assert later.verdicts.tolist() == [REGRESSED]
    assert later.p_worse == first.p_worse


def test_a_metric_with_a_gap_is_undecided_and_costs_the_others_nothing() -> None:
    base, head = one_job(spread(1.3))
    gappy = base.copy()
    gappy[0, 3] = np.nan

    assert look_once(np.vstack([base, gappy]), np.vstack([head, head]), (PLAIN, PLAIN)) == [REGRESSED, UNDECIDED]


def test_the_interval_ends_where_the_test_of_its_level_begins_to_reject() -> None:
    logs = np.random.default_rng(11).standard_t(3, size=20) * 0.1 + 0.25
    low, high = interval(logs)

    def rejects(centre: float, side: Literal["greater", "less"]) -> bool:
        return bool(wilcoxon(logs - centre, alternative=side, method="exact").pvalue <= 0.025)

    assert [rejects(low + off, "greater") for off in (-1e-6, 1e-6)] == [True, False]
    assert [rejects(high + off, "less") for off in (-1e-6, 1e-6)] == [False, True]
    assert low < estimate(logs) < high


def test_the_estimate_is_moved_by_outliers_as_little_as_a_median() -> None:
    logs = np.array([0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 5.0])

    assert estimate(logs) == pytest.approx(0.13, abs=0.011)


def test_an_interval_from_too_few_pairs_is_all_that_was_seen() -> None:
    assert interval(np.array([0.1, 0.2, 0.4])) == pytest.approx((0.1, 0.4))


def test_the_log_of_a_ratio_rises_as_a_metric_gets_worse() -> None:
    base, head = np.full((len(MARGINS), 2), 100.0), np.full((len(MARGINS), 2), 50.0)

    signs = np.sign(log_ratios(MARGINS, base, head)[:, 0])

    assert dict(zip(METRICS, signs, strict=True)) == dict.fromkeys(METRICS, -1.0) | {"throughput": 1.0}
