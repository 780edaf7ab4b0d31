"""The modules that a test loaded: those that are its own are removed, the others are named."""

import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_PURE: Final = (*SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)
_KIT: Final = tuple(str(Path(__file__).parents[2] / name) for name in ("poolproof", "sessionpool"))


def keep_modules(roots: Iterable[str], report: Callable[[tuple[str, ...]], object]) -> Callable[[], None]:
    """Remember what is loaded; returns what removes the rest.

    Args:
        roots: the folders whose modules are the test's own.
        report: told, at the end, the names of the modules that were loaded meanwhile and stay: extension modules, which
            can't be loaded twice, what is in a package with one, and what is not the test's own.
    """
    before = dict(sys.modules)
    own = [Path(root).resolve() for root in roots]

    def restore() -> None:
        # What the test removed or replaced comes back: others hold on to it.
        sys.modules.update({name: module for name, module in before.items() if sys.modules.get(name) is not module})
        added = {name: module for name, module in list(sys.modules.items()) if name not in before}
        tied = _with_extensions(sys.modules)
        gone = {name for name, module in added.items() if _top(name) not in tied and _is_own(module, own)}
        for name in gone:
            _remove(name, added[name])
        report(tuple(sorted(added.keys() - gone)))

    return restore


def _remove(name: str, module: ModuleType) -> None:
    sys.modules.pop(name, None)
    package, _, last = name.rpartition(".")
    parent = sys.modules.get(package)
    if parent is not None and vars(parent).get(last) is module:
        delattr(parent, last)  # `from package import last` would find it there


def _with_extensions(modules: Mapping[str, Any]) -> set[str]:
    """The outermost packages in which something can't be loaded twice."""
    return {_top(name) for name, module in list(modules.items()) if _file(module).endswith(tuple(EXTENSION_SUFFIXES))}


def _top(name: str) -> str:
    return name.partition(".")[0]


def _is_own(module: Any, roots: Iterable[Path]) -> bool:
    file = _file(module)
    # A package without an `__init__.py` has no file, but folders.
    places = [file] if file else [str(place) for place in _attribute(module, "__path__") or ()]
    if not places or (file and not file.endswith(_PURE)):
        return False
    return all(_nearest(Path(place).resolve(), roots) for place in places)


def _nearest(place: Path, roots: Iterable[Path]) -> bool:
    """Whether the innermost folder around a file that is known at all is a root: a virtual environment may lie in one.

    The kit's own modules are nobody's: what they are at while they are removed would go on with another copy.
    """
    parents = [place, *place.parents]
    own = next((number for number, folder in enumerate(parents) if folder in roots), None)
    foreign = next(
        (
            number
            for number, folder in enumerate(parents)
            if str(folder) in _INSTALLED or folder.name in ("site-packages", "dist-packages")
        ),
        None,
    )
    return own is not None and (foreign is None or own <= foreign)


_INSTALLED: Final = {
    str(Path(folder).resolve())
    for folder in (sys.prefix, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")), *_KIT)
}


def _file(module: Any) -> str:
    return str(_attribute(module, "__file__") or "")


def _attribute(module: Any, name: str) -> Any:
    # Not by getattr: a module that loads its parts when they are asked for must not be asked.
    return getattr(module, "__dict__", {}).get(name)
