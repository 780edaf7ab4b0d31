"""The promise `degrades-gracefully`: with some of its workers lost, the pool does as much as the others can do."""

import numpy as np

from poolproof.checks.verdict import Answer, Evidence, unknown
from poolproof.history import History, Outcome

ALPHA = 0.7
"""The share of what the surviving workers can do that is still asked for: (n - k) / n of the baseline, times this."""

SETTLED = 0.25
"""The share of the time before the loss that is left out of the baseline: the pool's queue fills up meanwhile."""

WINDOW_NS = 1_000_000_000
LEAST_NS = 500_000_000
SATURATED = 0.75
"""The share of what so many workers can do at once that the baseline must reach: else something else was the limit."""


def degrades_gracefully(history: History) -> Answer:
    """Broken where the second after the loss of k of n workers has less than ALPHA * (n - k) / n of the baseline."""
    operations, load = history.operations, history.plan.scenario.load
    deaths = history.effective("kill")
    capacity = history.first("capacity", "probe-before")
    if not deaths:
        return unknown("no worker was killed")
    if capacity is None or not capacity.value or not load.service_s:
        return unknown("the capacity before the loss was not measured")
    at_once = capacity.value
    lost_at = min(death.begin for death in deaths)
    settled_at = history.origin + round(SETTLED * (lost_at - history.origin))
    end = min(lost_at + WINDOW_NS, history.origin + round(load.seconds * 1e9))
    if min(lost_at - settled_at, end - lost_at) < LEAST_NS:
        return unknown(f"the load lasted less than {LEAST_NS / 1e9:g} s before or after the loss; take more seconds")
    done = operations.done[history.ended(Outcome.OK, Outcome.USER_ERROR)]
    baseline, left = _per_second(done, settled_at, lost_at), _per_second(done, lost_at, end)
    possible = at_once / load.service_s
    if baseline < SATURATED * possible:
        return unknown(
            f"{baseline:.0f} operations a second were completed before the loss, and {at_once:g} workers could do "
            f"{possible:.0f}: the workers were not the limit, but the machine or the way to them was"
        )
    count = sum(death.begin - lost_at < WINDOW_NS for death in deaths)
    if count >= at_once:
        return unknown(
            f"{count} workers were killed and {at_once:g} were seen at work before: it has more than asked for"
        )
    floor = ALPHA * (at_once - count) / at_once * baseline
    if left >= floor:
        return "kept", []
    return "broken", [
        Evidence(
            text=f"{left:.0f} operations a second were completed in the {(end - lost_at) / 1e9:.1f} s after "
            f"{count} of {at_once:g} workers were lost, {baseline:.0f} before; {ALPHA:g} of what the others can do is "
            f"{floor:.0f}",
            pid=deaths[0].pid,
            start_time=deaths[0].start_time,
            at_s=round(history.seconds(lost_at), 6),
        )
    ]


def _per_second(moments: np.ndarray, begin: int, end: int) -> float:
    return float(np.count_nonzero((moments >= begin) & (moments < end)) / ((end - begin) / 1e9))
