"""What differs by layer: scripted workers obey commands, and those of layer 3 are made to do the same by real work.

Where the extra `work` is not installed the third layer's are scripted too, as its configuration says.
"""

from importlib import import_module
from typing import Any

from poolproof.rig import Pending, Rig
from poolproof.workloads.commands import ScriptedError

_MANY = 400_000
"""Images that take the classifier longer than any deadline here; all black, and sent as what they are not."""

DEADLINE_S = 0.25
"""Time enough for a worker to begin, on a busy machine too."""


def submit_failing(pool: Rig) -> Pending:
    """An operation whose own code raises: by a command, or by an image of three pixels where 64 are expected."""
    if not _obeys(pool):
        return pool.submit("predict", ([0], _images(1, 3)))
    return pool.submit("obey", ("fail", "as it was told"))


def failing_with(pool: Rig) -> tuple[type[Exception], str]:
    """The type of what `submit_failing` raises, and a pattern of its text."""
    if not _obeys(pool):
        return ValueError, "^X has 3 features, but ExtraTreesClassifier is expecting 64 features as input"
    return ScriptedError, "^as it was told$"


def submit_lasting(pool: Rig) -> Pending:
    """An operation that is still running at its deadline, `DEADLINE_S` from now."""
    if not _obeys(pool):
        return pool.submit("predict", ([0], _images(_MANY, 64)), deadline_s=DEADLINE_S)
    return pool.submit("obey", ("hang",), deadline_s=DEADLINE_S)


def _obeys(pool: Rig) -> bool:
    return "obey" in pool.kinds


def _images(count: int, pixels: int) -> Any:
    sparse = import_module("scipy.sparse")
    return sparse.coo_matrix((count, pixels))
