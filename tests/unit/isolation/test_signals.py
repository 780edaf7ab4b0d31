"""Mode `signal_routing`: what is published is heard, and what the system does with signals is as it was."""

import faulthandler
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from poolproof.errors import IsolationError, UsageError
from poolproof.isolation import Scene, disposition, isolated, scene_of
from poolproof.isolation.signals import Routing, subscribe_from_the_beginning
from poolproof.rig import setup_isolated_pool, wait_for_pool_ready
from poolproof.waiting import Event, EventStream, translated
from sessionpool.events import Event as PoolEvent

READY = Event(at_ns=1, source="pool", subject="worker", what="ready", who=1)


@pytest.fixture
def scene() -> Scene:
    return scene_of("t", seed=1)


@pytest.fixture
def routing(scene: Scene) -> Iterator[Routing]:
    with isolated("signal_routing", scene=scene) as routing:
        yield routing


@contextmanager
def left(scene: Scene, pattern: str) -> Iterator[Routing]:
    """A block of this mode that leaves something behind."""
    with pytest.raises(IsolationError, match=pattern), isolated("signal_routing", scene=scene) as routing:
        yield routing


class Source:
    """Publishes what it is told to."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.callbacks: list[Callable[[Any], object]] = []

    def subscribe(self, callback: Callable[..., object], /) -> Callable[[], None]:
        self.callbacks.append(callback)
        return lambda: self.callbacks.remove(callback)

    def publish(self, event: object) -> None:
        for callback in self.callbacks:
            callback(event)


# --- events ---------------------------------------------------------------------------------------------------------


def test_an_attached_source_is_heard(routing: Routing) -> None:
    source = EventStream()
    routing.attach(source)
    source.publish(READY)
    assert routing.events.since() == (READY,)


def test_subscribers_are_told(routing: Routing) -> None:
    heard: list[Event] = []
    routing.events.subscribe(heard.append)
    routing.events.publish(READY)
    assert heard == [READY]


def test_a_source_that_is_detached_is_not_heard_any_more(routing: Routing) -> None:
    source = Source()
    detach = routing.attach(source)
    (callback,) = source.callbacks
    detach()
    detach()
    callback(READY)  # as one that was on its way
    assert source.callbacks == []
    assert routing.events.count == 0


def test_a_source_that_was_detached_can_be_attached_again(routing: Routing) -> None:
    source = Source()
    routing.attach(source)()
    routing.attach(source)
    source.publish(READY)
    assert routing.events.count == 1


def test_a_source_that_is_attached_twice_is_heard_once(routing: Routing) -> None:
    source = Source()
    assert routing.attach(source) is routing.attach(source)
    source.publish(READY)
    assert routing.events.count == 1


def test_every_source_is_detached_at_the_end(scene: Scene) -> None:
    sources = [Source(), Source()]
    with isolated("signal_routing", scene=scene) as routing:
        for source in sources:
            routing.attach(source)
    assert [source.callbacks for source in sources] == [[], []]


def test_a_source_of_the_inner_mode_is_heard_by_the_outer_one_too_until_it_is_detached(scene: Scene) -> None:
    source = Source()
    with isolated("signal_routing", scene=scene) as outer:
        with isolated("signal_routing", scene=scene) as inner:
            inner.attach(source)
            source.publish(READY)
            assert inner.events.count == outer.events.count == 1
        assert source.callbacks == []


def test_a_source_of_both_modes_is_heard_by_each_once(scene: Scene) -> None:
    source = Source()
    with isolated("signal_routing", scene=scene) as outer:
        outer.attach(source)
        with isolated("signal_routing", scene=scene) as inner:
            inner.attach(source)
            source.publish(READY)
            assert inner.events.count == outer.events.count == 1
        source.publish(READY)
        assert outer.events.count == 2


def test_a_source_that_cannot_be_detached_is_told_and_the_others_are(scene: Scene) -> None:
    class Bad(Source):
        def subscribe(self, callback: Callable[..., object], /) -> Callable[[], None]:
            def fail() -> None:
                raise ValueError("no")

            return fail

    good = Source()
    with left(scene, "the bad one could not be detached: ValueError: no") as routing:
        routing.attach(good)
        routing.attach(Bad("the bad one"))
    assert good.callbacks == []


@pytest.mark.parametrize("bad", [None, 3, object()])
def test_what_publishes_nothing_cannot_be_attached(routing: Routing, bad: Any) -> None:
    with pytest.raises(UsageError, match=r"expected something with subscribe\(callback\)"):
        routing.attach(bad)


def test_a_stream_cannot_be_attached_to_itself(routing: Routing) -> None:
    with pytest.raises(UsageError, match="to itself"):
        routing.attach(routing.events)


def test_a_source_that_cannot_be_left_again_is_refused_and_not_heard(routing: Routing) -> None:
    class Bad(Source):
        def subscribe(self, callback: Callable[..., object], /) -> Any:
            super().subscribe(callback)

    source = Bad()
    with pytest.raises(UsageError, match="nothing to end it"):
        routing.attach(source)
    source.publish(READY)
    assert routing.events.count == 0


def test_a_subscriber_that_raised_is_told(scene: Scene) -> None:
    def fail(event: Event) -> None:
        raise ValueError("the subscriber's own")

    with left(scene, r"a subscriber raised ValueError: the subscriber's own \(.*test_signals.py:") as routing:
        routing.events.subscribe(fail)
        routing.events.publish(READY)


def test_an_event_that_cannot_be_translated_is_told_and_does_not_reach_its_publisher(scene: Scene) -> None:
    class Bad:
        at_s = "soon"

    source = Source("the bad one")
    with left(scene, "an event of the bad one could not be translated: ValueError") as routing:
        routing.attach(source)
        source.publish(Bad())


@pytest.mark.parametrize(
    ("given", "who"),
    [
        ({"subject": "worker", "worker": 3, "key": "k", "operation": 4}, 3),
        ({"subject": "session", "worker": 3, "key": "k", "operation": 4}, "k"),
        ({"subject": "operation", "worker": 3, "key": "k", "operation": 4}, 4),
        ({"subject": "operation", "worker": 3}, None),
        ({"subject": "pool"}, None),
    ],
)
def test_an_event_of_sessionpool_tells_who_it_is_about_by_its_subject(given: dict[str, Any], who: object) -> None:
    told = translated(PoolEvent(at_s=1.5, what="happened", pid=7, detail="why", **given), "mine")
    assert told == Event(
        at_ns=1_500_000_000, source="mine", subject=given["subject"], what="happened", who=who, pid=7, detail="why"
    )


@dataclass
class Foreign:
    """An event of a kind that nobody knows."""

    subject: str = "queue"
    what: str = "full"
    at_ns: int | None = None
    key: str | None = None
    who: str | None = None


def test_an_event_without_a_time_is_of_now() -> None:
    before = translated(Foreign(), "x").at_ns
    assert before <= translated(Foreign(), "x").at_ns


@pytest.mark.parametrize(
    ("foreign", "told"),
    [
        (Foreign(at_ns=5), ("queue", "full", None)),
        (Foreign(at_ns=5, key="k"), ("queue", "full", "k")),
        (Foreign(at_ns=5, key="k", who="w"), ("queue", "full", "w")),
        ("grown", ("pool", "grown", None)),
        (Foreign(at_ns=5, subject="worker", who="w"), ("worker", "full", "w")),
    ],
)
def test_a_foreign_event_is_translated_by_what_it_has(foreign: object, told: tuple[object, ...]) -> None:
    event = translated(foreign, "x")
    assert (event.subject, event.what, event.who) == told


@pytest.mark.parametrize(("given", "name", "told"), [("", "", "Source"), ("p1", "", "p1"), ("p1", "p2", "p2")])
def test_an_event_that_does_not_tell_its_source_gets_the_name_of_what_was_attached(
    routing: Routing, given: str, name: str, told: str
) -> None:
    source = Source(given)
    routing.attach(source, name)
    source.publish(Foreign())
    assert [event.source for event in routing.events.since()] == [told]


def test_a_pool_that_the_kit_sets_up_is_heard_from_its_first_event_on_by_every_mode(scene: Scene) -> None:
    with (
        isolated("signal_routing", scene=scene) as outer,
        isolated("signal_routing", scene=scene) as inner,
        setup_isolated_pool(layer=1) as rig,
    ):
        wait_for_pool_ready(rig, timeout=10)
        assert rig.events.count > 0
        assert inner.events.since() == outer.events.since() == rig.events.since()


def test_a_pool_that_is_set_up_afterwards_is_not_heard(scene: Scene) -> None:
    with isolated("signal_routing", scene=scene) as routing:
        pass
    with setup_isolated_pool(layer=1) as rig:
        wait_for_pool_ready(rig, timeout=10)
    assert routing.events.count == 0


def test_what_a_stream_told_before_and_tells_while_it_is_subscribed_to_is_told_once_and_in_order() -> None:
    stream, heard = EventStream(), list[Event]()
    first, second, third, fourth = (replace(READY, who=who) for who in range(4))
    stream.publish(first)
    subscribe = stream.subscribe

    def subscribe_late(callback: Callable[[Event], object], /) -> Callable[[], None]:
        stream.publish(second)  # after a look at what was, had there been one before
        unsubscribe = subscribe(callback)
        stream.publish(third)  # before a look at what was, as there is one after
        return unsubscribe

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "subscribe", subscribe_late)
        unsubscribe = subscribe_from_the_beginning(stream, heard.append)
    stream.publish(fourth)
    unsubscribe()
    stream.publish(first)
    assert heard == [first, second, third, fourth]


def test_a_callback_that_has_a_stream_tell_more_is_told_that_afterwards() -> None:
    stream, heard = EventStream(), list[Event]()
    first, second, third = (replace(READY, who=who) for who in range(3))
    stream.extend((first, second))

    def hear(event: Event) -> None:
        heard.append(event)
        if event is first:
            stream.publish(third)

    subscribe_from_the_beginning(stream, hear)
    assert heard == [first, second, third]


def test_what_a_stream_has_forgotten_is_not_waited_for() -> None:
    stream, heard = EventStream(), list[Event]()
    stream.extend([READY] * 10_005)
    subscribe_from_the_beginning(stream, heard.append)
    stream.publish(READY)
    assert len(heard) == 10_001


# --- what the system does with signals ------------------------------------------------------------------------------


def test_it_is_refused_outside_the_main_thread(scene: Scene) -> None:
    refused: list[BaseException] = []

    def enter() -> None:
        try:
            with isolated("signal_routing", scene=scene):
                pass
        except UsageError as error:
            refused.append(error)

    thread = threading.Thread(target=enter, name="another")
    thread.start()
    thread.join()
    (error,) = refused
    assert "in the thread 'another'" in str(error)
    assert "the main thread" in str(error)


def handler(number: int, frame: object) -> None:
    """A handler of a test's."""


