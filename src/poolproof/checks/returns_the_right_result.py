"""The promise `returns-the-right-result`: a result is the one of that very operation, unchanged."""

import numpy as np

from poolproof.checks.record import describe, describe_some, error_of
from poolproof.checks.verdict import SHOWN, Answer, unknown
from poolproof.history import History, Outcome


def returns_the_right_result(history: History) -> Answer:
    """Broken by a result that echoes another operation's key, or that the workload does not verify."""
    operations = history.operations
    wrong = history.ended(Outcome.WRONG)
    # Where the verification itself raised, the result could not be judged; that is the workload's failure.
    unjudged = wrong & (operations.error >= 0)
    evidence = []
    for op in np.flatnonzero(wrong & ~unjudged)[:SHOWN]:
        echoed = int(operations.echoed[op])
        how = (
            "came back with a result that does not verify"
            if echoed == op
            else (f"got the result of operation {echoed}" if echoed >= 0 else "got a result that no worker returned")
        )
        evidence.append(describe(history, int(op), how, int(operations.done[op])))
    if evidence:
        return "broken", evidence
    if unjudged.any():
        error = error_of(history, int(np.flatnonzero(unjudged)[0]))
        return "unknown", describe_some(history, unjudged, f"could not be verified ({error})")
    if not history.ended(Outcome.OK).any():
        return unknown("no operation returned a result")
    return "kept", []
