import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from poolproof.errors import HungError, HungTestError, UsageError, WaitTimeoutError
from poolproof.waiting import Event, EventStream, bounded, wait_for, wait_for_async

SOON = Event(at_ns=0, source="a pool", subject="worker", what="ready")
Wait = Callable[..., Any]


def in_a_loop(condition: Callable[[], Any], **how: Any) -> Any:
    return asyncio.run(wait_for_async(condition, **how))


@pytest.fixture(params=[wait_for, in_a_loop], ids=["sync", "async"])
def wait(request: pytest.FixtureRequest) -> Wait:
    found: Wait = request.param
    return found


class Scripted:
    """A source whose events come at chosen moments: when it is subscribed to, and at looks at a condition."""

    def __init__(self) -> None:
        self.tell: Callable[[object], object] = lambda it: None
        self.is_open = False

    def subscribe(self, callback: Callable[[object], object], /) -> Callable[[], None]:
        self.tell, self.is_open = callback, True

        def end() -> None:
            self.is_open = False

        return end


def test_what_holds_already_is_returned(wait: Wait) -> None:
    assert wait(lambda: "it holds", timeout=5) == "it holds"


def test_it_looks_again_after_each_event_and_not_before(wait: Wait) -> None:
    stream, looks = EventStream(), list[int]()

    def look() -> bool:
        looks.append(1)
        if len(looks) < 5:  # nothing else in the world would have it look again within an hour
            threading.Thread(target=stream.publish, args=(SOON,)).start()
        return len(looks) == 5

    assert wait(look, timeout=3600, on=stream)


def test_as_long_as_no_event_comes_it_looks_only_at_the_begin_and_at_the_end(wait: Wait) -> None:
    looks: list[int] = []
    with pytest.raises(WaitTimeoutError):
        wait(lambda: looks.append(1), timeout=0.1, on=EventStream())
    assert len(looks) == 2


def test_one_event_has_it_look_once_more(wait: Wait) -> None:
    stream, looks = EventStream(), list[int]()

    def look() -> None:
        looks.append(1)
        if len(looks) == 1:
            stream.publish(SOON)

    with pytest.raises(WaitTimeoutError):
        wait(look, timeout=0.1, on=stream)
    assert len(looks) == 3


def test_an_event_between_a_look_and_the_wait_is_not_lost(wait: Wait) -> None:
    source, looks = Scripted(), list[int]()

    def look() -> bool:
        looks.append(1)
        if len(looks) == 1:
            source.tell(SOON)  # after the state was read, and before the wait for the next event has begun
            return False
        return True

    assert wait(look, timeout=3600, on=source)


def test_an_event_before_the_first_look_is_not_lost(wait: Wait) -> None:
    class Eager(Scripted):
        def subscribe(self, callback: Callable[[object], object], /) -> Callable[[], None]:
            end = super().subscribe(callback)
            callback(SOON)
            return end

    assert wait(lambda: True, timeout=3600, on=Eager())


def test_without_events_it_looks_by_itself(wait: Wait) -> None:
    looks = iter([False, False, False, True])
    assert wait(lambda: next(looks), timeout=30)


def test_with_events_that_do_not_tell_all_it_may_look_in_between_as_well(wait: Wait) -> None:
    looks = iter([False, False, False, True])
    assert wait(lambda: next(looks), timeout=30, on=EventStream(), polls=True)


def test_it_subscribes_only_for_as_long_as_it_waits(wait: Wait) -> None:
    source = Scripted()
    wait(lambda: True, timeout=1, on=source)
    assert not source.is_open


def test_a_condition_that_raises_ends_the_wait_and_its_subscription(wait: Wait) -> None:
    source = Scripted()

    def fail() -> bool:
        raise KeyError("the condition's own")

    with pytest.raises(KeyError):
        wait(fail, timeout=5, on=source)
    assert not source.is_open


def test_what_does_not_come_is_told_with_the_last_look(wait: Wait) -> None:
    with pytest.raises(WaitTimeoutError) as caught:
        wait(lambda: 0, timeout=0.02, what="two of them", seen=lambda: "one worker")
    assert (caught.value.what, caught.value.timeout_s, caught.value.last) == ("two of them", 0.02, 0)
    assert str(caught.value) == (
        "waited 0.02 s for two of them: the last look saw 0; the state then: one worker\n"
        "no event was published meanwhile"
    )


