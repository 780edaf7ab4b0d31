"""How well a generator of load keeps to the times that it is to keep to, and how fast it can be: from moments alone.

An *error* is the time between the moment when an operation was sent and the one that was planned for it, early or late.
Pure: what measures comes as a function, and what there is too little of is an error of its own, never a small figure.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from tests.performance.racing import NotMeasured

Nanoseconds = npt.NDArray[np.int64]

HELD: Final = 0.99
"""The share of what was asked for that must have been offered, for its rate to be held."""
FINE_STEP: Final = 2**0.25
SENT_NEEDED: Final = 10
"""With fewer operations, a user's own plan would be whatever it happened to do."""


def off_schedule_ns(sent_ns: Sequence[int], due_ns: Sequence[int]) -> Nanoseconds:
    """The errors of a generator that has a moment for every operation; shape (operations,)."""
    if not sent_ns or len(sent_ns) != len(due_ns):
        raise NotMeasured(f"{len(sent_ns)} of {len(due_ns)} operations were sent")
    return np.abs(np.asarray(sent_ns, np.int64) - np.asarray(due_ns, np.int64))


def off_spacing_ns(sent_ns: Sequence[Sequence[int]], gap_ns: float) -> Nanoseconds:
    """The errors of users who are to send evenly, each with such a gap; shape (operations of all users,).

    Nobody says when such a user begins, so each has the plan that suits it best: its gap is as asked, its beginning the
    one that makes the sum of its errors least, which is the median of the beginnings that its operations speak for. It
    counts for none of them that they all send at the same time, as users do who began together.

    Args:
        sent_ns: of each user, when it sent.
        gap_ns: from one operation of a user to its next.
    """
    if not sent_ns or min(map(len, sent_ns)) < SENT_NEEDED:
        raise NotMeasured(f"every user needs {SENT_NEEDED} operations, not {sorted(map(len, sent_ns))[:10]} …")
    errors = []
    for user in sent_ns:
        # From its own first one: whole moments are too large for floats to be exact to the nanosecond.
        beginnings = np.asarray(user, np.int64) - user[0] - np.arange(len(user)) * gap_ns
        errors.append(np.abs(beginnings - np.median(beginnings)))
    return np.asarray(np.rint(np.concatenate(errors)), np.int64)


def highest(shares: Callable[[float], Iterable[float]], start: float, ceiling: float) -> float:
    """The highest rate that is held, operations a second: doubled while it is, then once more in small steps.

    Args:
        shares: the tries at a rate, each the share of it that was offered; one that holds it is enough, and the last.
        start: the first rate.
        ceiling: no rate beyond twice this one is tried.

    Raises:
        NotMeasured: not even the first rate was held, or the ceiling was.
    """

    def holds(rate: float) -> bool:
        return any(share >= HELD for share in shares(rate))

    if not holds(start):
        raise NotMeasured(f"not even {start:,.0f} operations a second are held")
    held = start
    while holds(2 * held):
        held *= 2
        if held >= ceiling:
            raise NotMeasured(f"{held:,.0f} operations a second are held, and no more are tried")
    for _ in range(3):
        if not holds(held * FINE_STEP):
            break
        held *= FINE_STEP
    return held
