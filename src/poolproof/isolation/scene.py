"""What every mode is told of the test that it isolates, and where it leaves what is to be undone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
