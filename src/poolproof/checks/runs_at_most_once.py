"""The promise `runs-at-most-once`: no operation is begun twice, unless it was declared idempotent."""

import numpy as np

from poolproof.checks.verdict import SHOWN, Answer, Evidence, unknown
from poolproof.history import History, Outcome


def runs_at_most_once(history: History) -> Answer:
    """Broken by an operation with two start records; unknown where records are missing that must be there."""
    operations, executions = history.operations, history.executions
    if len(executions) == 0:
        return unknown("no worker left an execution record")
    begun = np.bincount(executions.op[history.known], minlength=len(operations))
    twice = np.flatnonzero((begun > 1) & (operations.idempotent == 0))
    if len(twice):
        evidence = [_tell(history, int(op)) for op in twice[:SHOWN]]
        return "broken", [*evidence, Evidence(text=f"{len(twice)} operations were begun more than once")]
    if history.damaged_bytes:
        return unknown(f"{history.damaged_bytes} bytes of the execution records are damaged")
    blind = np.flatnonzero((operations.outcome == Outcome.OK) & (begun == 0))
    if len(blind):
        return unknown(f"operation {blind[0]} and {len(blind) - 1} others were answered without an execution record")
    return "kept", []


def _tell(history: History, op: int) -> Evidence:
    executions = history.executions
    rows = history.executions_of(op)
    told = ", ".join(
        f"by worker pid {executions.pid[row]} at {history.seconds(int(executions.started[row])):.3f} s"
        for row in rows[:4]
    )
    second = int(rows[1])
    return Evidence(
        text=f"operation {op} ({history.kind_of(op)}) was begun {len(rows)} times: {told}",
        op=op,
        pid=int(executions.pid[second]),
        start_time=int(executions.start_time[second]),
        at_s=round(history.seconds(int(executions.started[second])), 6),
    )
