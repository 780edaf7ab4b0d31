"""Mixes: of which kinds the operations of a load are, and whose."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from poolproof.errors import UsageError
from poolproof.load.shapes import Duration
from poolproof.plan import Objective, seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What the operations of a load are, beside when they come.

    Attributes:
        weights: the kinds of the workload and how often each comes, relative to the others; empty for the workload's
            own weights.
        sessions: how many sessions they are spread over; 0 for none.
        skew: the exponent of Zipf's law for the popularity of sessions; 0 for all alike.
        burst: how many operations of one session are due at once.
        idempotent: which share of them is declared idempotent.
        deadline: within what time of being due they must have ended; 0 for no deadline.

    Raises:
        UsageError: a weight makes no sense, or all of them are zero.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    sessions: int = 0
    skew: float = 0.0
    burst: int = 1
    idempotent: float = 0.0
    deadline: Duration = 0.0

    def __post_init__(self) -> None:
        for kind, weight in self.weights.items():
            if type(weight) not in (int, float) or not 0 <= weight < math.inf:
                raise UsageError(f"mix: the weight of {kind!r} is {weight!r}: expected a number of 0 or more")
        if self.weights and not any(self.weights.values()):
            raise UsageError(f"mix: the weights of {', '.join(self.weights)} are all zero: give one of them more")

    def terms(self) -> dict[str, Any]:
        """The fields of `Load` that it stands for."""
        return {
            "mix": {kind: float(weight) for kind, weight in self.weights.items() if weight},
            "sessions": self.sessions,
            "skew": self.skew,
            "burst": self.burst,
            "idempotent": self.idempotent,
            "deadline_s": seconds(self.deadline, "mix: deadline"),
        }


def expect_kinds(objectives: tuple[Objective, ...], kinds: Iterable[str]) -> None:
    """Refuse objectives on operations that the load does not have: they could be neither kept nor broken.

    Raises:
        UsageError: one is about a kind that is neither in the mix nor placed.
    """
    known = tuple(kinds)
    for objective in objectives:
        if objective.kind and objective.kind not in known:
            raise UsageError(
                f"the objective {objective.describe()} is about operations that the load does not have: it has "
                f"{', '.join(known)}"
            )
