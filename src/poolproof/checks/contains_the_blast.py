"""The promise `contains-the-blast`: only what was harmed may fail, everybody else's work goes on."""

import msgspec
import numpy as np

from poolproof.checks.record import FAILED, backlogged, describe, error_of, expired, harms, shed, to_blame, unresolved
from poolproof.checks.verdict import SHOWN, Answer, Evidence, unknown
from poolproof.history import History, Phase


def contains_the_blast(history: History) -> Answer:
    """Broken by an operation that failed after a harm although no victim held it and nothing was awkward about it."""
    operations = history.operations
    harmful = harms(history)
    if not harmful:
        return unknown("nothing was harmed")
    lost, _ = unresolved(history)
    lost &= ~backlogged(history, lost)
    open_since = (operations.done == 0) | (operations.done >= harmful[0].begin)
    counted = operations.phase != Phase.AFTER_CLOSE
    refused = shed(history) | expired(history)  # by too much work or too little time, as documented: no blast
    innocent = (history.ended(*FAILED) | lost) & counted & open_since & ~to_blame(history) & ~refused
    struck = np.flatnonzero(innocent)
    if not len(struck):
        return "kept", []
    evidence = []
    for op in struck[:SHOWN]:
        # What failed is laid to the last harm before; what was never resolved, to the first that found it open.
        sent, done = int(operations.sent[op]), int(operations.done[op])
        before = [harm for harm in harmful if harm.begin <= (done or sent)]
        since = [harm for harm in harmful if harm.begin > sent]
        harm = since[0] if since and not done else before[-1] if before else harmful[0]
        told = describe(
            history,
            int(op),
            f"ended as {error_of(history, int(op))} after {harm.what} at {history.seconds(harm.begin):.3f} s, "
            "which did not hold it",
            done or sent,
        )
        if told.pid is None:  # nobody began it: the worker to look at is the one that the harm befell
            told = msgspec.structs.replace(told, pid=harm.pid, start_time=harm.start_time)
        evidence.append(told)
    evidence.append(Evidence(text=f"{len(struck)} operations failed that nothing had harmed"))
    return "broken", evidence
