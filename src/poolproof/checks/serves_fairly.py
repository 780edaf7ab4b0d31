"""The promise `serves-fairly`: who came first is not kept waiting while those who came much later are served."""

import numpy as np

from poolproof.checks.record import describe, first_execution, observed_until
from poolproof.checks.verdict import SHOWN, Answer, Evidence, unknown
from poolproof.history import History, Outcome, Phase

FAIR_NS = 500_000_000
"""How much later another operation may have been sent and still go first, and how long one may be passed over so."""

QUEUED_NS = 50_000_000
"""What counts as waiting: longer than it takes to hand an operation to a worker that is free."""

ENOUGH = 20
_NEVER = np.iinfo(np.int64).max


def serves_fairly(history: History) -> Answer:
    """Broken by an operation that still waited half a second after one had begun that was sent half a second later.

    Operations of sessions are left out: they wait for one worker, whatever the others do.
    """
    operations, executions = history.operations, history.executions
    first = first_execution(history)  # what runs again after a death had its turn
    begun = first >= 0
    taken = (operations.phase == Phase.MEASURED) & (operations.session < 0) & (operations.sent > 0)
    starved = ~begun & (operations.accepted > 0) & (operations.outcome == Outcome.UNRESOLVED)
    ops = np.flatnonzero(taken & (begun | starved))
    started = np.where(begun[ops], executions.started[first[ops]] if len(executions) else 0, observed_until(history))
    sent = operations.sent[ops]
    overtaken_at = _overtaken_at(sent, started)
    passed_over = np.flatnonzero(overtaken_at < started - FAIR_NS)
    if len(passed_over):
        worst_first = passed_over[np.argsort(overtaken_at[passed_over] - started[passed_over], kind="stable")]
        evidence = [
            describe(
                history,
                int(ops[at]),
                f"waited {(started[at] - sent[at]) / 1e9:.2f} s, {(started[at] - overtaken_at[at]) / 1e9:.2f} s of it "
                f"after an operation had begun that was sent more than {FAIR_NS / 1e9:g} s later",
                int(started[at]),
            )
            for at in worst_first[:SHOWN]
        ]
        return "broken", [*evidence, Evidence(text=f"{len(passed_over)} of {len(ops)} operations were passed over so")]
    waited = int(np.count_nonzero(started - sent > QUEUED_NS))
    if waited < ENOUGH:
        return unknown(f"{waited} operations had to wait for their turn, {ENOUGH} are needed to tell who goes first")
    return "kept", []


def _overtaken_at(sent: np.ndarray, started: np.ndarray) -> np.ndarray:
    """When the first operation began that was sent more than FAIR_NS after each one; shape as given."""
    order = np.argsort(sent, kind="stable")
    # From the back: the earliest start among all that were sent at a moment or later.
    earliest = np.append(np.minimum.accumulate(started[order][::-1])[::-1], _NEVER)
    return np.asarray(earliest[np.searchsorted(sent[order], sent + FAIR_NS, side="right")])
