"""The promise `returns-the-right-result`: who is not harmed gets a result, that very operation's, unchanged."""

import numpy as np

from poolproof.checks.record import describe, describe_some, error_of, unprovoked
from poolproof.checks.verdict import SHOWN, Answer, Evidence, unknown
from poolproof.history import History, Outcome, Phase

ENOUGH = 10


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
    # To call it too much where there was little to do is plainly wrong; why it refuses otherwise is not told.
    refused = failed & history.ended(Outcome.REJECTED) & ~history.ended_with(history.claims.overload)
    evidence += describe_some(history, failed & ~refused, "ended as {error} although nothing had been harmed")
    shut_at = _shut_itself(history, refused)
    if shut_at:
        evidence += [
            Evidence(
                text=f"it took nothing any more from {history.seconds(shut_at):.3f} s on, although nobody had closed "
                "it and nothing had been harmed",
                at_s=round(history.seconds(shut_at), 6),
            ),
            *describe_some(history, refused, "was refused ({error})"),
        ]
    if evidence:
        return "broken", evidence
    if refused.any():
        return "unknown", describe_some(
            history, refused, "was refused ({error}) although nothing had been harmed; why, its claims do not tell"
        )
    if unjudged.any():
        error = error_of(history, int(np.flatnonzero(unjudged)[0]))
        return "unknown", describe_some(history, unjudged, f"could not be verified ({error})")
    loaded = np.isin(operations.phase, (Phase.WARM_UP, Phase.MEASURED))
    if not (loaded & history.ended(Outcome.OK)).any():
        return unknown("no operation of the workload returned a result")
    return "kept", []


def _shut_itself(history: History, refused: np.ndarray) -> int:
    """The moment from which everything was refused to the end of the load; 0 where that was not so.

    A pool that had too much to do takes work again once it has less.
    """
    operations = history.operations
    loaded = (operations.phase == Phase.MEASURED) & (operations.sent > 0)
    taken = loaded & ~refused
    last_taken = int(operations.sent[taken].max()) if taken.any() else 0
    after = loaded & (operations.sent > last_taken)
    return int(operations.sent[after].min()) if np.count_nonzero(after) >= ENOUGH else 0
