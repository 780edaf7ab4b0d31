"""The promise `restores-capacity`: after a fault as many operations run at once as before it."""

import numpy as np

from poolproof.checks.record import backlogged, describe_some
from poolproof.checks.verdict import Answer, Evidence, unknown
from poolproof.history import History, Outcome


def restores_capacity(history: History) -> Answer:
    """Broken where the rendezvous after the fault saw fewer operations at once than the one before it."""
    before, after = history.first("capacity", "probe-before"), history.first("capacity", "probe-after")
    if before is None or not before.value:
        return unknown("the capacity before the fault was not measured")
    began = history.first("stage", "probe-after")
    if after is None:
        if history.first("hung", "probe-after") is None or began is None:
            return unknown("the capacity after the fault was not measured")
        return "broken", [Evidence(text="the pool hung when its capacity was probed", at_s=history.seconds(began.at))]
    if (after.value or 0) >= before.value:
        if before.value < history.plan.workers:
            return unknown(f"{before.value:g} of {history.plan.workers} workers were seen at work before the fault")
        return "kept", []
    drained = history.first("drained", "drain")
    if drained is not None and drained.value:
        sent, done = history.operations.sent, history.operations.done
        open_then = (sent > 0) & (sent < drained.at) & ((done == 0) | (done > drained.at))
        if (backlogged(history, open_then) == open_then).all():
            return unknown("the pool was still working off what it had been offered when its capacity was probed")
    evidence = Evidence(
        text=f"{before.value:g} operations ran at once before the load, {after.value or 0:g} after it (best of three)",
        at_s=round(history.seconds(after.at), 6),
    )
    operations = history.operations
    refused = np.zeros(len(operations), dtype=bool)
    if began is not None:
        refused = (operations.sent >= began.at) & (operations.sent <= after.at) & (operations.outcome != Outcome.OK)
    return "broken", [evidence, *describe_some(history, refused, "should have run then and ended as {error}")]
