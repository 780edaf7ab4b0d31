"""The promise `keeps-session-order`: a session's operations run in the order in which they were sent, one by one."""

import numpy as np

from poolproof.checks.record import last_execution, ran_until
from poolproof.checks.verdict import SHOWN, Answer, Evidence, unknown
from poolproof.history import History, Phase

ENOUGH = 5


def keeps_session_order(history: History) -> Answer:
    """Broken by an operation that began before an earlier one of its session had ended, or had even begun.

    What is run again, since its worker was lost, comes by right after what had followed it in the epoch that was lost.
    """
    operations, executions = history.operations, history.executions
    last = last_execution(history)
    ops = np.flatnonzero((operations.session >= 0) & (operations.phase == Phase.MEASURED) & (last >= 0))
    ops = ops[np.lexsort((operations.sent[ops], operations.session[ops]))]
    rows = last[ops]
    same = operations.session[ops][1:] == operations.session[ops][:-1]
    started = executions.started[rows]
    # What died with its worker is over, and there is nothing to wait for; what hangs in a living one is not.
    over = ran_until(history, rows)
    found = np.flatnonzero(same & (started[1:] < over[:-1]))
    early = [at for at in found.tolist() if not _had_its_turn(history, int(ops[at]), int(rows[at + 1]))]
    if early:
        evidence = [
            _tell(history, int(ops[at]), int(ops[at + 1]), int(rows[at]), int(rows[at + 1])) for at in early[:SHOWN]
        ]
        return "broken", [*evidence, Evidence(text=f"{len(early)} operations began too early in all")]
    together = int(np.count_nonzero(same & (operations.sent[ops][1:] < over[:-1])))
    if together < ENOUGH:
        return unknown(
            f"{together} times operations of one session were under way at once, {ENOUGH} are needed; take longer ones"
        )
    return "kept", []


def _had_its_turn(history: History, op: int, row: int) -> bool:
    """Whether an operation had run, in the epoch of this execution, when that began: it was run again, later."""
    executions = history.executions
    before = np.flatnonzero((executions.op == op) & (executions.epoch == executions.epoch[row]))
    return bool((ran_until(history, before) <= executions.started[row]).any())


def _tell(history: History, earlier: int, later: int, row: int, later_row: int) -> Evidence:
    operations, executions = history.operations, history.executions
    began, over = int(executions.started[later_row]), int(executions.ended[row])
    first = int(executions.started[row])
    how = (
        f"before operation {earlier}, which began at {history.seconds(first):.3f} s"
        if began < first
        else f"while operation {earlier} was running, "
        + (f"until {history.seconds(over):.3f} s" if over else "which never ended, though its worker lived on")
    )
    return Evidence(
        text=f"operation {later} of session {operations.session[later]} began at {history.seconds(began):.3f} s, "
        f"{how}; that one had been sent before it",
        op=later,
        pid=int(executions.pid[later_row]),
        start_time=int(executions.start_time[later_row]),
        at_s=round(history.seconds(began), 6),
    )
