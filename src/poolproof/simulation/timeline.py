"""Virtual time: a clock that goes from event to event, and the agenda of what is to happen.

Two events of the same moment happen in the order in which they were planned, so a run is one sequence and no other.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

SECOND_NS: Final = 1_000_000_000

BEGINNING: Final = 1_000 * SECOND_NS
"""When every run begins; not zero, which means "never" in a history."""

NEVER: Final = 1 << 62

Planned = tuple[int, int, Callable[..., object], tuple[Any, ...]]


class Timeline:
    """The clock, and what is to happen when it comes to a moment.

    Attributes:
        now: ns, of a clock like CLOCK_MONOTONIC.
    """

    __slots__ = ("_agenda", "_planned", "now")

    def __init__(self) -> None:
        self.now = BEGINNING
        self._agenda: list[Planned] = []
        self._planned = 0

    @property
    def now_s(self) -> float:
        """The same in seconds, as a core takes it."""
        return self.now * 1e-9

    @property
    def next(self) -> int:
        """When the next event is due; `NEVER` where none is planned."""
        return self._agenda[0][0] if self._agenda else NEVER

    def at(self, moment: int, what: Callable[..., object], *args: Any) -> None:
        """Plan `what(*args)` for a moment; one that has passed comes next."""
        self._planned += 1
        heappush(self._agenda, (moment, self._planned, what, args))

    def after(self, delay_ns: int, what: Callable[..., object], *args: Any) -> None:
        """Plan `what(*args)` for so many ns from now."""
        self._planned += 1
        heappush(self._agenda, (self.now + delay_ns, self._planned, what, args))

    def step(self) -> None:
        """Go to the next event and let it happen."""
        moment, _, what, args = heappop(self._agenda)
        if moment > self.now:
            self.now = moment
        what(*args)

    def jump(self, by_ns: int) -> None:
        """Set the clock forward; what was to happen after a while from now still takes that while."""
        self.now += by_ns
        # All moved alike: the order of the heap stays what it is.
        self._agenda = [(moment + by_ns, number, what, args) for moment, number, what, args in self._agenda]


def ns_not_before(seconds: float) -> int:
    """The first moment in ns that a core would not find earlier than this time of its own."""
    moment = round(seconds * SECOND_NS)
    while moment * 1e-9 < seconds:
        moment += 1
    return moment
