"""The workloads that ship with the kit, and how a workload is found by name."""

import importlib
import inspect

from poolproof.errors import TargetError
from poolproof.plan import Workload

__all__ = ["BUNDLED", "load_workload", "reference"]

BUNDLED = {
    "scripted": "poolproof.workloads.scripted:workload",
}


def reference(name: str) -> str:
    """The `module:name` under which workers find a workload.

    Raises:
        TargetError: it is neither bundled nor of the form `module:name`.
    """
    if name in BUNDLED:
        return BUNDLED[name]
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        known = ", ".join(sorted(BUNDLED))
        raise TargetError(name, f"unknown workload {name!r}: name one of {known}, or module:name of your own")
    return name


def load_workload(name: str, service_ms: dict[str, float]) -> Workload:
    """Import a workload; one that is a function gets the configured service times by kind, in milliseconds.

    Raises:
        TargetError: it can't be imported, or is no workload.
    """
    module_name, _, attribute = reference(name).partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        if inspect.isfunction(found):
            found = found(service_ms) if inspect.signature(found).parameters else found()
    except BaseException as error:  # whatever the user's module or function raises, SystemExit included
        raise TargetError(name, f"the workload {name!r} can't be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(found, Workload):
        raise TargetError(
            name, f"the workload {name!r} is of type {type(found).__name__}, expected a poolproof Workload"
        )
    negative = [kind for kind, value in found.kinds.items() if value.weight < 0]
    if negative:
        raise TargetError(
            name, f"the workload {name!r}: the kind {negative[0]!r} has a negative weight; 0 keeps it out"
        )
    if not any(kind.weight > 0 for kind in found.kinds.values()):
        raise TargetError(name, f"the workload {name!r} has no kind with a weight above 0: nothing would be sent")
    return found
