"""The promise `types-every-error`: an error is the user's own as itself, or of a type that the pool documents."""

from poolproof.checks.record import awkward_operations, describe_some
from poolproof.checks.verdict import Answer, unknown
from poolproof.history import History, Outcome, Phase
from poolproof.probe import ProbeError


def types_every_error(history: History) -> Answer:
    """Broken by an operation that failed with a type neither the user's nor listed by the adapter, bases included."""
    operations = history.operations
    own = f"{ProbeError.__module__}.{ProbeError.__qualname__}"  # the kit's own failure: a doubt, no defect
    listed = (*history.claims.errors, *history.claims.overload, own)
    failed = history.ended(Outcome.POOL_ERROR, Outcome.REJECTED) & (operations.phase != Phase.AFTER_CLOSE)
    strange = failed & ~history.ended_with(listed)
    if strange.any():
        return "broken", describe_some(history, strange, "failed with {error}, which the pool does not document")
    awkward = awkward_operations(history)
    if awkward.any() and not (failed | history.ended(Outcome.USER_ERROR)).any():
        return unknown("no operation failed, although some were made to")
    return "kept", []
