"""References: how what a user wrote is named, so that another process finds it: `module:name`, or `script.py:name`."""

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from poolproof.errors import TargetError


def is_reference(text: str) -> bool:
    """Whether a text has the form of a reference; what it names need not exist."""
    home, _, attribute = text.rpartition(":")
    if not all(part.isidentifier() for part in attribute.split(".")):
        return False
    return home.endswith(".py") or all(part.isidentifier() for part in home.split("."))


def refer(made: Callable[..., Any]) -> str:
    """The reference of a function or class: by its module where others find that by name too, else by its file.

    Raises:
        TargetError: no other process could find it: a lambda, something local to a function, something typed at a
            prompt, an object without a name, a method of an object.
    """
    # A class method belongs to the class that it was taken from, which may have inherited it.
    home: Any = made.__self__ if inspect.ismethod(made) else made
    bound = home is not made
    if bound and not isinstance(home, type):
        raise TargetError(
            made.__qualname__,
            f"{made.__qualname__} is a method of one object, which is in this process alone: the pool is built in a "
            "process of its own, which could not find it; write a function at the top level of a module",
        )
    name = getattr(home, "__qualname__", None)
    module = sys.modules.get(getattr(home, "__module__", None) or "")
    if name is None or module is None:
        raise TargetError(
            repr(made),
            f"{made!r} is of type {type(made).__name__}, which has no name in a module: the pool is built in a process "
            "of its own, so name a function or a class at the top level of a module",
        )
    if bound:
        name = f"{name}.{made.__name__}"
    if "<" in name:
        code = getattr(made, "__code__", None)
        where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
        what = "a lambda" if name.endswith("<lambda>") else "local to a function"
        raise TargetError(
            name,
            f"{name}{where} is {what}: the pool is built in a process of its own, which could not find it; "
            "write a function at the top level of a module",
        )
    spec = getattr(module, "__spec__", None)
    file = getattr(module, "__file__", None)
    if spec is not None and (file is None or _leads_to(spec.name, file)):
        return f"{spec.name}:{name}"
    if file is None:
        raise TargetError(
            name, f"{name} was typed at a prompt, where no other process finds it: put it into a file and name that"
        )
    return f"{Path(file).resolve()}:{name}"


def load(reference: str) -> Any:
    """Import what a reference names. A script is imported under its own name, so its `__main__` part does not run.

    Raises:
        TargetError: it is no reference, or a script whose name is taken.
        BaseException: whatever the user's module raises.
    """
    home, _, attribute = importable(reference).rpartition(":")
    found: Any = importlib.import_module(home)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def importable(reference: str) -> str:
    """The reference as `module:name`, after a script's folder was put on the path, as Python does when it runs one.

    Workers inherit the path, whichever way they are started, and so find the module by that name.

    Raises:
        TargetError: it is no reference, there is no such script, or its name is that of a module which is loaded
            already, or which no path can get before.
    """
    if not is_reference(reference):
        raise TargetError(reference, f"{reference!r} is no reference: expected module:name or script.py:name")
    home, _, attribute = reference.rpartition(":")
    if not home.endswith(".py"):
        return reference
    script = Path(home).resolve()
    if not script.is_file():
        raise TargetError(reference, f"there is no script {home}; is the path right, as seen from {Path.cwd()}?")
    loaded = script.stem in sys.modules
    taken = getattr(sys.modules.get(script.stem), "__file__", None)
    if "." in script.stem or (loaded and not (taken and Path(taken).resolve() == script)) or not _puts_first(script):
        raise TargetError(
            reference,
            f"the script {home} can't be imported as the module {script.stem!r}, a name that is taken: rename it",
        )
    return f"{script.stem}:{attribute}"


def _puts_first(script: Path) -> bool:
    """Whether its name leads to a script, once its folder stands on the path before whatever else bears that name."""
    importlib.invalidate_caches()  # it may have been written just now
    if not _leads_to(script.stem, str(script)):
        before, folder = [*sys.path], str(script.parent)
        sys.path[:] = [folder, *(entry for entry in before if entry != folder)]
        if not _leads_to(script.stem, str(script)):
            sys.path[:] = before
            return False
    return True


def _leads_to(module: str, file: str) -> bool:
    """Whether an import by that name, in a process with the same path, would run that file.

    That it stands in `sys.modules` under that name proves nothing: pytest puts modules there to which no path leads.
    """
    top, _, rest = module.partition(".")
    wanted = Path(file).resolve()
    spec = next((spec for finder in sys.meta_path if (spec := finder.find_spec(top, None)) is not None), None)
    if spec is None:
        return False
    homes = [Path(home, *rest.split(".")) for home in spec.submodule_search_locations or ()]
    files = [path for home in homes for path in (home.with_suffix(".py"), home / "__init__.py")]
    return any(path.resolve() == wanted for path in ([Path(spec.origin or "")] if not rest else files))
