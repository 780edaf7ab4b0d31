"""The promise `sheds-overload`: what is more than the pool can take is refused at once, and does not pile up."""

import numpy as np

from poolproof.checks.record import describe_some, last_execution, observed_until
from poolproof.checks.verdict import Answer, Evidence, unknown
from poolproof.history import History, Outcome, Phase

EXCESS = 1.5
"""How many times as much as it completed must have been offered, for it to have been an overload."""

BLOCKED = 0.5
"""The share of the overload that may be spent in `submit`: beyond it the client is held up, a little at each call."""

AT_ONCE_NS = 500_000_000
GROWTH = 1.25
"""A backlog that is this much larger at the end of the overload than when refusals began is still growing."""

ENOUGH = 10
"""How many operations must have been completed after refusals began: a pool that died refuses all and sheds nothing."""


def sheds_overload(history: History) -> Answer:
    """Broken where the backlog grew to the end of the overload, `submit` blocked, or refused work was late or ran."""
    operations = history.operations
    begin, end = _overload(history)
    measured = operations.phase == Phase.MEASURED
    offered = measured & (operations.due >= begin) & (operations.due < end)
    completed = history.ended(Outcome.OK, Outcome.USER_ERROR)
    count = int(np.count_nonzero(offered))
    done = int(np.count_nonzero(completed & (operations.done >= begin) & (operations.done < end)))
    if not done:
        return unknown(f"none of {count} operations was completed while the overload lasted")
    if count < EXCESS * done:
        return unknown(f"{count} operations were offered at the height of the load and {done} completed: no overload")
    held_up = _held_up(history, measured, offered)
    if held_up.sum() > BLOCKED * (end - begin):
        longest = int(held_up.argmax())
        return "broken", [
            Evidence(
                text=f"submit blocked instead of refusing: it took {held_up.sum() / 1e9:.2f} s for {count} calls that "
                f"were due within {(end - begin) / 1e9:.2f} s, {held_up[longest] / 1e9:.3f} s for a single one"
                + ("" if operations.accepted[longest] else ", which never returned"),
                op=longest,
                at_s=round(history.seconds(int(operations.sent[longest])), 6),
            )
        ]
    refused = offered & history.ended_with(history.claims.overload)
    begun = last_execution(history) >= 0
    evidence = describe_some(history, refused & begun, "was refused ({error}) although a worker ran it")
    late = refused & (operations.done - operations.sent > AT_ONCE_NS)
    evidence += describe_some(
        history, late, f"was refused ({{error}}) later than {AT_ONCE_NS / 1e9:g} s after it was sent"
    )
    accepted = measured & (operations.accepted > 0) & ~history.ended(Outcome.REJECTED)  # what came before waits too
    last = _waiting(history, accepted, end)
    told = f"of {count} operations offered within {(end - begin) / 1e9:.2f} s it completed {done}"
    otherwise = int(np.count_nonzero(offered & history.ended(Outcome.REJECTED, Outcome.POOL_ERROR) & ~refused))
    if refused.any():
        since = int(operations.sent[refused].min())
        then = _waiting(history, accepted, since)
        if last > GROWTH * then + 2 * history.plan.workers:
            text = f"{told} and refused {np.count_nonzero(refused)}, yet {then} were waiting when it began to"
            evidence.append(Evidence(text=f"{text} and {last} at the end", at_s=round(history.seconds(end), 6)))
        after = int(np.count_nonzero(completed & (operations.done > since)))
        if not evidence and after < ENOUGH:
            return unknown(f"{after} operations were completed after the first refusal, {ENOUGH} are needed")
    elif otherwise:
        return unknown(f"{told} and refused {otherwise} with errors that its claims do not name: Claims(overload=…)")
    else:
        worth_s = last / done * (end - begin) / 1e9
        text = f"{told} and refused none: {last} were waiting at the end, as much as it does in {worth_s:.1f} s"
        evidence.append(Evidence(text=text, at_s=round(history.seconds(end), 6)))
    return ("broken", evidence) if evidence else ("kept", [])


def _overload(history: History) -> tuple[int, int]:
    """Begin and end of the step with the highest rate, ns of CLOCK_MONOTONIC."""
    load = history.plan.scenario.load
    highest = max(range(len(load.steps)), key=lambda number: load.steps[number].rate)
    begin_s = sum(step.seconds for step in load.steps[:highest])
    begin = history.origin + round(begin_s * 1e9)
    return begin, begin + round(load.steps[highest].seconds * 1e9)


def _held_up(history: History, measured: np.ndarray, offered: np.ndarray) -> np.ndarray:
    """How much longer than usual `submit` took for each operation of the overload, ns; shape (operations,).

    One that never returned took until the end of the watch.
    """
    operations = history.operations
    returned = measured & (operations.accepted > 0)
    still_in = np.maximum(observed_until(history) - operations.sent, 0)
    took = np.where(operations.accepted > 0, operations.accepted - operations.sent, still_in)
    took[operations.sent == 0] = 0
    usual = np.median(took[returned & ~offered]) if (returned & ~offered).any() else 0
    return np.where(offered, np.maximum(took - usual, 0), 0)


def _waiting(history: History, accepted: np.ndarray, moment: int) -> int:
    operations = history.operations
    return int(
        np.count_nonzero(
            accepted & (operations.accepted <= moment) & ((operations.done == 0) | (operations.done > moment))
        )
    )
