"""Attributes of chosen modules that a test replaced, added or deleted."""

import sys
from collections.abc import Mapping
from importlib import import_module
from operator import is_
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final

from poolproof.isolation.contamination.findings import Finding
from poolproof.isolation.lines import described

Snapshot = Mapping[str, Mapping[str, Any]]

MODULES: Final = ("builtins", "os", "random", "signal", "socket", "subprocess", "sys", "threading", "time")
"""What tests like to patch, and what everybody else then gets."""

_INTERPRETERS: Final = frozenset(
    {
        # The interpreter and pytest keep the last error there, for debuggers.
        ("sys", "last_exc"),
        ("sys", "last_type"),
        ("sys", "last_value"),
        ("sys", "last_traceback"),
        # An interactive prompt keeps its last value there.
        ("builtins", "_"),
        # The import system's own.
        ("sys", "__warningregistry__"),
    }
)
_ABSENT: Final = object()


def find(before: Snapshot, after: Snapshot) -> list[Finding]:
    """The attributes that are another object than before; what a module did to itself is no patch."""
    found = []
    for module, was in before.items():
        now = after[module]
        if len(was) == len(now) and all(map(is_, was.values(), now.values())):
            continue  # nearly always, and in C
        for name in [*was, *(name for name in now if name not in was)]:
            old, new = was.get(name, _ABSENT), now.get(name, _ABSENT)
            if old is new or _is_its_own(module, name, old, new):
                continue
            if new is _ABSENT:
                told = f"was deleted; it was {described(old)}"
            elif old is _ABSENT:
                told = f"was added: {described(new)}"
            else:
                told = f"is patched: it is {described(new)} and was {described(old)}"
            found.append(Finding(kind="attributes", line=f"attribute {module}.{name} {told}", lasting=True))
    return found


class Attributes:
    """The attributes of some modules."""

    what = "attributes of modules"
    kinds = ("attributes",)

    def __init__(self, modules: tuple[str, ...]) -> None:
        self._modules = modules
        self._before: Snapshot = {}

    def begin(self) -> None:
        for name in self._modules:
            import_module(name)  # without it there would be nothing to compare with
        self._before = self._look()

    def beyond(self) -> list[Finding]:
        return find(self._before, self._look())

    def _look(self) -> Snapshot:
        return {name: dict(vars(sys.modules[name])) for name in self._modules}


def _is_its_own(module: str, name: str, old: object, new: object) -> bool:
    """Whether the module itself, the import system or the test runner is at work, and not a test."""
    if (module, name) in _INTERPRETERS:
        return True
    if isinstance(new, ModuleType) and sys.modules.get(f"{module}.{name}") is new:
        return True  # a submodule was imported
    if _is_runners(old) and _is_runners(new):
        return True  # until 8.3 pytest hung its hooks for lost errors in anew for each phase of a test
    if old is _ABSENT and getattr(new, "__module__", None) == module:
        return True  # defined by the module, when it was first needed
    if name.startswith("_") and old is None and isinstance(new, BuiltinFunctionType):
        return True  # looked up by the module, when it was first needed: `random._sha512`, from 3.13 on
    is_state = not any(isinstance(value, FunctionType | type) or callable(value) for value in (old, new))
    return name.startswith("_") and is_state  # a counter, a cache


def _is_runners(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).startswith("_pytest.")
