"""What was reached: the interesting states of a pool, and the transitions of its workers, sessions and operations.

An exploration that never filled the queue has said nothing about full queues. So the states that it is to reach are
named (*sometimes* assertions, as Antithesis calls them), each is counted, and those that were not reached are told.
"""

from collections import Counter
from typing import Final

from sessionpool.events import Event
from sessionpool.wire import Frame, Kind

_OF_EVENTS: Final[dict[tuple[str, str], str]] = {
    ("session", "moved"): "session moved",
    ("session", "lost"): "session lost",
    ("session", "expired"): "session expired",
    ("worker", "stalled"): "worker found stopped",
    ("operation", "again"): "operation given to another worker",
    ("pool", "growing"): "pool grown",
    ("pool", "shrinking"): "pool shrunk",
    ("pool", "broken"): "pool broken",
}
_OF_REASONS: Final[dict[str, str]] = {
    "an operation passed its deadline": "worker killed for a deadline",
    "it was not ready within": "start timed out",
    "it had not left within": "worker killed that would not leave",
    "it was stopped for": "worker killed for a stall",
    "its answer did not arrive": "lost answer noticed",
    "it did not take up": "lost operation noticed",
    "which it was not at": "answer of nothing refused",
    "its wire was closed": "wire lost",
    "its initializer failed": "initializer failed",
    "it was sent a malformed frame": "frame rejected by a worker",
}
_OF_OUTCOMES: Final[dict[str, str]] = {
    "DeadlineExceeded": "deadline passed",
    "WorkerDied": "operation lost with its worker",
    "SessionLost": "operation of a lost session refused",
}
_OF_FRAMES: Final[dict[int, str]] = {
    int(Kind.REFUSED): "epoch refused by a worker",
    int(Kind.RETURNED): "recalled operation returned",
}

SOMETIMES: Final = (
    *_OF_EVENTS.values(),
    *_OF_REASONS.values(),
    *_OF_OUTCOMES.values(),
    *_OF_FRAMES.values(),
    "session re-homed",
    "frame rejected",
    "work sent in advance",
    "queue full",
    "crash loop backed off",
    "worker recycled",
)
"""Every state that an exploration is to reach."""

_REFUSALS: Final = {"queue": "queue full"}


class Marks:
    """Counts what one run reaches.

    Attributes:
        reached: how often each interesting state was.
        transitions: how often each of the pool's things went from one state to another: `worker: ready > busy`.
    """

    __slots__ = ("_failed_starts", "_is_closing", "_last", "_opened", "reached", "transitions")

    def __init__(self) -> None:
        self.reached: Counter[str] = Counter()
        self.transitions: Counter[str] = Counter()
        self._last: dict[tuple[str, object], str] = {}
        self._opened: set[object] = set()
        self._failed_starts = 0
        self._is_closing = False

    def mark(self, state: str) -> None:
        """An interesting state was reached."""
        self.reached[state] += 1

    def refused(self, what: str) -> None:
        """An operation was refused as too much."""
        if what in _REFUSALS:
            self.mark(_REFUSALS[what])

    def frames(self, frames: list[Frame]) -> None:
        """A worker answered."""
        for frame in frames:
            if frame.kind in _OF_FRAMES:
                self.mark(_OF_FRAMES[frame.kind])

    def event(self, event: Event) -> None:
        """The pool tells of a transition."""
        subject, what = event.subject, event.what
        who: object = event.worker if subject == "worker" else event.key if subject == "session" else event.operation
        thing = (subject, who)
        before = self._last.get(thing, "-")
        self.transitions[f"{subject}: {before} > {what}"] += 1
        self._last[thing] = what
        self._is_closing |= (subject, what) == ("pool", "closing")
        if (state := _OF_EVENTS.get((subject, what))) is not None:
            self.mark(state)
        if subject == "worker":
            self._of_worker(event, before)
        elif subject == "session" and what == "opened":
            if event.key in self._opened:
                self.mark("session re-homed")
            self._opened.add(event.key)
        elif what == "resolved" and event.detail in _OF_OUTCOMES:
            self.mark(_OF_OUTCOMES[event.detail])

    def _of_worker(self, event: Event, before: str) -> None:
        if event.what == "ready":
            if self._failed_starts > 1:
                self.mark("crash loop backed off")
            self._failed_starts = 0
        elif event.what == "stopping":
            # Neither as one too many, which is told just before, nor with all the others.
            if not self._is_closing and self._last.get(("pool", 0)) != "shrinking":
                self.mark("worker recycled")
            if self._last.get(("pool", 0)) == "shrinking":
                del self._last["pool", 0]
        elif event.what == "gone":
            self._failed_starts += before == "starting"
            for reason, state in _OF_REASONS.items():
                if reason in event.detail:
                    self.mark(state)
