"""Mode `full_isolation`: whatever a process has once is as it was, and the modules that a test loaded are gone."""

import gc
import importlib
import locale
import logging
import multiprocessing
import os
import random
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy
import pytest

from poolproof.errors import IsolationError, TargetError, UsageError
from poolproof.isolation import Scene, child, isolated, scene_of, state
from poolproof.isolation.full import FullIsolation


@pytest.fixture
def scene() -> Scene:
    return scene_of("t", seed=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offence:
    """Something that a test may change: how it is seen, and how it is changed."""

    look: Callable[[], object]
    change: Callable[[], object]


def put(name: str, value: str) -> Callable[[], None]:
    def change() -> None:
        os.environ[name] = value

    return change


def set_in(holder: object, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(holder, name, value)


def zone() -> tuple[str, str]:
    return time.tzname


def change_zone() -> None:
    os.environ["TZ"] = "Pacific/Kiritimati"
    time.tzset()


def level(name: str) -> Callable[[], tuple[object, ...]]:
    """All that can be set of a logger, and whether it finds itself enabled."""

    def look() -> tuple[object, ...]:
        logger = logging.getLogger(name)
        return (
            logger.level,
            logger.isEnabledFor(logging.DEBUG),
            [*logger.handlers],
            [*logger.filters],
            logger.propagate,
            logger.disabled,
        )

    return look


KNOWN = logging.getLogger("tests.unit.isolation.known")
KNOWN.setLevel(logging.WARNING)
HANDLER = logging.NullHandler()
KNOWN.addHandler(HANDLER)


def keep_all(record: logging.LogRecord) -> bool:
    """A filter."""
    return True


class OwnLogger(logging.Logger):
    """A test's own."""


class OwnRecord(logging.LogRecord):
    """A test's own."""


def lower_soft_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))


def handlers_state() -> tuple[object, ...]:
    return HANDLER.level, HANDLER.formatter, [*HANDLER.filters]


def filters_of_warnings() -> list[object]:
    return [*warnings.filters]


def remove_environment() -> None:
    os.environ = cast("os._Environ[str]", {})  # noqa: B003


