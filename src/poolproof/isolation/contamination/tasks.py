"""asyncio tasks that a test made and that nobody finished or cancelled."""

import sys
from collections.abc import Hashable, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakSet

from poolproof.errors import PlatformError
from poolproof.isolation.contamination.findings import Finding
from poolproof.isolation.lines import innermost_of, origin, running_at

_REGISTRIES: Final = ("_all_tasks", "_scheduled_tasks", "_eager_tasks")
"""asyncio's own sets of tasks: the first in Python 3.11, the others from 3.12. They are private, but the public
`all_tasks` tells of one loop only, which has to be known, and nobody knows all loops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A task that is not done."""

    name: str
    at: str = ""
    loop: str = ""
    made: str = ""


def find(before: Set[Hashable], after: Mapping[Hashable, Pending]) -> list[Finding]:
    """The tasks of `after` that were not there before."""
    return [
        Finding(
            kind="tasks",
            line=f"asyncio task {task.name!r} is pending{' in ' * bool(task.at)}{task.at}"
            f"{', on ' * bool(task.loop)}{task.loop}{origin('made', task.made)}",
        )
        for key, task in after.items()
        if key not in before
    ]


class Tasks:
    """The pending tasks of all loops."""

    what = "asyncio tasks"
    kinds = ("tasks",)

    def __init__(self) -> None:
        self._before: WeakSet[Any] = WeakSet()

    def begin(self) -> None:
        self._before = WeakSet(_pending())

    def beyond(self) -> list[Finding]:
        return find(frozenset(self._before), {task: _told(task) for task in _pending() if task not in self._before})


def _pending() -> list[Any]:
    # asyncio is not imported for this: who has not loaded it has no task.
    module: Any = sys.modules.get("asyncio.tasks")
    if module is None:
        return []
    registries = [getattr(module, name) for name in _REGISTRIES if hasattr(module, name)]
    if not registries:
        raise PlatformError("asyncio of this Python keeps its tasks where nothing is known of")
    return [task for registry in registries for task in _members(registry) if not task.done()]


def _members(registry: Any) -> list[Any]:
    for _ in range(1000):  # as often as asyncio's own `all_tasks` does
        try:
            return list(registry)
        except RuntimeError:  # another thread's loop has changed it meanwhile
            continue
    raise PlatformError("the set of asyncio's tasks changes faster than it can be read")


def _told(task: Any) -> Pending:
    frames = task.get_stack(limit=1)
    loop = task.get_loop()
    state = "closed" if loop.is_closed() else "running" if loop.is_running() else "stopped"
    return Pending(
        name=task.get_name(),
        at=running_at(frames[0]) if frames else "",
        loop=f"a loop that is {state}",
        # Only a loop in debug mode has its tasks remember it.
        made=innermost_of(getattr(task, "_source_traceback", None) or ()),
    )
