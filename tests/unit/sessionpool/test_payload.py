"""What crosses between processes: values with their large buffers beside them, and exceptions with their tracebacks."""

import functools
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sessionpool import payload
from sessionpool.errors import NotPicklable, NotUnpicklable, RemoteTraceback, WorkerDied


def crossed(value: Any) -> Any:
    return payload.load(b"".join(map(bytes, payload.dump(value, "it"))), "it")


def crossed_error(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as raised:
        parts = payload.dump_error(raised)
    return payload.load_error(b"".join(map(bytes, parts)))


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 0, "", b"\1", {"a": [1, 2.5]}, (len, (), {}), pickle.PickleBuffer(b"abc")])
def test_a_value_arrives_as_it_was(value: Any) -> None:
    assert crossed(value) == value


def test_a_value_without_buffers_is_its_pickle_alone() -> None:
    (part,) = payload.dump([1, 2], "it")
    assert pickle.loads(part) == [1, 2]


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_arrives_as_it_was(order: Any) -> None:
    array = np.asarray(np.arange(24, dtype=np.float64).reshape(4, 6), order=order)
    np.testing.assert_array_equal(crossed(array), array)


def test_an_array_may_be_changed_once_it_was_handed_over() -> None:
    array = np.zeros(1000)
    parts = payload.dump(array, "it")
    array[0] = 7
    assert payload.load(b"".join(map(bytes, parts)), "it")[0] == 0


@pytest.mark.parametrize("size", [10, 1 << 16, 1 << 20])
def test_bytes_arrive_as_they_were(size: int) -> None:
    value = bytes(range(256)) * (size // 256) + b"end"
    assert crossed(value) == value


def test_large_bytes_are_not_copied() -> None:
    value = b"x" * (1 << 20)
    assert any(part is value for part in payload.dump(value, "it"))


def test_a_call_arrives_as_it_was() -> None:
    body = b"".join(map(bytes, payload.dump_call(pow, (2, b"x" * (1 << 17)), {"mod": [1]})))
    assert payload.load_call(body) == (pow, (2, b"x" * (1 << 17)), {"mod": [1]})


@pytest.mark.parametrize("value", [None, 7, (len, ()), [len, (), {}], "abc"])
def test_what_is_no_call_does_not_unpickle(value: Any) -> None:
    body = b"".join(map(bytes, payload.dump(value, "it")))
    with pytest.raises(NotUnpicklable, match=f"the operation is a {type(value).__name__}"):
        payload.load_call(body)


def test_an_array_arrives_writable() -> None:
    array = crossed(np.zeros(5))
    array[2] = 1
    assert array.tolist() == [0, 0, 1, 0, 0]


def test_an_array_that_nobody_may_write_to_arrives_so() -> None:
    array = np.zeros(5)
    array.flags.writeable = False
    assert not crossed(array).flags.writeable


def test_an_array_in_memory_that_can_be_written_is_not_copied() -> None:
    body = bytearray(b"".join(map(bytes, payload.dump(np.zeros(5), "it"))))
    array = payload.load(memoryview(body), "it")
    array[:] = 1
    assert np.ones(1).tobytes() in bytes(body)


@pytest.mark.parametrize("array", [np.zeros((6, 6))[::2, ::3], np.zeros(0), np.array(None), np.array("text")])
def test_arrays_that_have_no_plain_buffer_arrive_too(array: Any) -> None:
    np.testing.assert_array_equal(crossed(array), array)


def test_several_arrays_keep_their_places() -> None:
    first, second, third = crossed([np.zeros(3), np.zeros(0), np.ones(2)])
    assert (first.tolist(), second.tolist(), third.tolist()) == ([0, 0, 0], [], [1, 1])


def test_a_value_shared_within_a_body_is_shared_again() -> None:
    array = np.zeros(3)
    one, other = crossed((array, array))
    assert one is other


class Raises:
    """What does not pickle, and says so in its own way."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


class RaisesThere:
    """What pickles, and does not unpickle."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise state["error"]


def nested() -> list[Any]:
    deepest: list[Any] = []
    for _ in range(100_000):
        deepest = [deepest]
    return deepest


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: lambda: None, id="lambda"),
        pytest.param(threading.Lock, id="lock"),
        pytest.param(lambda: (one for one in ""), id="generator"),
        pytest.param(lambda: Raises(ValueError("no")), id="reduce"),
        pytest.param(nested, id="too deep"),
        pytest.param(lambda: memoryview(b"abc"), id="view"),
    ],
)
def test_what_does_not_pickle_says_so(make: Callable[[], Any]) -> None:
    with pytest.raises(NotPicklable, match="the operation does not pickle") as raised:
        payload.dump(make(), "the operation")
    assert raised.value.__cause__ is not None