OFFENCES = {
    "a variable is set": Offence(look=lambda: dict(os.environ), change=put("POOLPROOF_OWN", "1")),
    "a variable is changed": Offence(look=lambda: os.environ["PATH"], change=put("PATH", "/nowhere")),
    "a variable is removed": Offence(look=lambda: os.environ.get("PATH"), change=lambda: os.environ.pop("PATH")),
    "the environment is replaced": Offence(look=lambda: id(os.environ), change=remove_environment),
    "the time zone": Offence(look=zone, change=change_zone),
    "the working directory": Offence(look=Path.cwd, change=lambda: os.chdir("/")),
    "the umask": Offence(look=state._umask, change=lambda: os.umask(0o007)),
    "sys.path gets an entry": Offence(look=lambda: [*sys.path], change=lambda: sys.path.insert(0, "/x")),
    "sys.path is replaced": Offence(look=lambda: id(sys.path), change=lambda: setattr(sys, "path", [*sys.path])),
    "sys.meta_path": Offence(look=lambda: [*sys.meta_path], change=lambda: sys.meta_path.append(cast("Any", object()))),
    "sys.path_hooks": Offence(look=lambda: [*sys.path_hooks], change=lambda: sys.path_hooks.append(cast("Any", print))),
    "a filter of warnings": Offence(look=filters_of_warnings, change=lambda: warnings.simplefilter("ignore")),
    "all filters of warnings": Offence(look=filters_of_warnings, change=warnings.resetwarnings),
    "who shows warnings": Offence(
        look=lambda: warnings.showwarning, change=set_in(warnings, "showwarning", lambda *_: None)
    ),
    "how warnings look": Offence(
        look=lambda: warnings.formatwarning, change=set_in(warnings, "formatwarning", lambda *_: "")
    ),
    "the root logger's level": Offence(look=level(""), change=lambda: logging.getLogger().setLevel(1)),
    "the root logger's handlers": Offence(
        look=level(""), change=lambda: logging.getLogger().addHandler(logging.NullHandler())
    ),
    "a logger's level": Offence(look=level(KNOWN.name), change=lambda: KNOWN.setLevel(logging.DEBUG)),
    "a logger's handlers": Offence(look=level(KNOWN.name), change=lambda: KNOWN.removeHandler(HANDLER)),
    "a logger's filters": Offence(look=level(KNOWN.name), change=lambda: KNOWN.addFilter(keep_all)),
    "whether a logger propagates": Offence(look=level(KNOWN.name), change=set_in(KNOWN, "propagate", False)),
    "whether a logger is disabled": Offence(look=level(KNOWN.name), change=set_in(KNOWN, "disabled", True)),
    "a handler's level": Offence(look=handlers_state, change=lambda: HANDLER.setLevel(logging.ERROR)),
    "a handler's formatter": Offence(look=handlers_state, change=lambda: HANDLER.setFormatter(logging.Formatter())),
    "a handler's filters": Offence(look=handlers_state, change=lambda: HANDLER.addFilter(keep_all)),
    "logging is disabled": Offence(look=lambda: logging.root.manager.disable, change=lambda: logging.disable(50)),
    "the class of loggers": Offence(look=logging.getLoggerClass, change=lambda: logging.setLoggerClass(OwnLogger)),
    "the factory of records": Offence(
        look=logging.getLogRecordFactory, change=lambda: logging.setLogRecordFactory(OwnRecord)
    ),
    "whether logging raises": Offence(
        look=lambda: logging.raiseExceptions, change=set_in(logging, "raiseExceptions", not logging.raiseExceptions)
    ),
    "the locale": Offence(
        look=lambda: locale.setlocale(locale.LC_ALL),
        change=lambda: locale.setlocale(locale.LC_ALL, "C" if locale.setlocale(locale.LC_ALL) != "C" else "C.UTF-8"),
    ),
    "chance": Offence(look=random.getstate, change=lambda: random.seed(1)),
    "numpy's chance": Offence(
        look=lambda: str(numpy.random.get_state(legacy=False)), change=lambda: numpy.random.seed(1)
    ),
    "a soft limit": Offence(look=lambda: resource.getrlimit(resource.RLIMIT_NOFILE), change=lower_soft_limit),
    "the recursion limit": Offence(look=sys.getrecursionlimit, change=lambda: sys.setrecursionlimit(7_777)),
    "the switch interval": Offence(look=sys.getswitchinterval, change=lambda: sys.setswitchinterval(0.1)),
    "whether garbage is collected": Offence(look=gc.isenabled, change=gc.disable),
    "when garbage is collected": Offence(look=gc.get_threshold, change=lambda: gc.set_threshold(77, 7, 7)),
    "how processes are started": Offence(
        look=lambda: multiprocessing.get_start_method(allow_none=True),
        change=lambda: multiprocessing.set_start_method("spawn", force=True),
    ),
}


@pytest.fixture
def put_back() -> Iterator[None]:
    """Where the mode fails to, or these tests would contaminate others by what they plant."""
    undo = [keep() for _, keep in state.KEPT]
    yield
    for each in reversed(undo):
        each()


@pytest.mark.usefixtures("put_back")
@pytest.mark.parametrize("offence", OFFENCES.values(), ids=OFFENCES)
def test_what_a_test_changes_is_as_it_was(scene: Scene, offence: Offence) -> None:
    before = offence.look()
    with isolated("full_isolation", scene=scene):
        offence.change()
        assert offence.look() != before
    assert offence.look() == before


@pytest.mark.usefixtures("put_back")
def test_everything_at_once_is_as_it_was(scene: Scene) -> None:
    before = {name: offence.look() for name, offence in OFFENCES.items()}
    with isolated("full_isolation", scene=scene):
        for offence in OFFENCES.values():
            offence.change()
    assert {name: offence.look() for name, offence in OFFENCES.items()} == before


