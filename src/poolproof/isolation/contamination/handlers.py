"""Handlers that a test set: those of signals, and those of loggers."""

import _signal  # type: ignore[import-not-found] # `signal.getsignal` makes a member of an enumeration of each: ten times the cost
import logging
import signal
import sys
from collections.abc import Mapping, Sequence, Set
from typing import Any, Final

from poolproof.isolation.contamination.findings import Finding
from poolproof.isolation.lines import described

_ROOT: Final = "root"


def find_signals(before: Mapping[int, object], after: Mapping[int, object]) -> list[Finding]:
    """The signals that another handler has now."""
    return [
        Finding(
            kind="signal_handlers",
            line=f"signal {_name(number)} is handled by {_handler(after[number])}; it was by {_handler(handler)}",
            lasting=True,
        )
        for number, handler in before.items()
        if after[number] is not handler and after[number] != handler
    ]


def find_logging(
    before: Mapping[str, Sequence[logging.Handler]],
    after: Mapping[str, Sequence[logging.Handler]],
    *,
    imported: Set[str] = frozenset(),
) -> list[Finding]:
    """The handlers that loggers have now and had not.

    Args:
        before: the handlers of each logger that had any, by its name.
        after: the same, now.
        imported: modules that were not loaded before; a library hangs a handler on its own logger as it is imported.
    """
    return [
        Finding(
            kind="logging_handlers", line=f"logging handler {_told(handler)} is left on logger {name!r}", lasting=True
        )
        for name, handlers in after.items()
        for handler in handlers
        # A NullHandler does nothing: it is how a library says that it logs.
        if not any(handler is known for known in before.get(name, ()))
        and type(handler) is not logging.NullHandler
        and name not in imported
    ]


class Signals:
    """The handlers of all signals."""

    what = "signal handlers"
    kinds = ("signal_handlers",)

    def __init__(self) -> None:
        self._before: dict[int, object] = {}

    def begin(self) -> None:
        self._before = _handlers()

    def beyond(self) -> list[Finding]:
        return find_signals(self._before, _handlers())


class Logging:
    """The handlers of all loggers."""

    what = "logging handlers"
    kinds = ("logging_handlers",)

    def __init__(self) -> None:
        self._before: dict[str, tuple[logging.Handler, ...]] = {}
        self._modules: frozenset[str] = frozenset()

    def begin(self) -> None:
        self._before = _logging()
        self._modules = frozenset(sys.modules)

    def beyond(self) -> list[Finding]:
        now = _logging()
        if now == self._before:
            return []
        return find_logging(self._before, now, imported=sys.modules.keys() - self._modules)


_NUMBERS: Final = tuple(int(number) for number in signal.valid_signals())


def _handlers() -> dict[int, object]:
    return {number: _signal.getsignal(number) for number in _NUMBERS}


def _logging() -> dict[str, tuple[logging.Handler, ...]]:
    found = {_ROOT: tuple(logging.root.handlers)}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.handlers:
            found[name] = tuple(logger.handlers)
    return found


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals between the first and the last
        return str(number)


def _handler(handler: Any) -> str:
    if handler is None:
        return "code that is not Python's"
    if isinstance(handler, int):
        return signal.Handlers(handler).name
    return described(handler)


def _told(handler: logging.Handler) -> str:
    code = getattr(type(handler).emit, "__code__", None)
    is_library = type(handler).__module__.startswith("logging")
    written = "" if code is None or is_library else f", {described(type(handler).emit)}"
    return f"{described(handler)}{written}"
