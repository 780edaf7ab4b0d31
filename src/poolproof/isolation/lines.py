"""Lines of code, as they are told: which one made something, and where something runs."""

import os
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from traceback import FrameSummary
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

_KIT: Final = str(Path(__file__).parents[1]) + os.sep
_LIBRARY: Final = str(Path(os.__file__).parent) + os.sep
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_RUNNERS: Final = ("_pytest", "pluggy", "xdist", "execnet")
"""Who calls every test, and so stands below each line of one: never who made something."""


class Line(NamedTuple):
    """One line of code; it is put into words only once it has to be told."""

    file: str
    number: int
    function: str

    def __str__(self) -> str:
        return f"{_short(self.file)}:{self.number} in {self.function}"


def calling_line() -> Line | None:
    """The innermost call that is neither the kit's, nor the standard library's, nor the test runner's.

    An audit hook asks for it, at each thing that is made: so it looks at frames, and builds nothing.
    """
    return innermost(sys._getframe(1))


def innermost(frame: FrameType | None) -> Line | None:
    """As `calling_line`, from a frame outwards."""
    while frame is not None:
        code = frame.f_code
        if not _is_passed_over(code.co_filename):
            return Line(code.co_filename, frame.f_lineno, code.co_name)
        frame = frame.f_back
    return None


def innermost_of(stack: Iterable[FrameSummary]) -> str:
    """As `innermost`, of a stack that somebody has kept, the innermost call last."""
    lines = [Line(call.filename, call.lineno or 0, call.name) for call in stack if not _is_passed_over(call.filename)]
    return str(lines[-1]) if lines else ""


def running_at(frame: FrameType | None) -> str:
    """Where something runs: `file:line function`; in the library where none of its frames is anybody else's."""
    if frame is None:
        return ""
    line = innermost(frame) or Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
    return f"{_short(line.file)}:{line.number} {line.function}"


def described(value: object) -> str:
    """A value in a few words: code by where it is written, everything else by its representation, shortened."""
    code = _code(value)
    if code is not None:
        return f"{_short(code.co_filename)}:{code.co_firstlineno} {code.co_qualname}"
    try:
        return shortened(repr(value))
    except Exception as error:  # the object's own
        return f"<{type(value).__name__} whose representation raises {type(error).__name__}>"


def shortened(text: str, most: int = 80) -> str:
    """A text on one line, of so many characters at most."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def origin(verb: str, line: "Line | str | None") -> str:
    """`; VERB at LINE`, or nothing where no line is known."""
    return f"; {verb} at {line}" if line else ""


def _code(value: Any) -> CodeType | None:
    function: Callable[..., object] | Any = getattr(value, "__func__", value)
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None


@cache
def _is_passed_over(file: str) -> bool:
    if file.startswith((_KIT, "<frozen")):
        return True
    for place in _INSTALLED:
        if place in file:
            return file.rpartition(place)[2].partition(os.sep)[0] in _RUNNERS
    return file.startswith(_LIBRARY)


def _short(path: str) -> str:
    try:
        return path.removeprefix(f"{Path.cwd()}{os.sep}")
    except FileNotFoundError:  # the test has removed the folder that it is in
        return path