def test_a_buffer_that_is_in_pieces_does_not_pickle() -> None:
    with pytest.raises(NotPicklable):
        payload.dump(pickle.PickleBuffer(memoryview(b"abcdef")[::2]), "it")


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), RecursionError()])
def test_what_does_not_unpickle_says_so(error: BaseException) -> None:
    body = payload.dump(RaisesThere(error), "it")[0]
    with pytest.raises(NotUnpicklable, match=f"the result does not unpickle: {type(error).__name__}") as raised:
        payload.load(body, "the result")
    assert type(raised.value.__cause__) is type(error)


@pytest.mark.parametrize("body", [b"", b"\1", b"\1" + b"\xff" * 16, b"\x80\x05", b"garbage", b"\1" + b"\0" * 8])
def test_a_body_that_is_none_does_not_unpickle(body: bytes) -> None:
    with pytest.raises(NotUnpicklable):
        payload.load(body, "it")


# --- exceptions -------------------------------------------------------------------------------------------------------


class TwoArgumentsError(Exception):
    """Unpickling calls it with the one argument that its base was given."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


class TwoNamesError(Exception):
    """Its arguments have no place in `args`."""

    def __init__(self, *, code: int) -> None:
        super().__init__()
        self.code = code


class NoExceptionError(Exception):
    """It becomes something else on its way."""

    def __reduce__(self) -> Any:
        return int, (7,)


class HoldingError(Exception):
    """It carries what does not pickle."""

    def __init__(self) -> None:
        super().__init__("holding")
        self.lock = threading.Lock()


class MuteError(Exception):
    """It cannot even be told."""

    def __str__(self) -> str:
        raise ValueError("mute")


@pytest.mark.parametrize(
    "error", [ValueError("bad", 3), KeyError("x"), SystemExit(2), KeyboardInterrupt(), OSError(2, "no")]
)
def test_an_exception_arrives_as_itself(error: BaseException) -> None:
    got = crossed_error(error)
    assert (type(got), got.args) == (type(error), error.args)


def test_its_cause_carries_the_traceback() -> None:
    cause = crossed_error(ValueError("bad")).__cause__
    assert isinstance(cause, RemoteTraceback)
    assert "in crossed_error" in str(cause)
    assert "ValueError: bad" in str(cause)


def test_the_causes_of_an_exception_are_in_its_traceback() -> None:
    error = ValueError("bad")
    error.__cause__ = OSError("worse")
    assert "OSError: worse" in str(crossed_error(error).__cause__)


def test_the_fields_of_an_exception_arrive_with_it() -> None:
    error = ValueError("bad")
    error.add_note("a note")
    assert crossed_error(error).__notes__ == ["a note"]


def test_a_group_of_exceptions_arrives_as_itself() -> None:
    got = crossed_error(ExceptionGroup("several", [ValueError("one"), OSError("two")]))
    assert isinstance(got, ExceptionGroup)
    assert [str(one) for one in got.exceptions] == ["one", "two"]


def test_an_error_of_the_pool_within_a_worker_arrives_as_itself() -> None:
    error = crossed_error(WorkerDied("it died", pid=3, exit="signal SIGKILL", attempts=1))
    assert isinstance(error, WorkerDied)
    assert (error.pid, error.exit, error.attempts) == (3, "signal SIGKILL", 1)


@pytest.mark.parametrize("error", [TwoArgumentsError("a", "b"), TwoNamesError(code=3), NoExceptionError()])
def test_an_exception_that_cannot_be_rebuilt_says_so_and_keeps_its_traceback(error: Exception) -> None:
    got = crossed_error(error)
    assert isinstance(got, NotUnpicklable)
    assert type(error).__name__ in str(got.__cause__)


def test_an_exception_that_does_not_pickle_says_so() -> None:
    with pytest.raises(NotPicklable, match="an exception of type HoldingError does not pickle"):
        crossed_error(HoldingError())


def test_an_exception_that_cannot_be_told_arrives_all_the_same() -> None:
    got = crossed_error(MuteError())
    assert isinstance(got, MuteError)
    assert "MuteError" in str(got.__cause__)


def test_a_traceback_with_lone_surrogates_arrives() -> None:
    assert crossed_error(ValueError("\ud800")).args == ("\ud800",)


def test_a_function_with_arguments_bound_arrives() -> None:
    assert crossed(functools.partial(pow, 2))(5) == 32