@pytest.fixture
def usr1() -> Iterator[None]:
    """SIGUSR1 as it was, whatever becomes of it."""
    before = signal.getsignal(signal.SIGUSR1)
    yield
    faulthandler.unregister(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGRTMAX - 2])
def test_a_handler_of_the_test_is_gone(scene: Scene, number: int) -> None:
    before = signal.getsignal(number)
    with isolated("signal_routing", scene=scene):
        signal.signal(number, handler)
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures("usr1")
def test_a_handler_that_was_there_before_is_back_and_works(scene: Scene) -> None:
    heard: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    with isolated("signal_routing", scene=scene):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.raise_signal(signal.SIGUSR1)
    assert heard == [signal.SIGUSR1]


@pytest.mark.usefixtures("usr1")
def test_how_a_handler_interrupts_is_restored_which_python_does_not_tell(scene: Scene) -> None:
    signal.signal(signal.SIGUSR1, handler)
    before = disposition._action(signal.SIGUSR1).told()
    with isolated("signal_routing", scene=scene):
        signal.siginterrupt(signal.SIGUSR1, False)
        assert disposition._action(signal.SIGUSR1).told() != before
    assert disposition._action(signal.SIGUSR1).told() == before


@pytest.mark.usefixtures("usr1")
def test_a_signal_that_the_test_registered_with_faulthandler_is_unregistered(scene: Scene, tmp_path: Path) -> None:
    before = disposition._action(signal.SIGUSR1).told()
    with (tmp_path / "dump").open("w") as dump, isolated("signal_routing", scene=scene):
        faulthandler.register(signal.SIGUSR1, dump)
    assert disposition._action(signal.SIGUSR1).told() == before
    assert not disposition._unregister(signal.SIGUSR1)


