"""The promise `isolates-sessions`: an operation finds its own session's state, and never another's."""

import numpy as np

from poolproof.checks.verdict import SHOWN, Answer, Evidence, unknown
from poolproof.history import History


def isolates_sessions(history: History) -> Answer:
    """Broken by an operation that found the mark of another session in the state that it was given."""
    operations, executions = history.operations, history.executions
    known = np.flatnonzero(history.known)
    own = operations.session[executions.op[known]]
    rows, own = known[own >= 0], own[own >= 0]
    foreign = np.flatnonzero(executions.session[rows] != own)
    if len(foreign):
        evidence = [_tell(history, int(rows[at]), int(own[at])) for at in foreign[:SHOWN]]
        return "broken", [*evidence, Evidence(text=f"{len(foreign)} of {len(rows)} executions found a foreign state")]
    if not (executions.counter[rows] > 1).any():
        return unknown("no state lived from one operation of a session to the next, so nothing could get mixed up")
    return "kept", []


def _tell(history: History, row: int, own: int) -> Evidence:
    executions = history.executions
    op, at_s = int(executions.op[row]), history.seconds(int(executions.started[row]))
    return Evidence(
        text=f"operation {op} of session {own} was given the state of session {executions.session[row]} by worker pid "
        f"{executions.pid[row]} at {at_s:.3f} s",
        op=op,
        pid=int(executions.pid[row]),
        start_time=int(executions.start_time[row]),
        at_s=round(at_s, 6),
    )
