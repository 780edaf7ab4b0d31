"""A stream of events: what was published, in its order, and who is to be told."""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

_KEPT: Final = 10_000
"""How many events a stream remembers; how many it has forgotten, it tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One transition that somebody published.

    Attributes:
        at_ns: when, on the clock of its source: CLOCK_MONOTONIC, or a virtual one.
        source: the name of the pool, or of the supervisor.
        subject: whose: `worker`, `session`, `operation`, `pool` or `process`.
        what: what became of it: `ready`, `gone`, `opened`, `resolved`, …, in the words of its source.
        who: which of them: a worker's number, a session's key, an operation's number; None where there is one only.
        pid: the process that it is about, where there is one.
        detail: why, or with what outcome.
    """

    at_ns: int
    source: str
    subject: str
    what: str
    who: Hashable = None
    pid: int | None = None
    detail: str = ""

    def __str__(self) -> str:
        who = "" if self.who is None else f" {self.who}"
        pid = "" if self.pid is None else f" (pid {self.pid})"
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.at_ns / 1e9:.4f} {self.source}: {self.subject}{who}{pid} {self.what}{detail}"


@runtime_checkable
class Publishes(Protocol):
    """Whatever tells of its transitions: an `EventStream`, a rig, a `sessionpool.SessionPool`."""

    def subscribe(self, callback: Callable[..., object], /) -> Callable[[], None]:
        """Have the callback told of every transition from now on; returns what ends that."""


class EventStream:
    """Events in the order in which they were published, and whoever subscribed to them.

    One lock guards all of it. A publisher appends under the lock; the first one that finds nobody delivering delivers,
    outside the lock, until the queue is empty: so callbacks see every event, in order, one at a time, and may use the
    stream and the pool. Without the one deliverer, two publishers could tell of two events in the wrong order.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=_KEPT)
        self._count = 0
        self._queue: deque[tuple[Event, tuple[Callable[[Event], object], ...]]] = deque()
        self._is_delivering = False
        self._subscribers: dict[int, Callable[[Event], object]] = {}
        self._next = 0
        self._raised: list[BaseException] = []

    @property
    def count(self) -> int:
        """How many were published: a mark for `since`."""
        return self._count

    @property
    def raised(self) -> tuple[BaseException, ...]:
        """What callbacks raised: it must not reach a publisher, nor be lost."""
        return tuple(self._raised)

    def publish(self, event: Event) -> None:
        """Append an event and tell whoever subscribed before."""
        self.extend((event,))

    def extend(self, events: Iterable[Event]) -> None:
        """Append events and tell of them, none of another publisher's between them."""
        with self._lock:
            subscribers = tuple(self._subscribers.values())
            for event in events:
                self._events.append(event)
                self._count += 1
                self._queue.append((event, subscribers))
            if self._is_delivering:
                return  # who delivers looks under this lock whether there is more, before it stops
            self._is_delivering = True
        self._deliver()

    def _deliver(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._is_delivering = False
                    return
                event, subscribers = self._queue.popleft()
            for callback in subscribers:
                try:
                    callback(event)
                except Exception as error:  # a subscriber's own
                    self._raised.append(error)

    def subscribe(self, callback: Callable[[Event], object], /) -> Callable[[], None]:
        """Have every event told from now on, in order, by whichever thread publishes; returns what ends it."""
        with self._lock:
            key, self._next = self._next, self._next + 1
            self._subscribers[key] = callback

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers.pop(key, None)

        return unsubscribe

    def since(self, mark: int = 0) -> tuple[Event, ...]:
        """The events after a mark (`count` as it was then), as far as they are remembered."""
        with self._lock:
            kept = len(self._events)
            skip = max(0, mark - (self._count - kept))
            return tuple(self._events)[skip:]

    @property
    def forgotten(self) -> int:
        """How many of the first events are not remembered any more."""
        return self._count - len(self._events)


_WHO: Final = {"worker": "worker", "session": "key", "operation": "operation", "process": "worker"}


def translated(event: Any, source: str) -> Event:
    """An event of a foreign kind as one of the kit's, by the attributes that it has.

    Args:
        event: `at_ns` or `at_s` tell when (now, without them); `subject`, `what`, `pid` and `detail` are taken as they
            are; who it is about tells the attribute that fits the subject (`worker`, `key`, `operation`), or `who`.
        source: its name, for an event that does not tell it.
    """
    if isinstance(event, Event):
        return event
    at_ns = getattr(event, "at_ns", None)
    if at_ns is None:
        at_s = getattr(event, "at_s", None)
        at_ns = time.monotonic_ns() if at_s is None else round(float(at_s) * 1e9)
    subject = str(getattr(event, "subject", "") or "pool")
    who = getattr(event, "who", None)
    if who is None and subject in _WHO:
        who = getattr(event, _WHO[subject], None)
    elif who is None and subject != "pool":
        who = next((it for name in ("key", "operation", "worker") if (it := getattr(event, name, None))), None)
    if who == 0 and subject in ("worker", "operation", "process"):
        who = None  # a number that stands for none
    return Event(
        at_ns=int(at_ns),
        source=str(getattr(event, "source", "") or source),
        subject=subject,
        what=str(getattr(event, "what", None) or event),
        who=who,
        pid=getattr(event, "pid", None),
        detail=str(getattr(event, "detail", "") or ""),
    )