@pytest.mark.usefixtures("usr1")
def test_a_signal_that_was_registered_with_faulthandler_before_still_works(scene: Scene, tmp_path: Path) -> None:
    with (tmp_path / "dump").open("w") as dump:
        faulthandler.register(signal.SIGUSR1, dump)
        with isolated("signal_routing", scene=scene):
            signal.signal(signal.SIGUSR1, handler)
        signal.raise_signal(signal.SIGUSR1)
        faulthandler.unregister(signal.SIGUSR1)
    assert "most recent call first" in (tmp_path / "dump").read_text()


@pytest.mark.usefixtures("usr1")
def test_a_handler_of_c_code_that_was_taken_away_is_told(scene: Scene, tmp_path: Path) -> None:
    with (tmp_path / "dump").open("w") as dump:
        faulthandler.register(signal.SIGUSR1, dump)
        with left(scene, "the handler of SIGUSR1, which is C code, was taken away"):
            faulthandler.unregister(signal.SIGUSR1)


@pytest.mark.usefixtures("usr1")
def test_a_registration_with_faulthandler_survives_a_change_of_how_its_signal_interrupts(
    scene: Scene, tmp_path: Path
) -> None:
    with (tmp_path / "dump").open("w") as dump:
        faulthandler.register(signal.SIGUSR1, dump)
        with isolated("signal_routing", scene=scene):
            signal.siginterrupt(signal.SIGUSR1, True)
        signal.raise_signal(signal.SIGUSR1)
        assert disposition._unregister(signal.SIGUSR1)
    assert "most recent call first" in (tmp_path / "dump").read_text()


