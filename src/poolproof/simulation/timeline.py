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

    There are two times. What takes a while is planned in the time that elapses; the clock shows that and whatever it
    was set forward by, and is what everybody reads.

    Attributes:
        now: ns, what the clock shows, like CLOCK_MONOTONIC.
        elapsed: ns, without the jumps of the clock.
    """

    __slots__ = ("_agenda", "_planned", "elapsed", "now")

    def __init__(self) -> None:
        self.now = self.elapsed = BEGINNING
        self._agenda: list[Planned] = []
        self._planned = 0

    @property
    def now_s(self) -> float:
        """The same in seconds, as a core takes it."""
        return self.now * 1e-9

    @property
    def next(self) -> int:
        """When the next event is due, in the time that elapses; `NEVER` where none is planned."""
        return self._agenda[0][0] if self._agenda else NEVER

    @property
    def ahead(self) -> int:
        """By how many ns the clock is ahead of the time that has elapsed."""
        return self.now - self.elapsed

    def at(self, moment: int, what: Callable[..., object], *args: Any) -> None:
        """Plan `what(*args)` for a moment of the time that elapses; one that has passed comes next."""
        self._planned += 1
        heappush(self._agenda, (moment, self._planned, what, args))

    def after(self, delay_ns: int, what: Callable[..., object], *args: Any) -> None:
        """Plan `what(*args)` for so many ns from now."""
        self._planned += 1
        heappush(self._agenda, (self.elapsed + delay_ns, self._planned, what, args))

    def step(self) -> None:
        """Go to the next event and let it happen."""
        moment, _, what, args = heappop(self._agenda)
        self.pass_until(moment)
        what(*args)

    def pass_until(self, moment: int) -> None:
        """Let time elapse up to a moment at which nothing is planned before."""
        if moment > self.elapsed:
            self.now += moment - self.elapsed
            self.elapsed = moment

    def jump(self, by_ns: int) -> None:
        """Set the clock forward; what takes a while still takes that while."""
        self.now += by_ns


def ns_not_before(seconds: float) -> int:
    """The first moment in ns that a core would not find earlier than this time of its own."""
    moment = round(seconds * SECOND_NS)
    while moment * 1e-9 < seconds:
        moment += 1
    return moment