def test_a_test_that_changes_nothing_finds_everything_as_it_was(scene: Scene) -> None:
    before = {name: offence.look() for name, offence in OFFENCES.items()}
    with isolated("full_isolation", scene=scene):
        pass
    assert {name: offence.look() for name, offence in OFFENCES.items()} == before


@pytest.mark.usefixtures("put_back")
def test_one_within_another_puts_back_what_it_found(scene: Scene) -> None:
    with isolated("full_isolation", scene=scene):
        os.environ["POOLPROOF_OWN"] = "outer"
        with isolated("full_isolation", scene=scene):
            os.environ["POOLPROOF_OWN"] = "inner"
        assert os.environ["POOLPROOF_OWN"] == "outer"
    assert "POOLPROOF_OWN" not in os.environ


def test_what_pytest_itself_keeps_in_the_environment_is_pytests(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "it (setup)")
    with isolated("full_isolation", scene=scene):
        os.environ["PYTEST_CURRENT_TEST"] = "it (call)"
    assert os.environ["PYTEST_CURRENT_TEST"] == "it (call)"


def test_the_list_of_the_path_stays_the_same_one(scene: Scene) -> None:
    before = sys.path
    with isolated("full_isolation", scene=scene):
        before.append("/x")
        sys.path = ["/y"]
    assert sys.path is before
    assert "/x" not in sys.path


def test_a_working_directory_that_the_test_removed_is_left(scene: Scene, tmp_path: Path) -> None:
    before = Path.cwd()
    (tmp_path / "gone").mkdir()
    with isolated("full_isolation", scene=scene):
        os.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
    assert Path.cwd() == before


