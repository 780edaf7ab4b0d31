"""Questions that several checks put to a history: who ran an operation, who is to blame, how long it was watched."""

from dataclasses import dataclass

import numpy as np

from poolproof.checks.verdict import SHOWN, Evidence
from poolproof.history import History, Outcome, Phase
from poolproof.probe import RENDEZVOUS
from poolproof.workloads import awkward

RETURN_NS = 50_000_000
"""How much later than its client's result a pool may have a worker back."""

EARLY_NS = 50_000_000
"""How much before its deadline an operation may be given up: clocks are read at different places."""

_EARLY_IN_VIRTUAL_TIME_NS = 1_000_000
"""The same where there is one clock."""

NOTICE_NS = 250_000_000
"""How much later than the pool the conductor may learn of an exit."""

FAILED = (Outcome.POOL_ERROR, Outcome.REJECTED, Outcome.CANCELLED)
_NEVER = int(np.iinfo(np.int64).max)


def observed_until(history: History) -> int:
    """The last moment at which the run was watched."""
    return max((event.at for event in history.lifecycle), default=0)


def awkward_operations(history: History) -> np.ndarray:
    """Mask of the operations that were placed to be awkward; shape (operations,)."""
    return history.of_kinds(frozenset(awkward.workload.kinds)) & (history.operations.sent > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """What was done to the pool at one moment, and the worker that it befell; None where no worker is known."""

    begin: int
    what: str
    pid: int | None
    start_time: int | None


def harms(history: History) -> list[Harm]:
    """The faults that took effect on workers and the awkward operations that were sent, in order of time."""
    done = [
        Harm(
            begin=fault.begin,
            what=f"the {fault.kind} of worker pid {fault.pid}",
            pid=fault.pid,
            start_time=fault.start_time,
        )
        for fault in history.effective()
    ]
    awkwards = np.flatnonzero(awkward_operations(history)).tolist()
    last = last_execution(history) if awkwards else None
    for op in awkwards:
        row = -1 if last is None else int(last[op])
        done.append(
            Harm(
                begin=int(history.operations.sent[op]),
                what=f"operation {op} ({history.kind_of(op)})",
                pid=None if row < 0 else int(history.executions.pid[row]),
                start_time=None if row < 0 else int(history.executions.start_time[row]),
            )
        )
    return sorted(done, key=lambda harm: harm.begin)


def shed(history: History) -> np.ndarray:
    """Mask of the operations that were refused as too much, and rightly so; shape (operations,).

    Rightly: with an error that the pool documents for that, while it had as much to do at least as it has workers.
    """
    operations = history.operations
    refused = history.ended_with(history.claims.overload)
    # What was itself refused kept nobody busy, however late its future failed, unless a worker had begun it.
    idle = refused & (last_execution(history) < 0)
    taken = (operations.accepted > 0) & ~history.ended(Outcome.REJECTED) & ~idle
    ended = np.sort(operations.done[taken & (operations.done > 0)])
    sent = operations.sent[refused]
    # In virtual time many are accepted at one moment. The client may have a result before the pool has its worker back.
    accepted = np.sort(operations.accepted[taken])
    under_way = np.searchsorted(accepted, sent, "right") - np.searchsorted(ended, sent - RETURN_NS)
    capacity = history.first("capacity", "probe-before")
    workers = min(history.plan.workers, int(capacity.value or 0) if capacity else 0) or history.plan.workers
    lost = np.zeros(len(sent), dtype=np.int64)
    gone = {(life.pid, life.start_time): life.gone for life in history.incarnations}
    for fault in history.effective():
        end = gone.get((fault.pid, fault.start_time), 0)
        if fault.kind == "kill" or end:  # whatever it was, its victim did not survive it
            lost += (sent >= fault.begin) & (sent < max(fault.begin, end) + _patience(history))
    refused[refused] = under_way >= workers - lost
    return refused


def expired(history: History) -> np.ndarray:
    """Mask of the operations that failed once their deadline had passed; shape (operations,)."""
    operations = history.operations
    early = EARLY_NS if history.plan.layer != 1 else _EARLY_IN_VIRTUAL_TIME_NS
    return np.asarray(
        history.ended(*FAILED) & (operations.deadline > 0) & (operations.done >= operations.deadline - early)
    )


def first_execution(history: History) -> np.ndarray:
    """The row of the first execution of each operation, -1 where it was never begun; shape (operations,)."""
    op = history.executions.op
    known = np.flatnonzero(history.known)[::-1]
    row = np.full(len(history.operations), -1, dtype=np.int64)
    row[op[known]] = known  # against the order of `started`, so that an earlier one takes the place of a later one
    return row


def last_execution(history: History) -> np.ndarray:
    """The row of the last execution of each operation, -1 where it was never begun; shape (operations,)."""
    op = history.executions.op
    known = np.flatnonzero(history.known)
    row = np.full(len(history.operations), -1, dtype=np.int64)
    row[op[known]] = known  # in order of `started`, so that a later one takes the place of an earlier one
    return row


def worker_of(history: History, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A number for the incarnation that ran each of these executions, and a row of each incarnation by that number.

    An incarnation is a process, or a thread where the pool works in the lab's own process.
    """
    return history.lives(rows, threads=history.claims.in_process)


def lived_until(history: History, rows: np.ndarray) -> np.ndarray:
    """Until when the incarnation of each execution is known to have lived unharmed; shape as given.

    One that came and went between two looks of the conductor, and a thread, are known by their own records alone.
    """
    executions = history.executions
    worker, _ = worker_of(history, np.arange(len(executions)))
    last = np.zeros(worker.max(initial=-1) + 1, dtype=np.int64)
    np.maximum.at(last, worker, np.maximum(executions.started, executions.ended))
    seen: dict[tuple[int, int], int] = {}
    for life in () if history.claims.in_process else history.incarnations:
        seen[life.pid, life.start_time] = life.gone or _NEVER
    harmed: dict[tuple[int, int], int] = {}
    for fault in history.faults:
        identity = (fault.pid, fault.start_time)
        harmed[identity] = min(harmed.get(identity, fault.begin), fault.begin)
    until = []
    for row, pid, start_time in zip(
        rows.tolist(), executions.pid[rows].tolist(), executions.start_time[rows].tolist(), strict=True
    ):
        lived = seen.get((pid, start_time), int(last[worker[row]]))
        until.append(min(lived, harmed.get((pid, start_time), lived)))
    return np.array(until, dtype=np.int64)


def ran_until(history: History, rows: np.ndarray) -> np.ndarray:
    """Until when at least each of these executions ran; shape as given.

    Until its end; where its worker left none, for as long as that is known to have lived while the run was watched: a
    call that is over writes its end, whichever way it is. Where records are damaged the end may be among them, and
    nothing is known but the beginning.
    """
    started, ended = history.executions.started[rows], history.executions.ended[rows]
    until = np.where(ended > 0, ended, started)
    endless = np.flatnonzero(ended == 0)
    if len(endless) and not history.damaged_bytes:
        lived = lived_until(history, rows[endless]) - NOTICE_NS
        until[endless] = np.maximum(started[endless], np.minimum(lived, observed_until(history)))
    return np.asarray(until)


def unprovoked(history: History) -> np.ndarray:
    """Mask of the operations that failed before anything was harmed, or the pool was closed; shape (operations,).

    What the pool's documentation says it refuses, and what had a deadline that passed, is no failure.
    """
    operations = history.operations
    awaited = [harm.begin for harm in harms(history)][:1]
    awaited += [event.at for event in history.lifecycle if event.event == "closing" and event.at > history.origin][:1]
    first = min(awaited, default=observed_until(history))
    loaded = np.isin(operations.phase, (Phase.WARM_UP, Phase.MEASURED))
    excused = shed(history) | expired(history)
    return np.asarray(loaded & history.ended(*FAILED) & (operations.done < first) & ~excused)


def backlogged(history: History, mask: np.ndarray) -> np.ndarray:
    """Which of the operations of a mask only waited for their turn while the pool went on answering; same shape.

    Such an operation was not begun, or its worker was done with it (or had begun it) less than the patience before; and
    at no time since it was sent did the pool neither answer nor work for as long as that patience. Too much was
    offered, or the work itself took that long: it is not lost.
    """
    ops = np.flatnonzero(mask)
    delayed = np.zeros(len(mask), dtype=bool)
    if len(ops):
        delayed[ops] = _served_meanwhile(history, ops) & _not_run_for_long(history, ops)
    return delayed


def _patience(history: History) -> int:
    return round(history.patience_s * 1e9)


def _open_until(history: History, ops: np.ndarray) -> np.ndarray:
    """When each of these operations ended, or the watch did; shape as given."""
    done = history.operations.done[ops]
    return np.where(done > 0, done, observed_until(history))


def _served_meanwhile(history: History, ops: np.ndarray) -> np.ndarray:
    """Whether the pool went on working or answering while each of these operations was open; shape as given."""
    operations, patience = history.operations, _patience(history)
    # A probe of capacity asks for an answer of its own, after the backlog was given its time.
    asked = history.of_kinds(frozenset({RENDEZVOUS})) | (operations.phase == Phase.AFTER_CLOSE)
    answered = (operations.done > 0) & ~asked
    if not answered.any():
        return np.zeros(len(ops), dtype=bool)
    answers = np.sort(np.append(operations.done[answered], observed_until(history)))
    silent = np.flatnonzero(np.diff(answers) >= patience)
    silences = [
        (max(begin, since), min(end, until))
        for begin, end in zip(answers[silent].tolist(), answers[silent + 1].tolist(), strict=True)
        for since, until in _idle(history, patience)
        if min(end, until) - max(begin, since) >= patience
    ]
    if not silences:
        return np.ones(len(ops), dtype=bool)
    begin, end = np.array(silences, dtype=np.int64).T
    sent, until = operations.sent[ops], _open_until(history, ops)
    # Silences follow each other, so of those that an operation met only the first and the last can be met in part.
    first = np.searchsorted(end, sent, side="right")
    last = np.searchsorted(begin, until, side="left") - 1
    served = last - first < 2
    for met in (first, last):
        known = np.clip(met, 0, len(silences) - 1)
        shared = np.minimum(until, end[known]) - np.maximum(sent, begin[known])
        served &= (met != known) | (shared < patience)
    return np.asarray(served)


def _idle(history: History, at_least: int) -> list[tuple[int, int]]:
    """The stretches of some length in which no worker ran an operation that it ended; few, for they are long."""
    over = history.executions.ended > 0
    latest = np.maximum.accumulate(np.append(0, history.executions.ended[over]))
    started = np.append(history.executions.started[over], observed_until(history))  # which they are in the order of
    long = np.flatnonzero(started - latest >= at_least)
    return list(zip(latest[long].tolist(), started[long].tolist(), strict=True))


def _not_run_for_long(history: History, ops: np.ndarray) -> np.ndarray:
    """Whether each was not begun, or was in a worker's hands until lately, and no worker died of it; shape as given."""
    operations, executions = history.operations, history.executions
    known = history.known
    in_hand = np.zeros(len(operations), dtype=np.int64)
    let_go = np.where(executions.ended > 0, executions.ended, executions.started)
    np.maximum.at(in_hand, executions.op[known], let_go[known])
    waited = (in_hand[ops] == 0) | (_open_until(history, ops) - in_hand[ops] < _patience(history))
    unfinished = np.flatnonzero(known & (executions.ended == 0))
    life, row = history.lives(unfinished)
    dead = {(gone.pid, gone.start_time) for gone in history.incarnations if gone.gone}
    identities = zip(executions.pid[row].tolist(), executions.start_time[row].tolist(), strict=True)
    died = np.array([identity in dead for identity in identities], dtype=bool)
    taken = np.zeros(len(operations), dtype=bool)
    taken[executions.op[unfinished[died[life]]]] = True
    return np.asarray(waited & ~taken[ops])


def to_blame(history: History) -> np.ndarray:
    """Mask of the operations that may fail, since they were harmed or do harm; shape (operations,).

    1. The awkward ones.
    2. Those that a victim had begun and not ended when the fault struck.
    3. Those that a victim which did not survive had ended, without their client having the result: it may have died on
       its way.
    4. Those of a session whose data a fault harmed, or that such a victim had served: the state died with it. Where
       the pool's sessions go on afresh, only those that were sent before that could be noticed.
    """
    operations, executions = history.operations, history.executions
    guilty, known = awkward_operations(history), history.known
    count = len(operations)
    gone = {(life.pid, life.start_time): life.gone for life in history.incarnations}
    for fault in history.effective():
        held = np.array(fault.held, dtype=np.int64)
        held = held[(held >= 0) & (held < count)]
        guilty[held] = True
        end = gone.get((fault.pid, fault.start_time), 0)
        undelivered = (operations.done == 0) | (operations.done >= fault.begin)
        bereft = set(fault.sessions)
        if end or fault.kind == "kill":
            rows = np.flatnonzero((executions.pid == fault.pid) & known)
            rows = rows[(executions.start_time[rows] == fault.start_time) & (executions.started[rows] < fault.begin)]
            ops = executions.op[rows]
            guilty[ops] |= undelivered[ops]
            bereft |= {*operations.session[ops].tolist(), *operations.session[held].tolist()}
        bereft.discard(-1)
        if bereft:
            noticed = max(end, fault.end) + round(history.claims.detection_s * 1e9)
            until = _NEVER if history.claims.sessions_end else noticed
            of_bereft = np.isin(operations.session, sorted(bereft))
            guilty |= of_bereft & undelivered & (operations.sent <= until)
    return guilty


def unresolved(history: History) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the operations that were left unresolved: watched for long enough, and not; shape (operations,) each."""
    operations = history.operations
    still_open = (operations.sent > 0) & (operations.done == 0) & (operations.phase != Phase.AFTER_CLOSE)
    limit = np.maximum(operations.sent, history.last_heal) + _patience(history)
    watched = observed_until(history) >= limit
    return still_open & watched, still_open & ~watched


def describe(history: History, op: int, happened: str, at: int = 0) -> Evidence:
    """What happened to an operation, with the worker that last began it."""
    rows = history.executions_of(op)
    row = int(rows[-1]) if len(rows) else None
    sent = int(history.operations.sent[op])
    began = (
        "the pool's submit never returned"
        if not history.operations.accepted[op]
        else "no worker began it"
        if row is None
        else f"worker pid {history.executions.pid[row]} began it at "
        f"{history.seconds(int(history.executions.started[row])):.3f} s"
        + ("" if history.executions.ended[row] else " and left no end of it")
    )
    return Evidence(
        text=f"operation {op} ({history.kind_of(op)}), sent at {history.seconds(sent):.3f} s, {happened}; {began}",
        op=op,
        pid=None if row is None else int(history.executions.pid[row]),
        start_time=None if row is None else int(history.executions.start_time[row]),
        at_s=round(history.seconds(at or sent), 6),
    )


def describe_some(history: History, mask: np.ndarray, happened: str) -> list[Evidence]:
    """The first few operations of a mask in full, and how many there were in all; `{error}` stands for each one's."""
    ops = np.flatnonzero(mask)
    _, first = np.unique(history.operations.kind[ops], return_index=True)
    ops = np.concatenate([ops[np.sort(first)], np.delete(ops, first)])  # one of each kind first
    told = [describe(history, int(op), happened.replace("{error}", error_of(history, int(op)))) for op in ops[:SHOWN]]
    if len(ops) > SHOWN:
        told.append(Evidence(text=f"and {len(ops) - SHOWN} more operations alike, {len(ops)} in all"))
    return told


def error_of(history: History, op: int) -> str:
    """The error of an operation in words, or how it ended without one."""
    number = int(history.operations.error[op])
    outcome = Outcome(int(history.operations.outcome[op])).label
    if number < 0:
        return outcome
    error = next((error for error in history.errors if error.error == number), None)
    return outcome if error is None else f"{error.type}: {error.message.splitlines()[0][:160] if error.message else ''}"
