"""Steps are undone in reverse; none is skipped, none is waited for longer than its bound."""

import threading
from collections.abc import Callable

import pytest

from poolproof.isolation import Teardown

SHORT_S = 0.05


@pytest.fixture
def done() -> list[str]:
    return []


def step(done: list[str], name: str, *told: str) -> Callable[[], list[str]]:
    def undo() -> list[str]:
        done.append(name)
        return list(told)

    return undo


@pytest.mark.parametrize("bound_s", [0.0, 5.0])
def test_steps_run_in_reverse(done: list[str], bound_s: float) -> None:
    teardown = Teardown()
    for name in ("first", "second", "third"):
        teardown.push(name, step(done, name), bound_s=bound_s)
    assert teardown.run() == []
    assert done == ["third", "second", "first"]


def test_what_steps_tell_is_told_in_their_order(done: list[str]) -> None:
    teardown = Teardown()
    teardown.push("first", step(done, "first", "a", "b"))
    teardown.push("second", step(done, "second", "c"), bound_s=5)
    assert teardown.run() == ["c", "a", "b"]


def test_a_single_text_is_one_problem() -> None:
    teardown = Teardown()
    teardown.push("it", lambda: "left")
    assert teardown.run() == ["left"]


@pytest.mark.parametrize("bound_s", [0.0, 5.0])
@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), pytest.fail.Exception("no")])
def test_a_step_that_fails_does_not_skip_the_next(done: list[str], error: BaseException, bound_s: float) -> None:
    def fail() -> None:
        raise error

    teardown = Teardown()
    teardown.push("first", step(done, "first"))
    teardown.push("the bad one", fail, bound_s=bound_s)
    (told,) = teardown.run()
    assert done == ["first"]
    assert told.startswith(f"the bad one failed: {type(error).__name__}: {error} (")
    assert __file__ in told


def test_a_step_that_hangs_is_given_up_with_its_stack_and_later_ones_run(done: list[str]) -> None:
    never = threading.Event()

    def hang_here() -> None:
        never.wait()

    teardown = Teardown()
    teardown.push("first", step(done, "first"))
    teardown.push("the bad one", hang_here, bound_s=SHORT_S)
    try:
        (told,) = teardown.run()
    finally:
        never.set()
    assert done == ["first"]
    assert told.startswith(f"the bad one hung for {SHORT_S:g} s and was given up; it was in\n")
    assert f"{__file__}:" in told
    assert "in hang_here" in told


def test_an_interrupt_waits_until_every_step_was_carried_out(done: list[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    teardown = Teardown()
    teardown.push("first", step(done, "first", "left"))
    teardown.push("the interrupted one", interrupted)
    with pytest.raises(KeyboardInterrupt) as raised:
        teardown.run()
    assert done == ["first"]
    assert "the interrupted one was interrupted" in raised.value.__notes__[0]
    assert "left" in raised.value.__notes__[0]


def test_an_interrupt_while_a_step_is_waited_for_does_not_start_the_next_beside_it(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = threading.Event()
    joined: list[float | None] = []
    join = threading.Thread.join

    def interrupted_once(self: threading.Thread, timeout: float | None = None) -> None:
        joined.append(timeout)
        if len(joined) == 1:
            raise KeyboardInterrupt
        is_over.set()
        join(self, timeout)

    def slow() -> None:
        is_over.wait()
        done.append("slow")

    teardown = Teardown()
    teardown.push("first", step(done, "first"))
    teardown.push("slow", slow, bound_s=5)
    monkeypatch.setattr(threading.Thread, "join", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        teardown.run()
    assert done == ["slow", "first"]


def test_a_step_without_a_bound_runs_on_the_same_thread() -> None:
    threads: list[threading.Thread] = []
    teardown = Teardown()
    teardown.push("it", lambda: threads.append(threading.current_thread()))
    teardown.run()
    assert threads == [threading.current_thread()]


def test_a_step_runs_without_its_bound_where_no_thread_can_be_started(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    teardown = Teardown()
    teardown.push("it", step(done, "it", "left"), bound_s=5)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert teardown.run() == ["left"]


def test_a_step_that_another_one_pushes_runs_too(done: list[str]) -> None:
    teardown = Teardown()
    teardown.push("first", lambda: teardown.push("late", step(done, "late")))
    teardown.run()
    assert done == ["late"]