def test_a_working_directory_that_is_gone_itself_is_told(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    with (
        pytest.raises(IsolationError, match=r"the working directory .*gone could not be returned to"),
        isolated("full_isolation", scene=scene),
    ):
        (tmp_path / "gone").rmdir()


def test_it_can_be_entered_where_the_working_directory_is_gone_already(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with isolated("full_isolation", scene=scene):
        os.chdir(tmp_path)


@pytest.mark.usefixtures("put_back")
def test_a_warning_that_was_told_once_under_the_tests_filters_is_told_again(scene: Scene) -> None:
    def warn() -> None:
        warnings.warn("again", UserWarning, stacklevel=1)

    with isolated("full_isolation", scene=scene):
        warnings.simplefilter("default")
        warnings.showwarning = lambda *_: None
        warn()
    with pytest.raises(UserWarning, match="again"):
        warn()


def test_a_logger_that_the_test_made_is_as_if_it_was_new(scene: Scene, tmp_path: Path) -> None:
    name = "tests.unit.isolation.made"
    with isolated("full_isolation", scene=scene):
        made = logging.getLogger(name)
        made.setLevel(logging.DEBUG)
        made.addHandler(logging.NullHandler())
        made.addFilter(keep_all)
        made.propagate, made.disabled = False, True
    assert (made.level, made.handlers, made.filters) == (logging.NOTSET, [], [])
    assert (made.propagate, made.disabled) == (True, False)


def test_numpys_chance_is_anybodys_where_the_test_loaded_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "numpy.random")
    drawn = set()
    for _ in range(2):
        restore = state.keep_chance()
        monkeypatch.setitem(sys.modules, "numpy.random", numpy.random)
        numpy.random.seed(1)
        restore()
        drawn.add(numpy.random.random())
        monkeypatch.delitem(sys.modules, "numpy.random")
    assert len(drawn) == 2


@pytest.mark.usefixtures("put_back")
def test_a_locale_that_cannot_be_restored_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    setlocale = locale.setlocale

    def refuse(category: int, value: str | None = None) -> str:
        if value is not None:
            raise locale.Error("unsupported locale setting")
        return setlocale(category) + "x"

    with (
        pytest.raises(IsolationError, match=r"the locale .* could not be restored: unsupported"),
        isolated("full_isolation", scene=scene),
    ):
        monkeypatch.setattr(locale, "setlocale", refuse)


class Limits:
    """Limits as a user without privileges has them: what is lowered stays so."""

    def __init__(self) -> None:
        self.now = (100, 200)

    def getrlimit(self, number: int) -> tuple[int, int]:
        return self.now

    def setrlimit(self, number: int, limits: tuple[int, int]) -> None:
        if limits[1] > self.now[1] or limits[0] > limits[1]:
            raise ValueError("not allowed to raise maximum limit")
        self.now = limits


@pytest.mark.parametrize(("lowered", "soft"), [((50, 150), 100), ((50, 60), 60)])
def test_a_hard_limit_that_cannot_be_raised_is_told_and_the_soft_one_is_restored_as_far_as_it_goes(
    monkeypatch: pytest.MonkeyPatch, lowered: tuple[int, int], soft: int
) -> None:
    limits = Limits()
    monkeypatch.setattr(resource, "getrlimit", limits.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", limits.setrlimit)
    restore = state.keep_limits()
    limits.now = lowered
    told = list(restore() or ())
    assert limits.now == (soft, lowered[1])
    assert f"was lowered from 200 to {lowered[1]}" in told[0]
    assert "in_child" in told[0]


def test_unlimited_is_more_than_any_limit() -> None:
    assert state._lower(resource.RLIM_INFINITY, 5) == 5
    assert state._lower(5, resource.RLIM_INFINITY) == 5
    assert state._lower(resource.RLIM_INFINITY, resource.RLIM_INFINITY) == resource.RLIM_INFINITY
    assert state._limit(resource.RLIM_INFINITY) == "unlimited"


# --- modules --------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A folder of modules that are the test's own: `own_module`, `own_package.part`, and `own_spread.part`."""
    root = tmp_path / "own"
    (root / "own_package").mkdir(parents=True)
    (root / "own_spread").mkdir()
    for name in ("own_module", "own_package/__init__", "own_package/part", "own_spread/part"):
        (root / f"{name}.py").write_text("value = 1\n")
    before = [*sys.path]
    sys.path.insert(0, str(root))
    yield root
    sys.path[:] = before
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def loaded() -> set[str]:
    return {name for name in sys.modules if name.startswith("own_")}


def test_the_modules_of_the_test_are_removed(scene: Scene, own: Path) -> None:
    with isolated("full_isolation", scene=scene, roots=(str(own),)) as context:
        for name in ("own_module", "own_package.part", "own_spread.part"):
            importlib.import_module(name)
        assert len(loaded()) == 5
    assert loaded() == set()
    assert context.kept_modules == ()


def test_without_roots_the_modules_below_the_working_directory_are_the_tests(
    scene: Scene, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own)
    with isolated("full_isolation", scene=scene):
        importlib.import_module("own_module")
        os.chdir("/")
    assert loaded() == set()


def test_a_relative_root_is_seen_from_where_the_test_began(
    scene: Scene, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own.parent)
    with isolated("full_isolation", scene=scene, roots=("own",)):
        importlib.import_module("own_module")
        os.chdir("/")
    assert loaded() == set()


def test_modules_that_are_not_the_tests_stay_and_are_named(scene: Scene, own: Path, tmp_path: Path) -> None:
    with isolated("full_isolation", scene=scene, roots=(str(tmp_path / "elsewhere"),)) as context:
        importlib.import_module("own_package.part")
    assert loaded() == {"own_package", "own_package.part"}
    assert context.kept_modules == ("own_package", "own_package.part")


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_what_is_installed_below_a_root_is_not_the_tests(scene: Scene, own: Path, folder: str) -> None:
    installed = own / ".venv" / folder
    installed.mkdir(parents=True)
    (installed / "own_installed.py").touch()
    sys.path.insert(0, str(installed))
    with isolated("full_isolation", scene=scene, roots=(str(own),)) as context:
        importlib.import_module("own_installed")
    assert context.kept_modules == ("own_installed",)


def test_what_is_installed_is_the_tests_where_a_root_says_so(scene: Scene, own: Path) -> None:
    installed = own / "site-packages"
    installed.mkdir()
    (installed / "own_installed.py").touch()
    sys.path.insert(0, str(installed))
    with isolated("full_isolation", scene=scene, roots=(str(installed),)) as context:
        importlib.import_module("own_installed")
    assert loaded() == set()
    assert context.kept_modules == ()


def test_the_kits_own_modules_are_never_removed(scene: Scene) -> None:
    kept = sys.modules.pop("poolproof.report.advice", None)
    try:
        with isolated("full_isolation", scene=scene, roots=("/",)):
            advice = importlib.import_module("poolproof.report.advice")
        assert sys.modules["poolproof.report.advice"] is advice
    finally:
        if kept is not None:
            sys.modules["poolproof.report.advice"] = kept


def test_a_package_with_an_extension_stays_whole_for_it_cannot_be_loaded_twice(scene: Scene, own: Path) -> None:
    with isolated("full_isolation", scene=scene, roots=(str(own),)) as context:
        importlib.import_module("own_package.part")
        importlib.import_module("own_module")
        extension = ModuleType("own_package.fast")
        extension.__file__ = str(own / "own_package" / "fast.cpython-311-x86_64-linux-gnu.so")
        sys.modules[extension.__name__] = extension
    assert context.kept_modules == ("own_package", "own_package.fast", "own_package.part")
    assert "own_module" not in sys.modules


def test_a_part_that_the_test_loaded_of_a_package_that_was_there_is_gone_from_it(scene: Scene, own: Path) -> None:
    package = importlib.import_module("own_package")
    with isolated("full_isolation", scene=scene, roots=(str(own),)):
        importlib.import_module("own_package.part")
    assert not hasattr(package, "part")
    assert sys.modules["own_package"] is package


def test_what_else_a_package_calls_like_its_part_stays(scene: Scene, own: Path) -> None:
    package: Any = importlib.import_module("own_package")
    with isolated("full_isolation", scene=scene, roots=(str(own),)):
        importlib.import_module("own_package.part")
        package.part = "something else"
    assert package.part == "something else"


@pytest.mark.parametrize("replaced", [True, False])
def test_a_module_that_the_test_removed_or_replaced_is_back(scene: Scene, own: Path, replaced: bool) -> None:
    module = importlib.import_module("own_module")
    with isolated("full_isolation", scene=scene, roots=(str(own),)):
        del sys.modules["own_module"]
        if replaced:
            importlib.import_module("own_module")
    assert sys.modules["own_module"] is module


def test_a_module_that_loads_its_parts_when_asked_is_not_asked(scene: Scene, own: Path) -> None:
    class Lazy(ModuleType):
        def __getattr__(self, name: str) -> object:
            pytest.fail(f"it was asked for {name}")

    with isolated("full_isolation", scene=scene, roots=(str(own),)) as context:
        sys.modules["own_lazy"] = Lazy("own_lazy")
        sys.modules["own_nothing"] = cast("Any", None)
    assert context.kept_modules == ("own_lazy", "own_nothing")


# --- its child, as far as no process is needed ----------------------------------------------------------------------


def plain(number: int) -> int:
    """What could run in a child."""
    return number


def test_what_no_other_process_finds_is_refused_by_name() -> None:
    def local() -> None: ...

    for function, told in ((local, "local to a function"), (lambda: 1, "a lambda")):
        with pytest.raises(TargetError, match=f"in_child needs a function that its process can find: .* is {told}"):
            FullIsolation().in_child(function)


@pytest.mark.parametrize("timeout_s", [0, -1, float("inf"), float("nan"), "1", None])
def test_a_timeout_that_is_no_time_is_refused(timeout_s: Any) -> None:
    with pytest.raises(UsageError, match=r"timeout_s = .*: expected a time above 0"):
        child.in_child(plain, 1, timeout_s=timeout_s)


def test_an_argument_that_cannot_be_pickled_is_refused() -> None:
    with pytest.raises(UsageError, match="its arguments can't be pickled"):
        child.in_child(plain, cast("Any", lambda: 1))


def test_a_context_names_the_modules_that_were_kept_only_when_it_is_over() -> None:
    assert FullIsolation().kept_modules == ()
