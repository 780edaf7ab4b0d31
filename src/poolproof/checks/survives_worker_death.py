"""The promise `survives-worker-death`: after a worker died, the pool serves what is sent later."""

import numpy as np

from poolproof.checks.record import FAILED, backlogged, describe_some, expired, shed, to_blame, unresolved
from poolproof.checks.verdict import Answer, Evidence, unknown
from poolproof.history import History, Outcome, Phase

ENOUGH = 10


def survives_worker_death(history: History) -> Answer:
    """Broken by an operation that was sent later than the declared detection time after the last death, and failed."""
    operations = history.operations
    deaths = history.effective("kill")
    if not deaths:
        return unknown("no worker was killed")
    last = max(deaths, key=lambda death: death.begin)
    later = (operations.phase == Phase.MEASURED) & (
        operations.sent >= last.begin + round(history.claims.detection_s * 1e9)
    )
    count = int(np.count_nonzero(later))
    if count < ENOUGH:
        return unknown(f"{count} operations were sent after the death was to be noticed, {ENOUGH} are needed")
    lost, _ = unresolved(history)
    lost &= ~backlogged(history, lost)
    # What it refuses as too much while it starts workers anew, it refuses as documented.
    # Nor is it this death that fails what a later harm befell, or what belongs to a session that died.
    failed = later & (history.ended(*FAILED) | lost) & ~shed(history) & ~to_blame(history) & ~expired(history)
    served = int(np.count_nonzero(later & history.ended(Outcome.OK, Outcome.USER_ERROR)))
    if failed.any():
        return "broken", [
            Evidence(
                text=f"of {count} operations sent later than {history.claims.detection_s:g} s after the death of "
                f"worker pid {last.pid} at {history.seconds(last.begin):.3f} s, {served} succeeded",
                pid=last.pid,
                start_time=last.start_time,
                at_s=round(history.seconds(last.begin), 6),
            ),
            *describe_some(history, failed, "ended as {error}"),
        ]
    if served < ENOUGH:
        return unknown(f"{served} operations sent after the death was to be noticed succeeded, {ENOUGH} are needed")
    return "kept", []
