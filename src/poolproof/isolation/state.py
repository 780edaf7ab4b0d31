"""What a process has once, for everybody in it: remembered, and put back."""

import gc
import locale
import logging
import os
import random
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

from poolproof.isolation.teardown import Undo

_PYTESTS_OWN: Final = "PYTEST_CURRENT_TEST"
"""pytest changes it with each phase of a test, and fails where it is not as it left it."""


def keep_environment() -> Undo:
    """`os.environ`, and the time zone, which the C library takes from it once."""
    environ, before, zone = os.environ, dict(os.environ), time.tzname

    def restore() -> None:
        os.environ = environ  # noqa: B003 - a test may have put a dict of its own there
        for name in environ.keys() - before.keys() - {_PYTESTS_OWN}:
            del environ[name]
        for name, value in before.items():
            if name != _PYTESTS_OWN and environ.get(name) != value:
                environ[name] = value
        if time.tzname != zone:
            time.tzset()

    return restore


def keep_directory() -> Undo:
    """The working directory; where there is none already, nothing can be kept."""
    before = _directory()

    def restore() -> list[str]:
        if before is None or _directory() == before:
            return []
        try:
            os.chdir(before)
        except OSError as error:
            return [f"the working directory {before} could not be returned to: {error}"]
        return []

    return restore


def _directory() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def keep_umask() -> Undo:
    """The permissions that new files do not get."""
    before = _umask()

    def restore() -> None:
        os.umask(before)

    return restore


def _umask() -> int:
    # Asking by `os.umask` means setting it: a file that another thread makes at that moment would be open to all.
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1], 8) for line in lines if line.startswith("Umask:"))


def keep_search() -> Undo:
    """Where and how modules are found: the lists themselves, since others hold on to them, and what is in them."""
    before = [(name, getattr(sys, name), [*getattr(sys, name)]) for name in ("path", "meta_path", "path_hooks")]

    def restore() -> None:
        for name, entries, content in before:
            if entries != content:
                entries[:] = content
            setattr(sys, name, entries)

    return restore


def keep_warnings() -> Undo:
    """The filters of warnings, and who shows them."""
    filters = [*warnings.filters]
    shown = (warnings.showwarning, warnings.formatwarning)

    def restore() -> None:
        # In place, in whatever list is there now: pytest has one for each phase of a test, and comes back to its own.
        if [*warnings.filters] != filters:
            warnings.resetwarnings()  # it also has forgotten what was already warned of under the test's filters
            cast("list[Any]", warnings.filters)[:] = filters
        warnings.showwarning, warnings.formatwarning = shown

    return restore


def keep_logging() -> Undo:
    """Every logger, the handlers that they have, and what holds for all."""
    disabled = logging.root.manager.disable
    kept = {logger: _settings(logger) for logger in _loggers()}
    handlers = {
        handler: (handler.level, handler.formatter, [*handler.filters])
        for logger in kept
        for handler in logger.handlers
    }
    classes = (logging.getLoggerClass(), logging.getLogRecordFactory(), logging.raiseExceptions)

    def restore() -> None:
        for logger in _loggers():
            wanted = kept.get(logger, (logging.NOTSET, [], [], True, False))
            if _settings(logger) == wanted:
                continue
            level, logger.handlers[:], logger.filters[:], logger.propagate, logger.disabled = wanted
            logger.setLevel(level)  # which also has every logger forget what it found enabled
        for handler, (level, formatter, filters) in handlers.items():
            handler.setLevel(level)
            handler.formatter, handler.filters[:] = formatter, filters
        logging.disable(disabled)
        logging.setLoggerClass(classes[0])
        logging.setLogRecordFactory(classes[1])
        logging.raiseExceptions = classes[2]

    return restore


def _loggers() -> list[logging.Logger]:
    known = list(logging.root.manager.loggerDict.values())  # at once: other threads may make loggers
    return [logging.root, *(logger for logger in known if isinstance(logger, logging.Logger))]


def _settings(logger: logging.Logger) -> tuple[int, list[logging.Handler], list[Any], bool, bool]:
    return logger.level, [*logger.handlers], [*logger.filters], logger.propagate, logger.disabled


def keep_locale() -> Undo:
    """The locale of the C library, all categories of it."""
    before = locale.setlocale(locale.LC_ALL)

    def restore() -> list[str]:
        if locale.setlocale(locale.LC_ALL) == before:
            return []
        try:
            locale.setlocale(locale.LC_ALL, before)
        except locale.Error as error:
            return [f"the locale {before} could not be restored: {error}"]
        return []

    return restore


def keep_chance() -> Undo:
    """The global source of chance of `random`, and that of numpy where it is loaded."""
    before = random.getstate()
    numpys = sys.modules.get("numpy.random")
    numpys_before = None if numpys is None else numpys.get_state(legacy=False)

    def restore() -> None:
        random.setstate(before)
        if numpys is not None:
            numpys.set_state(numpys_before)
        elif (loaded := sys.modules.get("numpy.random")) is not None:
            loaded.seed()  # as one that is loaded just now: from the system, not from what the test put there

    return restore


def keep_limits() -> Undo:
    """The limits of resources: what the kernel lets this process be given back."""
    names = {getattr(resource, name): name for name in dir(resource) if name.startswith("RLIMIT_")}
    before = {number: resource.getrlimit(number) for number in names}

    def restore() -> list[str]:
        problems = []
        for number, (soft, hard) in before.items():
            now = resource.getrlimit(number)
            if now == (soft, hard):
                continue
            try:
                resource.setrlimit(number, (soft, hard))
            except (OSError, ValueError):
                resource.setrlimit(number, (_lower(soft, now[1]), now[1]))
                problems.append(
                    f"the hard limit {names[number]} was lowered from {_limit(hard)} to {_limit(now[1])}, and can't be "
                    "raised again in this process: do that in context.in_child(…)"
                )
        return problems

    return restore


def _lower(one: int, other: int) -> int:
    finite = [limit for limit in (one, other) if limit != resource.RLIM_INFINITY]
    return min(finite, default=resource.RLIM_INFINITY)


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)


def keep_interpreter() -> Undo:
    """What the interpreter itself can be told: how deep calls may go, how long a thread runs, when it collects."""
    depth, interval = sys.getrecursionlimit(), sys.getswitchinterval()
    collects, thresholds = gc.isenabled(), gc.get_threshold()

    def restore() -> None:
        sys.setrecursionlimit(depth)
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
        (gc.enable if collects else gc.disable)()

    return restore


def keep_start_method() -> Undo:
    """How multiprocessing starts processes, where that was chosen for all."""
    before = _start_method()

    def restore() -> None:
        if _start_method() != before:
            sys.modules["multiprocessing"].set_start_method(before, force=True)

    return restore


def _start_method() -> str | None:
    # By a look into the modules: who does not use multiprocessing does not pay for its import.
    multiprocessing = sys.modules.get("multiprocessing")
    return None if multiprocessing is None else multiprocessing.get_start_method(allow_none=True)


KEPT: Final[tuple[tuple[str, Callable[[], Undo]], ...]] = (
    ("resource limits", keep_limits),
    ("interpreter's settings", keep_interpreter),
    ("working directory", keep_directory),
    ("umask", keep_umask),
    ("environment", keep_environment),
    ("sys.path", keep_search),
    ("warnings filters", keep_warnings),
    ("logging configuration", keep_logging),
    ("locale", keep_locale),
    ("random states", keep_chance),
    ("start method of multiprocessing", keep_start_method),
)
