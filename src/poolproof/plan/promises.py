"""What pools promise: the names, and what one pool says of itself."""

from typing import Final, Literal

import msgspec

from poolproof.plan.value import Value

Made = Literal["implied", "promised", "declined", "undeclared"]

IMPLIED: Final = (
    "resolves-every-operation",
    "runs-at-most-once",
    "returns-the-right-result",
    "types-every-error",
    "closes-cleanly",
    "leaves-nothing-behind",
)
"""The promises that whoever offers a pool makes by that alone."""

PROMISES: Final = (
    *IMPLIED,
    "survives-worker-death",
    "contains-the-blast",
    "restores-capacity",
    "degrades-gracefully",
    "keeps-sessions-sticky",
    "isolates-sessions",
    "keeps-session-order",
    "sheds-overload",
    "serves-fairly",
    "honours-deadlines",
)
"""Every promise that this version can examine, in the order of the tables."""


class Claim(Value, frozen=True, kw_only=True):
    """What a pool's own documentation says of one promise, and where."""

    made: Literal["promised", "declined"]
    source: str


class Claims(Value, frozen=True, kw_only=True):
    """What a pool says of itself; the implied promises need not be listed.

    Attributes:
        promises: the promises that it makes or declines; those not listed are implied or undeclared.
        errors: names (`module.Type`) of the exceptions, bases included, that it fails operations with.
        overload: those with which it refuses what is more than it can take; they need not stand in `errors` too.
        detection_s: within what time it notices a dead worker.
        in_process: whether its work is done in the lab's own process (threads).
        sessions_end: whether a session may be over for good once its worker is lost, so that all that comes fails.
    """

    promises: dict[str, Claim] = msgspec.field(default_factory=dict)
    errors: tuple[str, ...] = ()
    overload: tuple[str, ...] = ()
    detection_s: float = 1.0
    in_process: bool = False
    sessions_end: bool = True

    def made(self, promise: str) -> Made:
        """How this pool stands to a promise."""
        if promise in self.promises:
            return self.promises[promise].made
        return "implied" if promise in IMPLIED else "undeclared"
