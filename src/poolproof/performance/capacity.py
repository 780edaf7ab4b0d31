"""Capacity: the highest rate at which a pool meets its objectives, found by a geometric rise and then bisection."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau, theilslopes

from poolproof.errors import UsageError
from poolproof.experiment.proof import COUNTED
from poolproof.experiment.run import Experiment, Run, Target
from poolproof.figures import WINDOW_S
from poolproof.figures.objectives import QUANTILES
from poolproof.load import Mix, hold
from poolproof.plan import MAX_OPERATIONS, SHARES, Objective, error_rate, seconds
from poolproof.statistics import samples_needed

Standing = Literal["met", "failed", "unknown"]
"""How a pool stands to a rate."""

LEAST_OPERATIONS: Final = 20
"""How few tell nothing, whatever the objectives."""

SIGNIFICANT: Final = 0.01
MATERIAL: Final = 0.01
FEWEST_WINDOWS: Final = 20
MOST_WINDOWS: Final = 600
"""Every window is compared with every other one."""

FINEST: Final = 0.001
"""The least precision that makes sense: rates are kept to six digits."""


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """One run at one rate.

    Attributes:
        verdict: `unknown` where the run says nothing of the pool, such as where the generator was the bottleneck.
        offered: how many operations.
        p99_ms: of the response time; None where too few completed.
        throughput: operations completed within the time of the load, a second; None where none completed.
        why: why it failed, or could not be told; empty where it was met.
        broken: the promises that count and were broken; they are shown, and do not count here.
    """

    verdict: Standing
    offered: int = 0
    p99_ms: float | None = None
    throughput: float | None = None
    why: str = ""
    broken: tuple[str, ...] = ()


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One rate and all its repeats.

    Attributes:
        rate: operations a second.
        verdict: what the majority of the repeats says; `unknown` where too many of them say nothing.
        repeats: in the order in which they were run.
    """

    rate: float
    verdict: Standing
    repeats: tuple[Repeat, ...]

    @property
    def why(self) -> str:
        """The reason of the first repeat that has the same verdict; empty where the rate was met."""
        return next((one.why for one in self.repeats if one.verdict == self.verdict), "")

    def describe(self) -> str:
        """The rate in a line: `100/s: failed (failed, met, failed): p99 < 50 ms: broken: 61 ms`."""
        each = ", ".join(one.verdict for one in self.repeats)
        return f"{self.rate:g}/s: {self.verdict} ({each}){f': {self.why}' if self.why else ''}"


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found.

    Attributes:
        verdict: `found`, within the precision; `at-least`, where the search ended before that with a rate that was met:
            at the highest one that was allowed, or where the generator was at its limits; `none`, where not even the
            lowest rate was met; `unknown`, where nothing could be told.
        rate: the highest that was met, operations a second; None where none was.
        bracket: that rate, and the lowest that failed.
        trials: every rate, in the order in which they were tried.
        why: what ended the search.
        notes: what limits how far the rate can be relied on.
    """

    verdict: Literal["found", "at-least", "none", "unknown"]
    rate: float | None
    bracket: tuple[float | None, float | None]
    trials: tuple[Trial, ...]
    why: str
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """All that a failed test should tell: the answer, the notes, and every rate that was tried."""
        rate = "" if self.rate is None else f" {self.rate:g}/s"
        notes = (f"note: {note}" for note in self.notes)
        return "\n".join([f"{self.verdict}{rate}: {self.why}", *notes, *(one.describe() for one in self.trials)])


def find_capacity(
    experiment: Experiment,
    *,
    objectives: Iterable[Objective],
    mix: Mix | Mapping[str, float] | None = None,
    target: Target | None = None,
    workload: str | None = None,
    workers: int | None = None,
    arrivals: Literal["constant", "poisson"] | None = None,
    first_rate: float,
    over: str | float = "2s",
    growth: float = 2.0,
    precision: float = 0.05,
    repeats: int = 3,
    max_rate: float | None = None,
    on_trial: Callable[[Trial], object] = lambda _: None,
) -> Capacity:
    """The highest rate that a pool meets its objectives at, without a growing backlog; each run on a fresh pool.

    The rate rises geometrically until it fails (where the first one fails already, it falls until one is met), then the
    bracket is bisected on a logarithmic scale. The n-th repeat has the same seed at every rate, so that rates differ by
    their rate and not by their luck (common random numbers; Law, Simulation Modeling and Analysis, 5th ed., 11.2).

    A rate is met, or failed, where the majority of its repeats says so, and its repeats end once that is decided. Not
    all of them have to meet it: no rate is tried again later, so a single run that the machine disturbed would end the
    search for good, and each further repeat would lower the answer; a majority is off only where two are disturbed. A
    run in which the generator was the bottleneck says nothing and is run again, until there are as many such runs as
    repeats: then the search ends, and says so.

    A backlog grows as `growing_backlog` tells; an overload shows only where it leaves more operations behind than there
    are workers, so `over` should be more than the time of one operation divided by the precision. Poisson arrivals vary
    in number by 1 / √(rate × over) from run to run, which is as uncertain as the answer then is; constant ones do not,
    but hide the queues that real arrivals make. Where either exceeds the precision, a note says so.

    Args:
        experiment: its layer, seed and configuration.
        objectives: what is to be met. Unless they bound the error rate (or what completes) themselves, no operation may
            fail: a pool that refuses what is too much has no backlog.
        mix: as for `Experiment.run`.
        target: the pool; None for the experiment's own.
        workload: None for the configured one.
        workers: None for as many as are configured.
        arrivals: None for what is configured.
        first_rate: operations a second, to begin with.
        over: how long the load of each run lasts.
        growth: by which factor the rate rises.
        precision: the rate that failed is higher than the one that was met by this share at most.
        repeats: the most runs a rate, not counting those that say nothing.
        max_rate: the highest rate that is tried; None for what the generator is good for, by the configuration.
        on_trial: told of each rate once it is decided.

    Raises:
        UsageError: an argument makes no sense, all of them told at once; or as `Experiment.run`.
    """
    config = experiment.effective.config
    wanted, size = tuple(objectives), workers or config.pool.workers
    if not any(one.figure in SHARES and not one.kind for one in wanted):
        wanted = (*wanted, error_rate() <= 0.0)
    highest = config.budgets.generator_rate_per_s if max_rate is None else max_rate
    over_s = seconds(over, "over")
    is_random = (arrivals or config.load.arrivals) == "poisson"
    needed = operations_needed(wanted, is_random=is_random)
    wrong = [
        *_senseless(first_rate, growth, precision, repeats, highest),
        *_impossible(first_rate, highest, over_s, needed),
    ]
    if wrong:
        raise UsageError(f"this search for a capacity makes no sense: {'; '.join(wrong)}")

    def attempt(rate: float, number: int) -> Repeat:
        run = experiment.run(
            hold(rate, over_s),
            mix,
            objectives=wanted,
            target=target,
            workload=workload,
            workers=workers,
            arrivals=arrivals,
            name=f"capacity-{rate:g}-{number + 1}",
            seed=experiment.seed + number,
        )
        return examine(run)

    found = search(
        attempt,
        first_rate=first_rate,
        min_rate=needed / over_s,
        max_rate=highest,
        growth=growth,
        precision=precision,
        repeats=repeats,
        on_trial=on_trial,
    )
    notes = tuple(_notes(found, over_s, size, precision, is_random=is_random))
    return msgspec.structs.replace(found, notes=notes)


# --- the search: which rate is tried next, and what all of them say -------------------------------------------------


def search(
    attempt: Callable[[float, int], Repeat],
    *,
    first_rate: float,
    min_rate: float,
    max_rate: float,
    growth: float,
    precision: float,
    repeats: int,
    on_trial: Callable[[Trial], object] = lambda _: None,
) -> Capacity:
    """The search alone, whatever is tried.

    Args:
        attempt: runs a rate for the n-th time, from 0.
        first_rate: to begin with.
        min_rate: the lowest that is tried.
        max_rate: the highest.
        growth: as for `find_capacity`.
        precision: as for `find_capacity`.
        repeats: as for `find_capacity`.
        on_trial: as for `find_capacity`.
    """
    trials: list[Trial] = []
    met: float | None = None
    failed: float | None = None
    rate: float | None = first_rate
    while rate is not None:
        trial = try_rate(attempt, rate, repeats)
        trials.append(trial)
        on_trial(trial)
        match trial.verdict:
            case "met":
                met = rate
            case "failed":
                failed = rate
            case "unknown":
                break
        rate = next_rate(met, failed, min_rate=min_rate, max_rate=max_rate, growth=growth, precision=precision)
    verdict: Literal["found", "at-least", "none", "unknown"]
    if trials[-1].verdict == "unknown":
        verdict = "unknown" if met is None else "at-least"
    elif met is None:
        verdict = "none"
    else:
        verdict = "at-least" if failed is None else "found"
    return Capacity(
        verdict=verdict, rate=met, bracket=(met, failed), trials=tuple(trials), why=_why(trials, met, failed)
    )


def next_rate(
    met: float | None, failed: float | None, *, min_rate: float, max_rate: float, growth: float, precision: float
) -> float | None:
    """The rate to try after the highest that was met and the lowest that failed; None where the search is over."""
    # 1. Nothing failed yet: higher, up to the highest. 2. Nothing was met yet: lower, down to the lowest.
    # 3. Both are known: between them, unless they are close enough. On a logarithmic scale, since precision is a ratio.
    if met is not None and failed is None:
        return None if met >= max_rate else min(_rounded(met * growth), max_rate)
    if failed is not None and met is None:
        return None if failed <= min_rate else max(_rounded(failed / growth), min_rate)
    if met is None or failed is None:
        raise ValueError("a rate has to be tried first")
    return None if failed <= met * (1 + precision) else _rounded(math.sqrt(met * failed))


def try_rate(attempt: Callable[[float, int], Repeat], rate: float, repeats: int) -> Trial:
    """Run one rate until a majority of repeats met it, or failed it, or until as many say nothing as there are repeats.

    What says nothing is run again: with three repeats, five runs are the most.
    """
    enough = {"met": repeats // 2 + 1, "failed": repeats // 2 + 1, "unknown": repeats}
    runs: list[Repeat] = []
    while True:
        runs.append(attempt(rate, len(runs)))
        verdict = runs[-1].verdict
        if sum(one.verdict == verdict for one in runs) >= enough[verdict]:
            return Trial(rate=rate, verdict=verdict, repeats=tuple(runs))


def _rounded(rate: float) -> float:
    """To six digits: what is shown is what was run."""
    return float(f"{rate:.6g}")


def _why(trials: list[Trial], met: float | None, failed: float | None) -> str:
    last = trials[-1]
    if last.verdict == "unknown":
        beyond = "" if failed is None else f"; {failed:g}/s failed"
        return f"whether {last.rate:g}/s is met could not be told: {last.why}{beyond}"
    if failed is None:
        return f"{met:g}/s, the highest rate that was allowed, was met: nothing failed"
    why = next(trial.why for trial in trials if trial.rate == failed)
    if met is None:
        return f"{failed:g}/s, the lowest rate that so short a load tells of, failed: {why}"
    return f"{met:g}/s was met, {failed:g}/s failed: {why}"


# --- one run --------------------------------------------------------------------------------------------------------


def examine(run: Run) -> Repeat:
    """Whether a run of one constant rate met it."""
    verdict, why = _standing(run)
    load = run.load
    return Repeat(
        verdict=verdict,
        offered=load.offered,
        p99_ms=load.response_ms["p99"],
        throughput=load.throughput,
        why=why,
        broken=tuple(
            name
            for name, promise in run.proof.promises.items()
            if promise.made in COUNTED and promise.verdict == "broken"
        ),
    )


def _standing(run: Run) -> tuple[Standing, str]:
    # 1. A generator that was late may itself have made the pool refuse, queue or time out: nothing counts as failed.
    # 2. Nor does what a run shows that did not go its whole way. 3. One objective that is broken is enough, whatever
    # the others say; 4. so is a backlog. 5. Only then does it matter whether all objectives could be judged.
    if bottleneck := run.outcome.generator.bottleneck:
        return "unknown", f"the generator, not the pool, was the limit: {bottleneck}"
    if (void := run.history.first("void")) is not None:
        return "unknown", f"the run did not go its whole way: {void.detail}"
    if broken := [judged.describe() for judged in run.objectives if judged.verdict == "broken"]:
        return "failed", "; ".join(broken)
    if grown := _grown(run):
        return "failed", f"the backlog grew by {grown:.0f} operations, of {run.load.offered} that were offered"
    if untold := [judged.describe() for judged in run.objectives if judged.verdict == "unknown"]:
        return "unknown", "; ".join(untold)
    return "met", ""


def _grown(run: Run) -> float:
    over_s = run.history.plan.scenario.load.seconds
    windows = min(max(round(over_s / WINDOW_S), FEWEST_WINDOWS), MOST_WINDOWS)
    # The series goes on until the last operation ended, by when every backlog has shrunk again.
    backlog = run.series(over_s / windows).backlog[:windows]
    return growing_backlog(backlog, offered=run.load.offered, workers=run.history.plan.workers)


def growing_backlog(backlog: npt.NDArray[np.int64], *, offered: int, workers: int) -> float:
    """By how many operations a backlog grew within the time of the load; 0 where it did not grow.

    The growth is the median slope over all pairs of windows, which a stall that was made up for does not bend (Theil
    and Sen: Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 63, 1968). It counts where it is
    both significant, by the one-sided test for a trend (Mann, Nonparametric tests against trend, Econometrica 13, 1945)
    at 1 %, and material: more operations than there are workers, for so many are under way in a pool that keeps up, and
    more than 1 % of what was offered. A backlog depends on the one just before, and so the test alone is too easily
    significant; what is material then decides.

    Args:
        backlog: at the end of each of the windows, which are equally long, shape (windows,).
        offered: how many operations in all of them.
        workers: of the pool.
    """
    count = len(backlog)
    if count < FEWEST_WINDOWS:
        return 0.0  # the load ended early, or there was none
    grown = float(theilslopes(backlog).slope) * count
    if grown <= max(workers, MATERIAL * offered):
        return 0.0
    trend = kendalltau(np.arange(count), backlog, alternative="greater")
    return grown if trend.pvalue < SIGNIFICANT else 0.0


# --- what makes sense, and how far it goes --------------------------------------------------------------------------


def operations_needed(objectives: Iterable[Objective], *, is_random: bool) -> int:
    """How many operations a run takes to tell of all these objectives; more where their number itself is random."""
    least = max([LEAST_OPERATIONS, *map(_samples, objectives)])
    return least + (math.ceil(4 * math.sqrt(least)) if is_random else 0)


def _samples(objective: Objective) -> int:
    if objective.figure in QUANTILES:
        return samples_needed(QUANTILES[objective.figure])
    allowed = objective.bound if objective.figure == "error-rate" else 1 - objective.bound
    return math.ceil(1 / allowed) if objective.figure in SHARES and allowed > 0 else 1


def _senseless(first_rate: float, growth: float, precision: float, repeats: int, max_rate: float) -> Iterator[str]:
    if not 0 < first_rate < math.inf:
        yield f"first_rate = {first_rate!r}: expected operations a second, above 0"
    if not 0 < max_rate < math.inf:
        yield f"max_rate = {max_rate!r}: expected operations a second, above 0"
    if not 1 < growth < math.inf:
        yield f"growth = {growth!r}: expected a factor above 1"
    if not FINEST <= precision < math.inf:
        yield f"precision = {precision!r}: expected a share of {FINEST:g} or more"
    if repeats < 1:
        yield f"repeats = {repeats!r}: expected 1 or more"


def _impossible(first_rate: float, max_rate: float, over_s: float, needed: int) -> Iterator[str]:
    if first_rate > max_rate:
        yield f"first_rate = {first_rate:g} is above max_rate = {max_rate:g}"
    if max_rate * over_s > MAX_OPERATIONS:
        yield f"max_rate = {max_rate:g} over {over_s:g} s is more than {MAX_OPERATIONS:,} operations"
    if 0 < first_rate * over_s < needed:
        told = f"first_rate = {first_rate:g} over {over_s:g} s is {first_rate * over_s:.0f} operations"
        yield f"{told}, and these objectives take {needed}: raise the rate, or let it last longer"


def _notes(found: Capacity, over_s: float, workers: int, precision: float, *, is_random: bool) -> Iterator[str]:
    if found.rate is None:
        return
    operations = found.rate * over_s
    if (hidden := workers / operations) > precision:
        longer = f"lengthen it to {workers / precision / found.rate:.2g} s"
        yield f"a backlog can't be seen within {over_s:g} s at an overload of less than {hidden:.0%}: {longer}"
    if is_random and (spread := 1 / math.sqrt(operations)) > precision:
        longer = f"lengthen it to {1 / precision**2 / found.rate:.2g} s, or let arrivals be constant"
        yield f"arrivals are random: how many come within {over_s:g} s varies by {spread:.0%}: {longer}"
    for trial in found.trials:
        if trial.verdict == "met" and (broken := sorted({name for one in trial.repeats for name in one.broken})):
            yield f"at {trial.rate:g}/s, which was met, promises were broken: {', '.join(broken)}"
