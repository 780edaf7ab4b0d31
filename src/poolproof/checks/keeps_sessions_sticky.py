"""The promise `keeps-sessions-sticky`: while its worker lives, a session stays with it and keeps its state."""

import numpy as np

from poolproof.checks.record import NOTICE_NS, lived_until, worker_of
from poolproof.checks.verdict import SHOWN, Answer, Evidence, unknown
from poolproof.history import History

ENOUGH = 20
_FEW = f"{{}} times an operation of a session followed another, {ENOUGH} are needed"


def keeps_sessions_sticky(history: History) -> Answer:
    """Broken by a session that another worker served, or whose state was another one, while its worker was alive."""
    operations, executions = history.operations, history.executions
    known = np.flatnonzero(history.known)
    rows = known[operations.session[executions.op[known]] >= 0]
    session = operations.session[executions.op[rows]]
    order = np.lexsort((executions.started[rows], session))
    rows, session = rows[order], session[order]
    if len(rows) < 2:
        return unknown(_FEW.format(0))
    worker, one_row = worker_of(history, rows)
    lived = lived_until(history, one_row)
    same = (session[1:] == session[:-1]) & ~_harmed_between(history, session, executions.started[rows])
    before, after = rows[:-1], rows[1:]
    alive = executions.started[after] + NOTICE_NS < lived[worker[:-1]]
    moved = same & (worker[1:] != worker[:-1]) & alive
    forgotten = same & (worker[1:] == worker[:-1]) & (executions.epoch[before] != executions.epoch[after])
    strayed = np.flatnonzero(moved | forgotten)
    if not len(strayed):
        # Where its worker had died in between, a session was free to go.
        tested = int(np.count_nonzero(same & (alive | (worker[1:] == worker[:-1]))))
        if tested < ENOUGH:
            return unknown(_FEW.format(tested))
        return "kept", []
    evidence = [_tell(history, int(before[at]), int(after[at]), bool(moved[at])) for at in strayed[:SHOWN]]
    sums = (
        (moved, "times a session changed its worker while that was alive"),
        (forgotten, "times its state was gone although its worker was the same"),
    )
    told = ", ".join(f"{np.count_nonzero(some)} {what}" for some, what in sums if some.any())
    return "broken", [*evidence, Evidence(text=told)]


def _harmed_between(history: History, session: np.ndarray, started: np.ndarray) -> np.ndarray:
    """Whether a session's data was harmed after one operation and before the next; shape (operations - 1,)."""
    harmed = np.zeros(max(0, len(session) - 1), dtype=bool)
    for fault in history.faults:
        for one in fault.sessions:
            harmed |= (session[:-1] == one) & (started[:-1] <= fault.end) & (started[1:] >= fault.begin)
    return harmed


def _tell(history: History, before: int, after: int, moved: bool) -> Evidence:
    operations, executions = history.operations, history.executions
    op, session = int(executions.op[after]), int(operations.session[executions.op[after]])
    first, then = (history.seconds(int(executions.started[row])) for row in (before, after))
    who, next_one = (_worker(history, row) for row in (before, after))
    happened = (
        f"was served by {next_one} at {then:.3f} s, although {who}, which had served it at {first:.3f} s, was alive"
        if moved
        else f"found another state at {then:.3f} s than at {first:.3f} s, although {who} served it both times"
    )
    return Evidence(
        text=f"session {session} {happened} (operation {op})",
        op=op,
        pid=int(executions.pid[after]),
        start_time=int(executions.start_time[after]),
        at_s=round(then, 6),
    )


def _worker(history: History, row: int) -> str:
    kind, number = ("thread", history.executions.tid) if history.claims.in_process else ("pid", history.executions.pid)
    return f"worker {kind} {number[row]}"
