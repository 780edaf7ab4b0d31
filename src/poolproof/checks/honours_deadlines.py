"""The promise `honours-deadlines`: an operation has ended by its deadline, for its client and in its worker."""

import numpy as np

from poolproof.checks.record import describe_some, last_execution, observed_until, ran_until
from poolproof.checks.verdict import Answer, unknown
from poolproof.history import History

GRACE_NS = 500_000_000
"""How much later than its deadline an operation may end: it takes time to notice, and to end a worker."""


def honours_deadlines(history: History) -> Answer:
    """Broken by an operation that ended, began or went on running later than 0.5 s after its deadline."""
    operations, executions = history.operations, history.executions
    bound = (operations.deadline > 0) & (operations.sent > 0)
    # What the generator sent late has its grace from then on: the pool could not have had it earlier.
    limit = np.maximum(operations.deadline, operations.sent) + GRACE_NS
    last = last_execution(history)
    begun = last >= 0
    started = np.where(begun, executions.started[last] if len(executions) else 0, 0)
    ran = np.zeros(len(operations), dtype=np.int64)
    ran[begun] = ran_until(history, last[begun])
    grace = f"{GRACE_NS / 1e9:g} s"
    until = np.where(operations.done > 0, operations.done, observed_until(history))
    late = bound & (until > limit)
    evidence = describe_some(history, late, f"was still unresolved {grace} after its deadline")
    evidence += describe_some(
        history, bound & begun & (started > limit), f"was begun later than {grace} after its deadline"
    )
    went_on = bound & ~late & begun & (ran > np.maximum(limit, started))
    evidence += describe_some(history, went_on, f"went on running later than {grace} after its deadline")
    if evidence:
        return "broken", evidence
    # Only deadlines that passed put the promise to the test, and those of waiting and of running operations differ.
    passed = bound & (operations.done > 0) & (operations.done >= operations.deadline)
    for how, some in (("was running", passed & begun), ("was waiting", passed & ~begun)):
        if not some.any():
            return unknown(f"no deadline passed while its operation {how}; take more workers, or a quieter machine")
    return "kept", []