def test_a_crashs_signal_that_c_code_ignores_is_as_it_was(crash: int) -> None:
    faulthandler.enable(crash)
    before = disposition._action(signal.SIGFPE)
    with isolated("signal_routing", scene=with_fd(None)):
        disposition._set_action(signal.SIGFPE, disposition._Action(handler=1))
    assert disposition._action(signal.SIGFPE).told() == before.told()


def test_a_handler_that_cannot_be_set_is_told_and_the_others_are(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real = signal.getsignal(signal.SIGUSR2), signal.signal

    def refuse(number: int, handler: Any) -> object:
        if number == signal.SIGUSR1:
            raise OSError("no")
        return real(number, handler)

    with left(scene, "the handler of SIGUSR1 could not be restored: no"):
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, handler)
        monkeypatch.setattr(signal, "signal", refuse)
    monkeypatch.undo()
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    assert signal.getsignal(signal.SIGUSR2) == before


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    yield ends
    signal.set_wakeup_fd(-1)
    for end in ends:
        try:
            os.close(end)
        except OSError:  # the test has closed it
            continue


def test_a_wake_up_descriptor_of_the_test_is_gone(scene: Scene, pipe: tuple[int, int]) -> None:
    with isolated("signal_routing", scene=scene):
        signal.set_wakeup_fd(pipe[1])
    assert signal.set_wakeup_fd(-1) == -1


def test_a_wake_up_descriptor_that_was_set_before_stays_and_is_back(scene: Scene, pipe: tuple[int, int]) -> None:
    signal.set_wakeup_fd(pipe[1])
    with isolated("signal_routing", scene=scene):
        assert signal.set_wakeup_fd(-1) == pipe[1]
    assert signal.set_wakeup_fd(-1) == pipe[1]


def test_a_wake_up_descriptor_that_the_test_closed_is_told_and_none_is_set(scene: Scene, pipe: tuple[int, int]) -> None:
    signal.set_wakeup_fd(pipe[1])
    with (
        pytest.raises(IsolationError, match=f"the wake-up descriptor {pipe[1]} could not be restored"),
        isolated("signal_routing", scene=scene),
    ):
        os.close(pipe[1])
    assert signal.set_wakeup_fd(-1) == -1


