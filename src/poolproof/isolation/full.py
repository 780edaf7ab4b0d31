"""Mode `full_isolation`: what a process has once is put back, and every process that the test started is ended."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from poolproof.isolation import child, loaded, state
from poolproof.isolation.lineage import Lineage
from poolproof.isolation.scene import Scene

R = TypeVar("R")

_BOUND_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be asked of this mode.

    Attributes:
        roots: the folders whose modules are the test's own, and are removed when it is over; the working directory
            without any.
        settle_s: how long processes that are just ending may take for it, before they count as left.
    """

    roots: tuple[str, ...] = ()
    settle_s: float = 0.5

    def problems(self) -> list[str]:
        """Everything in them that makes no sense."""
        roots: Any = self.roots  # a marker may hold anything
        settle_s: Any = self.settle_s
        found = []
        if not isinstance(roots, tuple | list):
            found.append(f"roots = {roots!r}: expected a tuple of folders")
        else:
            found += [f"roots: {root!r}: expected a folder's path" for root in roots if not _is_path(root)]
        if isinstance(settle_s, bool) or not isinstance(settle_s, int | float) or not 0 <= settle_s <= _BOUND_S / 2:
            found.append(f"settle_s = {settle_s!r}: expected a time from 0 to {_BOUND_S / 2:g}, in seconds")
        return found


def _is_path(root: object) -> bool:
    return isinstance(root, str) and root != ""


class FullIsolation:
    """What a fully isolated test can ask for.

    Attributes:
        kept_modules: when it is over, the modules that it loaded and that stay: they can't be loaded twice, or are not
            its own.
    """

    def __init__(self) -> None:
        self.kept_modules: tuple[str, ...] = ()

    def in_child(self, function: Callable[..., R], *args: Any, timeout_s: float = 60.0) -> R:
        """Call a function in a process of its own; see `poolproof.isolation.child.in_child`."""
        return child.in_child(function, *args, timeout_s=timeout_s)

    def _keep(self, modules: tuple[str, ...]) -> None:
        self.kept_modules = modules


def enter(scene: Scene, options: Options) -> FullIsolation:
    """Set the mode up."""
    context = FullIsolation()
    for name, keep in state.KEPT:
        with scene.stage(name):
            scene.teardown.push(f"restoring the {name}", keep())
    with scene.stage("modules"):
        roots = options.roots or _here()
        scene.teardown.push("removing modules", loaded.keep_modules(roots, context._keep))
    with scene.stage("processes"):
        lineage = Lineage()
        scene.teardown.push("forgetting processes", lineage.close)
        # The last, and so the first to be undone: what still runs must not meet what is restored.
        scene.teardown.push("ending processes", lambda: lineage.end(options.settle_s), bound_s=_BOUND_S)
    return context


def _here() -> tuple[str, ...]:
    try:
        return (str(Path.cwd()),)
    except FileNotFoundError:  # somebody removed it before; then no module is the test's own
        return ()
