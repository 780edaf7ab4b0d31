"""How a workload is found by its name, and what can be wrong with it."""

import inspect
from typing import Final

from poolproof import references
from poolproof.errors import TargetError
from poolproof.extras import install_command, installed, require
from poolproof.plan import Workload

BUNDLED: Final = {
    "answers": "poolproof.workloads.scripted:answers",
    "digits": "poolproof.workloads.digits:workload",
    "dspy": "poolproof.workloads.programs:workload",
    "linear": "poolproof.workloads.linear:workload",
    "scripted": "poolproof.workloads.scripted:workload",
    "waits": "poolproof.workloads.scripted:waits",
}

DEFAULT: Final = "default"
"""The name of real work where its extra is installed, else of the scripted workload."""


def choose(name: str) -> tuple[str, str]:
    """The workload that a configured name stands for, and why it is not the best one; empty where it is."""
    if name != DEFAULT:
        return name, ""
    if installed("digits"):
        return "digits", ""
    return "scripted", f"scripted work, since real work needs {install_command('digits')}"


def reference(name: str) -> str:
    """The `module:name` (or `script.py:name`) under which a workload is found.

    Raises:
        TargetError: it is neither bundled nor a reference, or its extra is not installed.
    """
    if name in BUNDLED:
        require(name)
        return BUNDLED[name]
    if not references.is_reference(name):
        known = ", ".join([DEFAULT, *sorted(BUNDLED)])
        raise TargetError(
            name, f"unknown workload {name!r}: name one of {known}, or module:name (or script.py:name) of your own"
        )
    return name


def load_workload(name: str, service_ms: dict[str, float], spread: float = 0.0) -> Workload:
    """Import a workload; one that is a function gets the configured service times, as far as it takes arguments.

    Args:
        name: bundled, or a reference.
        service_ms: how long operations occupy a worker, by kind.
        spread: the sigma of their lognormal distribution; 0 for always as long.

    Raises:
        TargetError: it can't be imported, or is no workload.
    """
    found_at = reference(name)
    try:
        found = references.load(found_at)
        if inspect.isfunction(found):
            found = found(*(service_ms, spread)[: len(inspect.signature(found).parameters)])
    except TargetError:
        raise
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