@pytest.fixture
def mask() -> Iterator[set[int]]:
    """The mask of this thread, as it is before the test and after it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield set(before)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_signal_that_the_test_blocked_is_not_blocked_any_more(scene: Scene, mask: set[int]) -> None:
    with isolated("signal_routing", scene=scene):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask


def test_a_signal_that_was_blocked_before_is_blocked_again(scene: Scene, mask: set[int]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    with isolated("signal_routing", scene=scene):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask | {signal.SIGUSR2}


@pytest.mark.usefixtures("mask")
def test_a_signal_that_waits_behind_the_mask_does_not_end_the_process_but_is_told(scene: Scene) -> None:
    with left(scene, "SIGUSR2 was sent while it was blocked; it was thrown away"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        signal.raise_signal(signal.SIGUSR2)  # at this thread: another one does not block it


@pytest.mark.usefixtures("mask")
def test_a_signal_that_waits_behind_the_mask_reaches_the_tests_own_handler(scene: Scene) -> None:
    heard: list[int] = []
    with isolated("signal_routing", scene=scene):
        signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        signal.raise_signal(signal.SIGUSR2)  # at this thread: another one does not block it
    assert heard == [signal.SIGUSR2]


TIMERS = [signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF]
LONG_S = 1000.0


@pytest.mark.parametrize("timer", TIMERS)
def test_a_timer_of_the_test_is_off(scene: Scene, timer: int) -> None:
    with isolated("signal_routing", scene=scene):
        signal.setitimer(timer, LONG_S)
    assert signal.getitimer(timer) == (0, 0)


@pytest.mark.parametrize("timer", TIMERS)
def test_a_timer_that_ran_before_runs_on(scene: Scene, timer: int) -> None:
    signal.setitimer(timer, LONG_S)
    try:
        with isolated("signal_routing", scene=scene):
            pass
        assert signal.getitimer(timer)[0] > 0
    finally:
        signal.setitimer(timer, 0)


@pytest.fixture
def crash(tmp_path: Path) -> Iterator[int]:
    """A file that faulthandler writes to, as pytest's does; its state is as it was, afterwards."""
    was_enabled = faulthandler.is_enabled()
    with (tmp_path / "crash").open("w") as file:
        yield file.fileno()
    # Where pytest had it write, it had for itself; the next crash is seen on standard error, as before.
    faulthandler.disable()
    if was_enabled:
        faulthandler.enable(2)


def with_fd(fd: int | None) -> Scene:
    bare = scene_of("t", seed=1)
    return Scene(test=bare.test, seed=bare.seed, worker=bare.worker, config=bare.config, faulthandler_fd=fd)


def test_a_faulthandler_that_the_test_disabled_is_enabled_and_writes_where_it_did(crash: int) -> None:
    faulthandler.enable(crash)
    with isolated("signal_routing", scene=with_fd(crash)):
        faulthandler.disable()
    assert faulthandler.is_enabled()


@pytest.mark.usefixtures("crash")
def test_a_faulthandler_that_the_test_enabled_is_disabled() -> None:
    faulthandler.disable()
    with isolated("signal_routing", scene=with_fd(None)):
        faulthandler.enable(2)
    assert not faulthandler.is_enabled()


def test_a_faulthandler_that_the_test_had_write_elsewhere_writes_where_it_did(
    crash: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulthandler.enable(crash)
    enabled: list[object] = []
    with isolated("signal_routing", scene=with_fd(crash)):
        faulthandler.enable(2)
        monkeypatch.setattr(faulthandler, "enable", enabled.append)
    assert enabled == [crash]


@pytest.mark.usefixtures("crash")
def test_a_faulthandler_that_nobody_knows_of_is_enabled_on_standard_error() -> None:
    faulthandler.enable(2)
    with isolated("signal_routing", scene=with_fd(None)):
        faulthandler.disable()
    assert faulthandler.is_enabled()


def test_a_closed_file_of_faulthandler_is_told(crash: int) -> None:
    faulthandler.enable(crash)
    gone = os.dup(crash)
    with (
        pytest.raises(IsolationError, match=f"faulthandler wrote to descriptor {gone}, which can't be restored"),
        isolated("signal_routing", scene=with_fd(gone)),
    ):
        os.close(gone)


@pytest.mark.usefixtures("usr1")
def test_one_within_another_puts_back_what_it_found(scene: Scene) -> None:
    with isolated("signal_routing", scene=scene):
        signal.signal(signal.SIGUSR1, handler)
        with isolated("signal_routing", scene=scene):
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGUSR1) is handler


def test_what_fails_while_it_is_remembered_names_the_stage(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(signal, "set_wakeup_fd", fail)
    with (
        pytest.raises(IsolationError, match="at the stage 'wake-up descriptor': OSError: no"),
        isolated("signal_routing", scene=scene),
    ):
        pytest.fail("it was entered")
