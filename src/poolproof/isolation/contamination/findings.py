"""What is told of a contaminated test: kinds, findings, and what finds them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

KINDS: Final = (
    "threads",
    "processes",
    "zombies",
    "descriptors",
    "sockets",
    "shared_memory",
    "semaphores",
    "temporary_files",
    "tasks",
    "environment",
    "signal_handlers",
    "logging_handlers",
    "attributes",
)
"""All that is watched, in the order in which it is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is there and was not before.

    Attributes:
        kind: one of `KINDS`.
        line: what it is, whose, and where it comes from, in one line.
        lasting: no waiting changes it: nobody but a test's own code puts an environment variable back.
        certain: false where another process may as well have made it; such a thing is told, and fails nothing.
        until: waits for its end, so many seconds at most; None where nothing tells of it.
    """

    kind: str
    line: str
    lasting: bool = False
    certain: bool = True
    until: Callable[[float], object] | None = field(default=None, compare=False)


class Watcher(Protocol):
    """Looks at one part of the process, twice; a pure function `find` beside it compares the two."""

    @property
    def what(self) -> str:
        """What it looks at, in words."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its findings."""

    def begin(self) -> None:
        """Look, and remember."""

    def beyond(self) -> list[Finding]:
        """Look again: what is there beyond what was remembered."""
