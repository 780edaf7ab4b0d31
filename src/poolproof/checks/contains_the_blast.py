"""The promise `contains-the-blast`: only what was harmed may fail, everybody else's work goes on."""

import numpy as np

from poolproof.checks.record import FAILED, awkward_operations, describe, effective, error_of, to_blame, unresolved
from poolproof.checks.verdict import SHOWN, Answer, Evidence, unknown
from poolproof.history import History, Phase


def contains_the_blast(history: History) -> Answer:
    """Broken by an operation that failed after a harm although no victim held it and nothing was awkward about it."""
    operations = history.operations
    awkward = awkward_operations(history)
    harms = [(fault.begin, f"the {fault.kind} of worker pid {fault.pid}") for fault in effective(history)]
    harms += [
        (int(operations.sent[op]), f"operation {op} ({history.kind_of(int(op))})") for op in np.flatnonzero(awkward)
    ]
    if not harms:
        return unknown("nothing was harmed")
    harms.sort()
    lost, _ = unresolved(history)
    open_since = (operations.done == 0) | (operations.done >= harms[0][0])
    counted = operations.phase != Phase.AFTER_CLOSE
    innocent = (history.ended(*FAILED) | lost) & counted & open_since & ~to_blame(history)
    struck = np.flatnonzero(innocent)
    if not len(struck):
        return "kept", []
    evidence = []
    for op in struck[:SHOWN]:
        end = int(operations.done[op]) or int(operations.sent[op])
        # What failed is laid to the last harm before; what was never resolved, to the first that found it open.
        sent = int(operations.sent[op])
        before = [entry for entry in harms if entry[0] <= end]
        since = [entry for entry in harms if entry[0] > sent]
        began, harm = since[0] if since and not operations.done[op] else before[-1] if before else harms[0]
        evidence.append(
            describe(
                history,
                int(op),
                f"ended as {error_of(history, int(op))} after {harm} at {history.seconds(began):.3f} s, "
                "which did not hold it",
                end,
            )
        )
    evidence.append(Evidence(text=f"{len(struck)} operations failed that nothing had harmed"))
    return "broken", evidence
