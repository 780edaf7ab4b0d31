"""The promise `serves-fairly`: who came first is not kept waiting while those who came much later are served."""

import numpy as np

from poolproof.checks.record import describe, last_execution, worker_of
from poolproof.checks.verdict import SHOWN, Answer, Evidence, unknown
from poolproof.history import History, Phase

FAIR_NS = 500_000_000
"""How much later another operation may have been sent and still be begun first."""

QUEUED_NS = 50_000_000
ENOUGH = 20


def serves_fairly(history: History) -> Answer:
    """Broken by an operation that others overtook which were sent over half a second later.

    Operations of sessions wait for one worker, so they are compared with others of the same worker only.
    """
    operations, executions = history.operations, history.executions
    last = last_execution(history)
    ops = np.flatnonzero((operations.phase == Phase.MEASURED) & (last >= 0))
    rows = last[ops]
    queued = executions.started[rows] - operations.sent[ops]
    overtaken = np.zeros(len(ops), dtype=np.int64)
    free = np.flatnonzero(operations.session[ops] < 0)
    overtaken[free] = _overtaken(executions.started[rows[free]], operations.sent[ops[free]])
    bound = np.flatnonzero(operations.session[ops] >= 0)
    if len(bound):
        worker, _ = worker_of(history, rows[bound])
        by_worker = np.argsort(worker, kind="stable")
        for group in np.split(by_worker, np.flatnonzero(np.diff(worker[by_worker])) + 1):
            mine = bound[group]
            overtaken[mine] = _overtaken(executions.started[rows[mine]], operations.sent[ops[mine]])
    passed_over = np.flatnonzero(overtaken > FAIR_NS)
    if len(passed_over):
        worst_first = passed_over[np.argsort(-overtaken[passed_over], kind="stable")]
        evidence = [
            describe(
                history,
                int(ops[at]),
                f"waited {queued[at] / 1e9:.2f} s; one sent {overtaken[at] / 1e9:.2f} s after it was begun before it",
                int(executions.started[rows[at]]),
            )
            for at in worst_first[:SHOWN]
        ]
        return "broken", [*evidence, Evidence(text=f"{len(passed_over)} of {len(ops)} operations were passed over so")]
    waited = int(np.count_nonzero(queued > QUEUED_NS))
    if waited < ENOUGH:
        return unknown(f"{waited} operations had to wait for their turn, {ENOUGH} are needed to tell who goes first")
    return "kept", []


def _overtaken(started: np.ndarray, sent: np.ndarray) -> np.ndarray:
    """How much later than each operation the latest one was sent that began before it, ns; shape as given."""
    order = np.argsort(started, kind="stable")
    latest = np.maximum.accumulate(sent[order])
    by = np.empty(len(sent), dtype=np.int64)
    by[order] = latest - sent[order]
    return by
