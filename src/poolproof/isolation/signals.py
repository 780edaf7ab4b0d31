"""Mode `signal_routing`: a private stream of what a test's pools publish, and the system's signals as they were."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from poolproof.errors import UsageError
from poolproof.isolation import disposition
from poolproof.isolation.scene import Scene
from poolproof.rig import Rig, hear_of_rigs
from poolproof.waiting import Event, EventStream, Publishes, translated

_BOUND_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be asked of this mode: nothing."""

    def problems(self) -> list[str]:
        """Everything in them that makes no sense."""
        return []


class Routing:
    """The events of one test.

    Every pool that the kit sets up meanwhile is attached by itself; others are by `attach`.

    Attributes:
        events: the stream of all that the attached sources publish; every rig of the test is one.
    """

    def __init__(self, around: "Routing | None" = None) -> None:
        self.events = EventStream()
        self._around = around
        self._lock = threading.Lock()
        self._attached: dict[int, tuple[Publishes, Callable[[], None]]] = {}
        self._untold: list[str] = []

    def attach(self, source: Publishes, name: str = "") -> Callable[[], None]:
        """Have the stream tell of everything that a source publishes from now on; returns what ends that.

        A source that is attached already stays so, once. The mode around this one hears it too.

        Args:
            source: a pool, a rig, a stream: anything with `subscribe(callback)`. Events of a foreign kind are
                translated; see `translated`.
            name: of the source, for those events that do not tell it; else its own `name`, or its type's.

        Raises:
            UsageError: it has no `subscribe`, or one that returns nothing to end it with; or it is this very stream.
        """
        if not isinstance(source, Publishes):
            raise UsageError(f"{source!r} can't be attached: expected something with subscribe(callback)")
        if source is self.events:
            raise UsageError("the stream can't be attached to itself: it would tell itself each event for ever")
        return self._attach(source, name or _name_of(source), source.subscribe)

    def hear(self, rig: Rig) -> None:
        """Attach a rig, and tell also what its pool published before, while it was opened."""
        self._attach(rig, rig.name, partial(subscribe_from_the_beginning, rig.events))

    def _attach(
        self, source: Publishes, called: str, subscribe: Callable[[Callable[[Any], None]], object]
    ) -> Callable[[], None]:
        with self._lock:
            if id(source) in self._attached:
                return self._attached[id(source)][1]
        is_attached = True

        def tell(event: Any) -> None:
            if not is_attached:  # an event on its way while it was detached
                return
            try:
                told = translated(event, called)
            except Exception as error:  # it must not reach the publisher, nor be lost
                self._untold.append(f"an event of {called} could not be translated: {type(error).__name__}: {error}")
            else:
                self.events.publish(told)

        unsubscribe = subscribe(tell)
        if not callable(unsubscribe):
            is_attached = False
            raise UsageError(f"{called} can't be attached: its subscribe() returned {unsubscribe!r}, nothing to end it")

        around = self._around.attach(source, called) if self._around and not self._around.hears(source) else None

        def detach() -> None:
            nonlocal is_attached
            is_attached = False
            with self._lock:
                known = self._attached.pop(id(source), None)
            if known is None:
                return  # it was before
            unsubscribe()
            if around is not None:
                around()

        with self._lock:
            # The source itself is kept too: while it is, no other object can have its id.
            self._attached[id(source)] = (source, detach)
        return detach

    def hears(self, source: object) -> bool:
        """Whether a source is attached."""
        with self._lock:
            return id(source) in self._attached

    def detach_all(self) -> list[str]:
        """End every attachment; what went wrong with it."""
        problems = []
        with self._lock:
            attached = list(self._attached.values())
        for source, detach in reversed(attached):
            try:
                detach()
            except Exception as error:
                problems.append(f"{_name_of(source)} could not be detached: {type(error).__name__}: {error}")
        return problems

    def complaints(self) -> list[str]:
        """What was lost on the way: events that could not be translated, callbacks that raised."""
        raised = [f"a subscriber raised {type(error).__name__}: {error}{_where(error)}" for error in self.events.raised]
        return [*self._untold, *raised]


def enter(scene: Scene, options: Options) -> Routing:
    """Set the mode up.

    Raises:
        UsageError: this is not the main thread, where alone signal handlers can be set.
    """
    if threading.current_thread() is not threading.main_thread():
        raise UsageError(
            f"signal_routing was entered in the thread {threading.current_thread().name!r}: handlers of signals can be "
            "put back in the main thread alone, so enter it there"
        )
    for name, keep in disposition.KEPT:
        with scene.stage(name):
            scene.teardown.push(f"restoring the {name}", keep(scene.faulthandler_fd))
    around = scene.outer.get("signal_routing")
    routing = Routing(around if isinstance(around, Routing) else None)
    scene.teardown.push("asking subscribers", routing.complaints)
    scene.teardown.push("hearing of no more pools", hear_of_rigs(routing.hear))
    scene.teardown.push("detaching sources", routing.detach_all, bound_s=_BOUND_S)
    return routing


def subscribe_from_the_beginning(stream: EventStream, callback: Callable[[Event], object]) -> Callable[[], None]:
    """Have all events of a stream told in their order, those before this moment too; returns what ends that."""
    lock = threading.Lock()
    queue: deque[Event] = deque()
    told, is_telling = 0, False

    # What a subscriber is called with only says that there is more; what there is, the stream has: so none is told
    # twice, and none is lost between the look at what was and the subscription. Who finds another one telling leaves
    # it to that one, so that a callback may use the pool, and whoever publishes waits for nobody.
    def pull(_: object = None) -> None:
        nonlocal told, is_telling
        with lock:
            told = max(told, stream.forgotten)
            events = stream.since(told)
            told += len(events)
            queue.extend(events)
            if is_telling:
                return
            is_telling = True
        while True:
            with lock:
                if not queue:
                    is_telling = False
                    return
                event = queue.popleft()
            callback(event)

    unsubscribe = stream.subscribe(pull)
    pull()
    return unsubscribe


def _name_of(source: object) -> str:
    with contextlib.suppress(Exception):  # a property of its own
        name = getattr(source, "name", None)
        if isinstance(name, str) and name:
            return name
    return type(source).__name__


def _where(error: BaseException) -> str:
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    if innermost is None:
        return ""
    return f" ({innermost.tb_frame.f_code.co_filename}:{innermost.tb_lineno})"
