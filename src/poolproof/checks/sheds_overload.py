"""The promise `sheds-overload`: what is more than the pool can take is refused at once, and does not pile up."""

import numpy as np

from poolproof.checks.record import describe_some, last_execution
from poolproof.checks.verdict import Answer, Evidence, unknown
from poolproof.history import History, Outcome, Phase

EXCESS = 1.5
"""How many times as much as it completed must have been offered, for it to have been an overload."""

BLOCKED = 0.5
"""The share of the overload that may be spent in `submit`: beyond it the client is held up, a little at each call."""

AT_ONCE_NS = 500_000_000
GROWTH = 1.25
"""A backlog that is this much larger at the end of the overload than in its middle is still growing."""


def sheds_overload(history: History) -> Answer:
    """Broken where the backlog grew to the end of the overload, `submit` blocked, or refused work was late or ran."""
    operations = history.operations
    begin, end = _overload(history)
    offered = (operations.phase == Phase.MEASURED) & (operations.due >= begin) & (operations.due < end)
    completed = history.ended(Outcome.OK, Outcome.USER_ERROR) & (operations.done >= begin) & (operations.done < end)
    count, done = int(np.count_nonzero(offered)), int(np.count_nonzero(completed))
    if count < EXCESS * max(done, 1) or not done:
        return unknown(f"{count} operations were offered at the height of the load and {done} completed: no overload")
    accepted = offered & (operations.accepted > 0) & ~history.ended(Outcome.REJECTED)
    in_submit = np.where(offered & (operations.accepted > 0), operations.accepted - operations.sent, 0)
    if in_submit.sum() > BLOCKED * (end - begin):
        return "broken", [
            Evidence(
                text=f"submit blocked instead of refusing: it took {in_submit.sum() / 1e9:.2f} s for {count} calls "
                f"that were due within {(end - begin) / 1e9:.2f} s, {in_submit.max() / 1e9:.3f} s for a single one",
                op=int(in_submit.argmax()),
                at_s=round(history.seconds(int(operations.sent[in_submit.argmax()])), 6),
            )
        ]
    refused = offered & history.ended(Outcome.REJECTED, Outcome.POOL_ERROR)
    begun = last_execution(history) >= 0
    evidence = describe_some(history, refused & begun, "was refused ({error}) although a worker ran it")
    late = refused & (operations.done - operations.sent > AT_ONCE_NS)
    evidence += describe_some(
        history, late, f"was refused ({{error}}) later than {AT_ONCE_NS / 1e9:g} s after it was sent"
    )
    middle, last = _waiting(history, accepted, (begin + end) // 2), _waiting(history, accepted, end)
    slack = 2 * history.plan.workers
    if last > GROWTH * middle + slack:
        evidence.append(
            Evidence(
                text=f"of {count} operations offered within {(end - begin) / 1e9:.2f} s it completed {done} and "
                f"refused {np.count_nonzero(refused)}; {middle} were waiting half-way and {last} at the end: it takes "
                "whatever comes",
                at_s=round(history.seconds(end), 6),
            )
        )
    if evidence:
        return "broken", evidence
    if not refused.any():
        return unknown(f"nothing was refused, yet only {last} operations were waiting at the end of the overload")
    return "kept", []


def _overload(history: History) -> tuple[int, int]:
    """Begin and end of the step with the highest rate, ns of CLOCK_MONOTONIC."""
    load = history.plan.scenario.load
    highest = max(range(len(load.steps)), key=lambda number: load.steps[number].rate)
    begin_s = sum(step.seconds for step in load.steps[:highest])
    begin = history.origin + round(begin_s * 1e9)
    return begin, begin + round(load.steps[highest].seconds * 1e9)


def _waiting(history: History, accepted: np.ndarray, moment: int) -> int:
    operations = history.operations
    return int(
        np.count_nonzero(
            accepted & (operations.accepted <= moment) & ((operations.done == 0) | (operations.done > moment))
        )
    )
