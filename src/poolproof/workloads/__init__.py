"""The workloads that ship with the kit, and how a workload is found by name.

The names here are imported when they are first used: workers import the workloads, and some must stay light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolproof.workloads.finding import BUNDLED, DEFAULT, choose, load_workload, reference

__all__ = ["BUNDLED", "DEFAULT", "choose", "load_workload", "reference"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("poolproof.workloads.finding"), name)
    raise AttributeError(f"module 'poolproof.workloads' has no attribute {name!r}")
