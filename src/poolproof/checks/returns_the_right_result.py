"""The promise `returns-the-right-result`: who is not harmed gets a result, that very operation's, unchanged."""

import numpy as np

from poolproof.checks.record import describe, describe_some, error_of, unprovoked
from poolproof.checks.verdict import SHOWN, Answer, unknown
from poolproof.history import History, Outcome


def returns_the_right_result(history: History) -> Answer:
    """Broken by a result that is another operation's or does not verify, or by an error before anything was harmed."""
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
    failed = unprovoked(history)
    refused = failed & history.ended(Outcome.REJECTED)
    evidence += describe_some(history, failed & ~refused, "ended as {error} although nothing had been harmed")
    if evidence:
        return "broken", evidence
    if refused.any():
        return "unknown", describe_some(history, refused, "was refused ({error}) although nothing had been harmed")
    if unjudged.any():
        error = error_of(history, int(np.flatnonzero(unjudged)[0]))
        return "unknown", describe_some(history, unjudged, f"could not be verified ({error})")
    if not history.ended(Outcome.OK).any():
        return unknown("no operation returned a result")
    return "kept", []
