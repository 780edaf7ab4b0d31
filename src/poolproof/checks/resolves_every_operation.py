"""The promise `resolves-every-operation`: whatever was handed over ends, with a result or an error, in bounded time."""

import numpy as np

from poolproof.checks.record import backlogged, describe_some, unresolved
from poolproof.checks.verdict import Answer, Evidence, unknown
from poolproof.history import History, Phase


def resolves_every_operation(history: History) -> Answer:
    """Broken by an operation that has no outcome by the last heal (or its sending) + max(3 s, 3 × detection)."""
    operations = history.operations
    sent = (operations.sent > 0) & (operations.phase != Phase.AFTER_CLOSE)
    if not sent.any():
        return unknown("no operation was sent")
    patience_s = history.patience_s
    lost, open_still = unresolved(history)
    waiting = backlogged(history, lost)
    lost, open_still = lost & ~waiting, open_still | waiting
    evidence = describe_some(history, lost, f"was never resolved, although watched for {patience_s:.3g} s and longer")

    # A backlog may still be worked off after the last of the load; what came later (a probe, a close) is no excuse.
    loaded = sent & (operations.phase == Phase.MEASURED)
    last_sent = int(operations.sent[loaded].max()) if loaded.any() else 0
    limit = np.maximum(operations.sent, max(history.last_heal, last_sent)) + round(patience_s * 1e9)
    late = sent & (operations.done > limit)
    delayed = backlogged(history, late)
    late &= ~delayed
    evidence += describe_some(history, late, f"was resolved later than {patience_s:.3g} s after the last heal")

    taken_along = history.first("own-doing")
    if taken_along is not None and open_still.any():
        evidence += describe_some(history, open_still, f"was lost: the pool's own process {taken_along.detail}")
    if evidence:
        return "broken", evidence
    if waiting.any() or delayed.any():
        count = int(np.count_nonzero(waiting | delayed))
        return "unknown", [
            Evidence(
                text=f"{count} operations waited, or took, longer than {patience_s:.3g} s while the pool was at work: "
                "more was offered than it can do; lower the rate, or take a quieter machine"
            )
        ]
    if open_still.any():
        count = int(np.count_nonzero(open_still))
        return "unknown", [
            Evidence(
                text=f"{count} operations were open when the watch ended, sent less than {patience_s:.3g} s before"
            ),
            *describe_some(history, open_still, "was still open"),
        ]
    return "kept", []
