"""What every mode is told of the test that it isolates, and where it leaves what is to be undone."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from poolproof.config import Effective
from poolproof.isolation.teardown import Teardown


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The surroundings of one test.

    Attributes:
        test: its node id, or whatever names it in a message.
        seed: what everything random in it follows from, together with its name.
        worker: the xdist worker that it runs in, or `main`.
        config: the configuration of a layer, as the project has it.
        layer: the layer chosen for it, where there is one.
        faulthandler_fd: where pytest's faulthandler writes; None where it is not enabled.
        outer: the contexts of the modes around this one, by the mode's name, the outermost first.
        teardown: what is to be undone, in reverse.
        stages: what a mode is at while it is set up; what stays there is what failed. See `stage`.
    """

    test: str
    seed: int
    worker: str
    config: Callable[[int], Effective]
    layer: int | None = None
    faulthandler_fd: int | None = None
    outer: dict[str, Any] = field(default_factory=dict)
    teardown: Teardown = field(default_factory=Teardown)
    stages: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A part of setting a mode up, by a name in words: the error names it where the part fails."""
        self.stages.append(name)
        yield
        self.stages.pop()  # not where it raised: the mode could not be set up then, and this is where


_KIT = str(Path(__file__).parents[1]) + os.sep
_LIBRARY = str(Path(os.__file__).parent) + os.sep


def calling_line(*, skip: Iterable[str] = ()) -> str:
    """`file:line in function` of the innermost call that is neither the kit's nor the standard library's; or empty.

    Args:
        skip: beginnings of further paths that are not to be named.
    """
    passed_over = (_KIT, "<frozen", *skip)
    # Frame by frame: `traceback` would read every source file on the way, for each name that is taken.
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        library = file.startswith(_LIBRARY) and "site-packages" not in file
        if not library and not file.startswith(passed_over):
            return f"{_short(file)}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return ""


def _short(path: str) -> str:
    try:
        return path.removeprefix(f"{Path.cwd()}{os.sep}")
    except FileNotFoundError:  # the test has removed the folder that it is in
        return path
