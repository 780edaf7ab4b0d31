"""Questions that several checks put to a history: who ran an operation, who is to blame, how long it was watched."""

from dataclasses import dataclass

import numpy as np

from poolproof.checks.verdict import SHOWN, Evidence
from poolproof.history import Fault, History, Outcome, Phase
from poolproof.probe import RENDEZVOUS
from poolproof.workloads import awkward

FAILED = (Outcome.POOL_ERROR, Outcome.REJECTED, Outcome.CANCELLED)


def observed_until(history: History) -> int:
    """The last moment at which the run was watched."""
    return max((event.at for event in history.lifecycle), default=0)


def effective(history: History, kind: str = "", target: str = "worker") -> list[Fault]:
    """The faults that took effect, of a kind where one is named, on workers or on the parent."""
    specs = history.plan.scenario.faults
    return [
        fault
        for fault in history.faults
        if fault.effective == "yes" and kind in ("", fault.kind) and specs[fault.fault].target == target
    ]


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
        for fault in effective(history)
    ]
    for op in np.flatnonzero(awkward_operations(history)):
        ran = describe(history, int(op), "")
        done.append(
            Harm(
                begin=int(history.operations.sent[op]),
                what=f"operation {op} ({history.kind_of(int(op))})",
                pid=ran.pid,
                start_time=ran.start_time,
            )
        )
    return sorted(done, key=lambda harm: harm.begin)


def unprovoked(history: History) -> np.ndarray:
    """Mask of the operations that failed before anything was harmed, or the pool was closed; shape (operations,)."""
    operations = history.operations
    awaited = [harm.begin for harm in harms(history)][:1]
    awaited += [event.at for event in history.lifecycle if event.event == "closing" and event.at > history.origin][:1]
    first = min(awaited, default=observed_until(history))
    loaded = np.isin(operations.phase, (Phase.WARM_UP, Phase.MEASURED))
    return np.asarray(loaded & history.ended(*FAILED) & (operations.done < first))


def backlogged(history: History, mask: np.ndarray) -> np.ndarray:
    """Which of the operations of a mask only waited for their turn while the pool went on answering; same shape.

    Such an operation was not begun, or was begun less than the patience before the watch ended, and at no time since it
    was sent did the pool go without answering for as long as that patience. Too much was offered: it is not lost.
    """
    operations, executions = history.operations, history.executions
    patience = round(history.plan.resolution_s(history.claims) * 1e9)
    end = observed_until(history)
    # A probe of capacity asks for an answer of its own, after the backlog was given its time.
    asked = history.of_kinds(frozenset({RENDEZVOUS})) | (operations.phase == Phase.AFTER_CLOSE)
    answered = (operations.done > 0) & ~asked
    answers = np.sort(np.append(operations.done[answered], end))
    until = np.where(operations.done > 0, operations.done, end)
    served = np.full(len(operations), answered.any())
    for silence in np.flatnonzero(np.diff(answers) >= patience):
        shared = np.minimum(until, answers[silence + 1]) - np.maximum(operations.sent, answers[silence])
        served &= shared < patience
    began = np.zeros(len(operations), dtype=np.int64)
    known = (executions.op >= 0) & (executions.op < len(operations))
    np.maximum.at(began, executions.op[known], executions.started[known])
    waited = (began == 0) | (until - began < patience)
    for dead in history.incarnations:
        if dead.gone:
            taken = (executions.pid == dead.pid) & (executions.start_time == dead.start_time) & (executions.ended == 0)
            waited &= ~np.isin(operations.op, executions.op[taken])
    return np.asarray(mask & waited & served)


def to_blame(history: History) -> np.ndarray:
    """Mask of the operations that may fail, since they were harmed or do harm; shape (operations,).

    1. The awkward ones.
    2. Those that a victim had begun and not ended when the fault struck.
    3. Those that a victim had ended without their client having the result: it may have died on its way.
    """
    operations, executions = history.operations, history.executions
    guilty = awkward_operations(history)
    for fault in effective(history):
        guilty |= np.isin(operations.op, fault.held)
        by_victim = (
            (executions.pid == fault.pid)
            & (executions.start_time == fault.start_time)
            & (executions.started < fault.begin)
        )
        undelivered = (operations.done == 0) | (operations.done >= fault.begin)
        guilty |= np.isin(operations.op, executions.op[by_victim]) & undelivered
    return guilty


def unresolved(history: History) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the operations that were left unresolved: watched for long enough, and not; shape (operations,) each."""
    operations = history.operations
    still_open = (operations.sent > 0) & (operations.done == 0) & (operations.phase != Phase.AFTER_CLOSE)
    patience = round(history.plan.resolution_s(history.claims) * 1e9)
    limit = np.maximum(operations.sent, history.last_heal) + patience
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
