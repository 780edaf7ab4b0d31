"""Whether the figures of a run meet its objectives, each with its margin."""

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np

from poolproof.checks import Verdict
from poolproof.figures.generator import LAG_FLOOR_NS, LAG_SHARE, Generator, generator, own_lag_ns
from poolproof.figures.load import measured_s
from poolproof.figures.recovery import recovery
from poolproof.history import History, Outcome, Phase
from poolproof.plan import OF_THE_RUN, SHARES, TIMES, UNITS, Objective
from poolproof.statistics import percentile, samples_needed

QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
_TAILS: Final = ("p99.9", "max")
"""What a stall of the generator shows in that its lag at p99 does not show yet."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """How one figure stands to its objective.

    Attributes:
        objective: as it was written.
        value: the figure, in the unit of the objective; None where it could not be told.
        bound: what it was to keep.
        unit: of both; empty for a share.
        margin: how much room is left, as a share of the bound: below 0 where it is broken; None where it can't be told.
        why: why it could not be told; empty where it could.
    """

    objective: str
    value: float | None
    bound: float
    unit: str
    margin: float | None
    verdict: Verdict
    why: str = ""

    def describe(self) -> str:
        """The judgement in a line."""
        if self.value is None:
            return f"{self.objective}: {self.verdict}{f': {self.why}' if self.why else ''}"
        unit = f" {self.unit}" if self.unit.isalpha() else self.unit
        room = "" if self.margin is None else f", margin {self.margin:+.0%}"
        return f"{self.objective}: {self.verdict}: {self.value:.4g}{unit}{room}{f'; {self.why}' if self.why else ''}"


def judge_objectives(history: History, objectives: Iterable[Objective] | None = None) -> tuple[Judged, ...]:
    """Judge the objectives of a run's scenario, or others.

    What too few operations tell, what the generator may have caused itself, and what only a run that was given up
    shows, is `unknown`; what is broken all the same is `broken`.
    """
    own = generator(history)
    wanted = history.plan.scenario.objectives if objectives is None else objectives
    return tuple(_judged(history, objective, own) for objective in wanted)


def _judged(history: History, objective: Objective, own: Generator) -> Judged:
    value, why = _figure(history, objective)
    verdict: Verdict = "unknown"
    if value is not None:
        is_met = objective.is_met(value)
        doubt = _doubt(history, objective, own) or ("" if not is_met else _incomplete(history))
        verdict, why = ("unknown", doubt) if doubt else ("kept" if is_met else "broken", "")
    return Judged(
        objective=objective.describe(),
        value=None if value is None else round(value, 6),
        bound=objective.bound,
        unit=UNITS[objective.figure],
        margin=_margin(objective, value),
        verdict=verdict,
        why=why,
    )


def _margin(objective: Objective, value: float | None) -> float | None:
    if value is None or not objective.bound:
        return None
    room = (objective.bound - value) / objective.bound
    return round(-room if objective.relation.startswith(">") else room, 4)


def _figure(history: History, objective: Objective) -> tuple[float | None, str]:
    """The figure, or why there is none."""
    if objective.figure in OF_THE_RUN:
        return _of_the_run(history, objective.figure)
    operations = history.operations
    wanted = history.in_phase(Phase.MEASURED)
    if objective.kind:
        wanted &= history.of_kinds(frozenset({objective.kind}))
    completed = wanted & history.ended(Outcome.OK, Outcome.USER_ERROR)
    # An exception of the user's own is the pool's work well done, and the caller's error all the same.
    right = wanted & history.ended(Outcome.OK)
    done = int(np.count_nonzero(right if objective.figure == "error-rate" else completed))
    offered = int(np.count_nonzero(wanted))
    of = f" of the kind {objective.kind}" if objective.kind else ""
    if not offered:
        return None, f"no operation{of} was offered"
    match objective.figure:
        case "error-rate" | "completed":
            share = (offered - done) / offered if objective.figure == "error-rate" else done / offered
            allowed = objective.bound if objective.figure == "error-rate" else 1 - objective.bound
            # With so few that a single failure would be too much, none of them failing says little.
            needed = samples_needed(1 - allowed) if allowed > 0 else 0
            if offered < needed and objective.is_met(share):
                return None, f"{offered} operations{of} were offered: a rate of {allowed:g} takes {needed}"
            return share, ""
        case "throughput":
            seconds = measured_s(history)
            if not seconds:
                return None, "the load lasts no time"
            end = history.origin + round(seconds * 1e9)
            inside = completed & (operations.done >= history.origin) & (operations.done <= end)
            return int(np.count_nonzero(inside)) / seconds, ""
    response = (operations.done - operations.due)[completed & (operations.due > 0)]
    if objective.figure == "max":
        return (float(response.max()) / 1e6, "") if len(response) else (None, f"no operation{of} completed")
    quantile = QUANTILES[objective.figure]
    value = percentile(response, quantile)
    if value is None:
        needed = samples_needed(quantile)
        return None, f"{len(response)} operations{of} completed: {objective.figure} takes {needed} or more"
    return value / 1e6, ""


def _of_the_run(history: History, figure: str) -> tuple[float | None, str]:
    if figure == "lag-p99":
        lag = percentile(own_lag_ns(history), 0.99)
        return (None, "p99 takes 100 operations or more") if lag is None else (lag / 1e6, "")
    if figure == "memory":
        used = [sample.memory_bytes / 1e6 for sample in history.samples]
        return (max(used), "") if used else (None, "no sample was taken: layer 1 simulates no memory")
    found = recovery(history)
    value = None if found is None else getattr(found, f"{figure}_ms")
    if value is None:
        return None, "no fault took effect" if found is None else "that moment never came, or nothing showed it"
    return float(value), ""


def _doubt(history: History, objective: Objective, own: Generator) -> str:
    """Why a figure says nothing of the pool, whichever way it is; empty where it does."""
    if objective.figure == "throughput" and (why := _incomplete(history)):
        return why  # what was not sent any more could not complete
    is_pools_doing = any(history.first(event) is not None for event in ("hung", "hung-in", "own-doing"))
    if objective.figure in SHARES and (void := history.first("void")) is not None and not is_pools_doing:
        return f"the run was cut short: {void.detail}"  # whoever did that left operations open
    if objective.figure == "lag-p99" or objective.figure not in (*TIMES, "throughput"):
        return ""
    if own.bottleneck:
        return f"the generator was the bottleneck: {own.bottleneck}"
    if objective.figure in _TAILS and not history.claims.in_process:
        lag = own_lag_ns(history)
        found = float(lag.max(initial=0)) if objective.figure == "max" else percentile(lag, QUANTILES["p99.9"])
        if found is not None and found > max(LAG_FLOOR_NS, LAG_SHARE * objective.bound * 1e6):
            return f"the generator was the bottleneck: its own lag was {found / 1e6:.2f} ms at {objective.figure}"
    return ""


def _incomplete(history: History) -> str:
    """Why a figure that meets its objective may not have, had the run gone its whole way."""
    for event in ("void", "given-up", "exhausted"):
        if (found := history.first(event)) is not None:
            return f"the run did not go its whole way ({event}): {found.detail or 'the users had no more turns'}"
    return ""