def test_what_does_not_come_is_told_with_the_events_since_the_start(wait: Wait) -> None:
    stream = EventStream()
    stream.publish(Event(at_ns=0, source="p", subject="pool", what="before"))

    def look() -> None:
        stream.publish(SOON) if stream.count < 3 else None

    with pytest.raises(WaitTimeoutError) as caught:
        wait(look, timeout=0.05, on=stream)
    assert caught.value.events == (SOON, SOON)
    assert str(caught.value).endswith(f"events since the start:\n  {SOON}\n  {SOON}")


def test_a_time_out_is_a_timeout_error_as_others_know_it(wait: Wait) -> None:
    with pytest.raises(TimeoutError):
        wait(lambda: None, timeout=0.01)


def test_what_came_to_hold_without_any_event_is_refused_and_says_why(wait: Wait) -> None:
    looks = iter([False, True])
    with pytest.raises(WaitTimeoutError, match="it holds now, but no event told of it") as caught:
        wait(lambda: next(looks), timeout=0.02, on=EventStream())
    assert caught.value.last is True


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), None, "5"])
def test_a_time_out_that_is_no_time_is_refused(wait: Wait, timeout: Any) -> None:
    with pytest.raises(UsageError, match="expected a time above 0, in seconds"):
        wait(lambda: True, timeout=timeout)


def test_whatever_tells_of_nothing_is_refused(wait: Wait) -> None:
    with pytest.raises(UsageError, match="tells of nothing: expected something with subscribe"):
        wait(lambda: True, timeout=1, on=object())


class Virtual:
    """A clock that goes on by itself while it is waited upon, and only then."""

    is_virtual = True

    def __init__(self, until_s: float) -> None:
        self.now_s, self._until_s = 0.0, until_s

    def drive(self, condition: Callable[[], bool], timeout_s: float, /) -> bool:
        while not condition():
            if self.now_s >= timeout_s:
                return False
            self.now_s += 1
        return True


def test_under_a_virtual_clock_time_is_let_pass_and_no_real_time_does(wait: Wait) -> None:
    clock = Virtual(1000)
    assert wait(lambda: clock.now_s >= 500, timeout=1000, on=clock)
    assert clock.now_s == 500


def test_under_a_virtual_clock_what_does_not_come_is_told_as_well(wait: Wait) -> None:
    with pytest.raises(WaitTimeoutError, match="waited 1000 s for never: the last look saw False"):
        wait(lambda: False, timeout=1000, on=Virtual(1000), what="never")


# --- calls that may hang ----------------------------------------------------------------------------------------


def test_a_call_within_its_bound_returns_what_it_returned() -> None:
    assert bounded(lambda: 7, 30, "a call") == 7


def test_a_call_within_its_bound_raises_what_it_raised() -> None:
    def fail() -> None:
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        bounded(fail, 30, "a call")


def test_a_call_that_hangs_is_given_up_with_the_place_where_it_is() -> None:
    released = threading.Event()
    with pytest.raises(HungError, match=r"a call hung for 0\.05 s and was given up; it was in") as caught:
        bounded(released.wait, 0.05, "a call")
    released.set()
    assert caught.value.stack[0].endswith(" in wait")


def test_an_interrupt_waits_until_a_call_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    is_over, done, join = threading.Event(), list[str](), threading.Thread.join

    def interrupted_once(self: threading.Thread, timeout: float | None = None) -> None:
        if not is_over.is_set():
            is_over.set()
            raise KeyboardInterrupt
        join(self, timeout)

    def call() -> None:
        is_over.wait()
        done.append("done")

    monkeypatch.setattr(threading.Thread, "join", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        bounded(call, 30, "a call")
    assert done == ["done"]


def test_an_interrupt_is_kept_for_who_has_more_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    is_over, held, join = threading.Event(), list[BaseException](), threading.Thread.join

    def ended_once(self: threading.Thread, timeout: float | None = None) -> None:
        if not is_over.is_set():
            is_over.set()
            raise HungTestError("a test", 2.0, "its stacks")
        join(self, timeout)

    monkeypatch.setattr(threading.Thread, "join", ended_once)
    assert bounded(is_over.wait, 30, "a call", held=held)
    assert [type(it) for it in held] == [HungTestError]
