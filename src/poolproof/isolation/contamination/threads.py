"""Threads that a test started and did not join."""

import sys
import threading
from collections.abc import Callable, Hashable, Mapping, Set
from dataclasses import dataclass, field

from poolproof.isolation.contamination.audit import Record
from poolproof.isolation.contamination.findings import Finding
from poolproof.isolation.lines import origin, running_at

_OWN = "poolproof "
"""How the names of the kit's own threads begin: what it gave up, it has told of already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One thread that runs."""

    name: str
    daemon: bool = False
    at: str = ""
    started: str = ""
    until: Callable[[float], object] | None = field(default=None, compare=False)


def find(before: Set[Hashable], after: Mapping[Hashable, Running]) -> list[Finding]:
    """The threads of `after` that were not there before."""
    return [
        Finding(
            kind="threads",
            line=f"thread {thread.name!r}{' (daemon)' * thread.daemon} is still running"
            f"{' ' * bool(thread.at)}{thread.at}{origin('started', thread.started)}",
            until=thread.until,
        )
        for key, thread in after.items()
        if key not in before and not thread.name.startswith(_OWN)
    ]


class Threads:
    """Every thread that runs Python code; what a library in C starts for itself is its own affair."""

    what = "threads"
    kinds = ("threads",)

    def __init__(self, record: Record) -> None:
        self._record = record
        self._before: frozenset[Hashable] = frozenset()

    def begin(self) -> None:
        # The objects and not the numbers, which the next thread gets once one has ended; numbers for those without.
        threads = threading.enumerate()
        foreign = sys._current_frames().keys() - {thread.ident for thread in threads}
        self._before = frozenset((*threads, *foreign))

    def beyond(self) -> list[Finding]:
        frames = sys._current_frames()
        # The frame of this very call would hold itself by way of this dictionary, and with it the frames of all threads
        # and whatever these work on, until somebody collects garbage.
        del frames[threading.get_ident()]
        seen: dict[Hashable, Running] = {}
        known = set()
        for thread in threading.enumerate():
            known.add(thread.ident)
            # A foreign thread that asked for its own object has left it behind when it ended.
            if thread not in self._before and thread.is_alive() and thread.ident in frames:
                is_foreign = isinstance(thread, threading._DummyThread)
                seen[thread] = Running(
                    name=thread.name,
                    daemon=thread.daemon,
                    at=running_at(frames[thread.ident]),
                    started=str(self._record.threads.get(thread) or ""),
                    until=None if is_foreign else thread.join,
                )
        for number, frame in frames.items():
            if number not in known and number not in self._before:
                seen[number] = Running(name=f"<{number}, without a Thread object>", at=running_at(frame))
        return find(self._before, seen)
