"""What crosses between processes: how it is pickled, and the typed errors where it cannot be.

Large buffers (of numpy arrays, for example) travel beside the pickle, out of band; a body that has some begins with a
byte that no pickle begins with. Every other body is the pickle alone. What is mutable is copied here, once: its owner
may change it while it still waits, or is half-way through the wire. What is not, is not.
"""

import pickle
import struct
import traceback
from collections.abc import Callable
from typing import Any, Final

from sessionpool.errors import NotPicklable, NotUnpicklable, RemoteTraceback
from sessionpool.wire import Buffer

_PROTOCOL: Final = 5
_WORD: Final = struct.Struct("<Q")

_BESIDE: Final = 1

_UNCOPIED: Final = 1 << 16
"""From which size on a pickler hands a bytes object on as it is, where it is asked to."""

_LONGEST_LINE: Final = 2000

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
"""A function, and what it is called with."""

_dumps = pickle.dumps
_loads = pickle.loads


def dump_call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Buffer, ...]:
    """A call as a body, in parts.

    Raises:
        NotPicklable: it does not pickle; the cause is what its pickling raised.
    """
    has_large = False
    for value in args:
        if type(value) is bytes and len(value) >= _UNCOPIED:
            has_large = True
    return _dump((function, args, kwargs), "the operation", has_large)


def load_call(body: Buffer) -> Call:
    """The call in a body.

    Raises:
        NotUnpicklable: it does not unpickle here, or is none.
    """
    try:
        value = _loads(body) if body[0] != _BESIDE else load(body, "the operation")
    except NotUnpicklable:
        raise
    except BaseException as error:
        raise NotUnpicklable(f"the operation does not unpickle: {_in_short(error)}") from error
    if type(value) is not tuple or len(value) != 3:
        raise NotUnpicklable(f"the operation is a {type(value).__name__}, and no function with its arguments")
    return value


def dump(value: Any, what: str) -> tuple[Buffer, ...]:
    """A value as a body, in parts.

    Raises:
        NotPicklable: it does not pickle; the cause is what its pickling raised.
    """
    return _dump(value, what, type(value) is bytes and len(value) >= _UNCOPIED)


def _dump(value: Any, what: str, has_large: bool) -> tuple[Buffer, ...]:
    beside: list[pickle.PickleBuffer] = []
    try:
        if has_large:
            pieces = _Pieces()
            pickle.Pickler(pieces, _PROTOCOL, buffer_callback=beside.append).dump(value)
            pickled: tuple[Buffer, ...] = tuple(pieces.written)
        else:
            pickled = (_dumps(value, _PROTOCOL, buffer_callback=beside.append),)
        if not beside:
            return pickled
        buffers = [bytes(buffer.raw()) for buffer in beside]
    except Exception as error:
        raise NotPicklable(f"{what} does not pickle: {_in_short(error)}") from error
    lengths = [sum(map(len, pickled)), *map(len, buffers)]
    head = bytes([_BESIDE]) + _WORD.pack(len(lengths)) + b"".join(map(_WORD.pack, lengths))
    return (head, *pickled, *buffers)


def _in_short(error: BaseException) -> str:
    """An error of the user's own as a line: one that crosses whatever its size, and even where it cannot be said."""
    try:
        return f"{type(error).__name__}: {error}"[:_LONGEST_LINE]
    except Exception:
        return type(error).__name__


class _Pieces:
    """A file for a pickler: what it writes is kept in pieces, a large bytes object as itself."""

    def __init__(self) -> None:
        self.written: list[Buffer] = []

    def write(self, piece: Buffer) -> None:
        self.written.append(piece if type(piece) is bytes else bytes(piece))


def load(body: Buffer, what: str) -> Any:
    """The value in a body.

    Raises:
        NotUnpicklable: it does not unpickle here; the cause is what its unpickling raised.
    """
    try:
        if body[0] != _BESIDE:
            return _loads(body)
        view = memoryview(body)
        count = _WORD.unpack_from(view, 1)[0]
        at = 1 + _WORD.size * (1 + count)
        pieces = []
        for number in range(count):
            length = _WORD.unpack_from(view, 1 + _WORD.size * (1 + number))[0]
            pieces.append(view[at : at + length])
            at += length
        # What was writable there is writable here: a large body is received into memory that is, a small one is copied.
        return _loads(pieces[0], buffers=[bytearray(it) if it.readonly else it for it in pieces[1:]])
    except BaseException as error:  # a class's own `__setstate__` may raise anything
        if isinstance(error, KeyboardInterrupt):
            raise
        raise NotUnpicklable(f"{what} does not unpickle: {_in_short(error)}") from error


def dump_error(error: BaseException) -> tuple[Buffer, ...]:
    """An exception with its traceback, as a body; the traceback is text, and always crosses.

    Raises:
        NotPicklable: the exception does not pickle.
    """
    text = "".join(traceback.format_exception(error)).encode(errors="replace")
    return (_WORD.pack(len(text)), text, *dump(error, f"an exception of type {type(error).__name__}"))


def load_error(body: Buffer) -> BaseException:
    """An exception as itself, with its traceback there as its cause; or the error that says why it cannot be."""
    view = memoryview(body)
    start = _WORD.size
    size = _WORD.unpack_from(view)[0]
    cause = RemoteTraceback(bytes(view[start : start + size]).decode(errors="replace"))
    try:
        error = load(view[start + size :], "the operation's exception")
    except NotUnpicklable as failed:
        failed.__cause__ = cause
        return failed
    if not isinstance(error, BaseException):
        error = NotUnpicklable(f"the operation's exception became {type(error).__name__} on its way")
    error.__cause__ = cause
    return error  # type: ignore[no-any-return] # it is one
