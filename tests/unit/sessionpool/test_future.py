"""The future of an operation is one of `concurrent.futures`, made in a cheaper way."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from sessionpool.core import Task
from sessionpool.errors import PoolClosed
from sessionpool.future import PoolFuture

OWN = {"effect", "runtime", "parts", "task", "port", "is_taken", "has_callbacks"}


class Runtime:
    """As much of a runtime as a future looks at: it notes what it is asked."""

    def __init__(self) -> None:
        self.is_ours = True
        self.asked: list[Any] = []

    def withdraw(self, future: PoolFuture) -> bool:
        self.asked.append("withdraw")
        return self.is_ours

    def read_for(self, future: PoolFuture, timeout: float | None) -> float | None:
        self.asked.append(timeout)
        future.set_result("read")
        return timeout


@pytest.fixture
def runtime() -> Runtime:
    return Runtime()


def made(runtime: Runtime) -> PoolFuture:
    return PoolFuture(runtime, ())  # type: ignore[arg-type]


def fields(future: "Future[Any]") -> dict[str, Any]:
    return {name: value for name, value in vars(future).items() if name != "_condition"}


def test_it_sets_what_a_future_sets_and_its_own(runtime: Runtime) -> None:
    assert vars(made(runtime)).keys() == vars(Future()).keys() | OWN


def test_what_it_sets_has_the_values_that_a_future_sets(runtime: Runtime) -> None:
    ours = {name: value for name, value in fields(made(runtime)).items() if name not in OWN}
    assert ours == fields(Future())


def test_each_future_has_a_lock_of_its_own_or_waits_for_those_of_two_pools_would_deadlock(runtime: Runtime) -> None:
    one, other = made(runtime), made(runtime)
    assert vars(one)["_condition"] is not vars(other)["_condition"]


def test_no_two_futures_share_a_list(runtime: Runtime) -> None:
    one, other = made(runtime), made(runtime)
    one.add_done_callback(print)
    assert fields(one)["_done_callbacks"] == [print]
    assert fields(other)["_done_callbacks"] == []


def test_a_result_that_is_there_is_given_without_asking_the_pool(runtime: Runtime) -> None:
    future = made(runtime)
    future.set_result(3)
    assert (future.result(), future.result(0), future.exception(), runtime.asked) == (3, 3, None, [])


def test_an_exception_is_raised_as_by_any_future(runtime: Runtime) -> None:
    future = made(runtime)
    future.set_exception(PoolClosed("closed"))
    with pytest.raises(PoolClosed):
        future.result()
    assert isinstance(future.exception(), PoolClosed)


def test_who_waits_for_an_operation_that_a_worker_holds_reads_its_answers(runtime: Runtime) -> None:
    future = made(runtime)
    future.port = SimpleNamespace()  # type: ignore[assignment]
    assert (future.result(timeout=7), runtime.asked) == ("read", [7])


def test_who_waits_for_an_operation_that_nobody_holds_reads_nothing(runtime: Runtime) -> None:
    future = made(runtime)
    with pytest.raises(TimeoutError):
        future.result(timeout=0)
    assert runtime.asked == []


def test_a_queued_operation_is_cancelled_and_tells_who_waits(runtime: Runtime) -> None:
    future = made(runtime)
    seen: list[Any] = []
    future.add_done_callback(seen.append)
    assert future.cancel()
    assert (future.cancelled(), future.done(), seen, runtime.asked) == (True, True, [future], ["withdraw"])


def test_a_running_operation_is_not_cancelled(runtime: Runtime) -> None:
    runtime.is_ours = False
    future = made(runtime)
    future.set_running_or_notify_cancel()
    assert not future.cancel()
    assert future.running()


def test_it_knows_that_somebody_wants_to_be_called_back(runtime: Runtime) -> None:
    future = made(runtime)
    before = future.has_callbacks
    future.add_done_callback(print)
    assert (before, future.has_callbacks) == (False, True)


def test_the_end_of_a_session_cannot_be_taken_back(runtime: Runtime) -> None:
    future = made(runtime)
    future.task = Task(future, has_session=True, key="ann", closes=True)
    assert not future.cancel()
    assert (future.cancelled(), runtime.asked) == (False, [])


class Watchful(Runtime):
    """Notes whether a future was cancelled before it was taken back."""

    def withdraw(self, future: PoolFuture) -> bool:
        self.asked.append(future.cancelled())
        return True


def test_an_operation_is_taken_back_before_it_counts_as_cancelled() -> None:
    watchful = Watchful()
    assert made(watchful).cancel()
    assert watchful.asked == [False]
