"""The pytest plugin: options, markers and fixtures, no logic of its own."""

import asyncio
import inspect
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from poolproof.config import Effective, load_config
from poolproof.errors import HungTestError, IsolationError, UsageError
from poolproof.experiment import Experiment
from poolproof.isolation import PoolTesting, Scene, isolated
from poolproof.isolation.watchdog import watchdog
from poolproof.rig import Rig, hear_of_rigs
from poolproof.rig.keeper import guardian

__all__: list[str] = []

_SEED = pytest.StashKey[int]()
_MODES = pytest.StashKey[dict[str, Any]]()
_RIGS = pytest.StashKey[list[Rig]]()
_CONFIGS = pytest.StashKey[dict[int, Effective]]()
_STDERR = pytest.StashKey[int]()
_BOUND = pytest.StashKey[float]()

_TIMEOUT_S: Final = 120.0
_GRACE_S: Final = 60.0
"""How long after its bound a test's whole process is ended: longer than all bounds of its teardown together."""

_WITH_PROCESSES: Final = frozenset({"pool_testing", "supervision_testing"})
_LAST: Final = 10


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the kit."""
    group = parser.getgroup("poolproof", "proving worker pools")
    group.addoption(
        "--layer", type=int, choices=(1, 2, 3), default=None, help="run the tests marked for this layer only"
    )
    group.addoption(
        "--poolproof-seed",
        default="1",
        metavar="N|random",
        help="the seed of every experiment and every isolated test, told with each failure (default: 1)",
    )
    group.addoption("--poolproof-report", type=Path, default=None, help="keep the run folders of experiments there")
    parser.addini(
        "poolproof_timeout",
        f"seconds that a test marked isolation(...) may take, its fixtures included; 0 for any time "
        f"(default: {_TIMEOUT_S:g})",
        default=str(_TIMEOUT_S),
    )
    parser.addini("poolproof_isolation", "the isolation mode of every test that names none (default: none)", default="")
    parser.addini("poolproof_config", "the folder of the layers' configuration (default: config)", default="config")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and read what was given."""
    config.addinivalue_line(
        "markers", "layer(number, …): the test is about these layers; deselected where --layer names another"
    )
    config.addinivalue_line(
        "markers",
        "isolation(mode, **options): the test runs in this mode of isolation: basic, registry, signal_routing, "
        "full_isolation, contamination_detection, supervision_testing or pool_testing",
    )
    given = getattr(config, "workerinput", {}).get("poolproof_seed") or config.getoption("--poolproof-seed")
    try:
        config.stash[_SEED] = random.SystemRandom().getrandbits(32) if given == "random" else int(given)
    except ValueError:
        raise pytest.UsageError(f"--poolproof-seed={given}: expected a whole number, or random") from None
    try:
        config.stash[_BOUND] = float(config.getini("poolproof_timeout"))
    except ValueError:
        told = f"poolproof_timeout = {config.getini('poolproof_timeout')}: expected seconds, or 0 for any time"
        raise pytest.UsageError(told) from None
    config.stash[_CONFIGS] = {}
    config.stash[_STDERR] = os.dup(2)  # before capturing begins: where the keeper says why it ended this process


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give back what was taken."""
    if _STDERR in config.stash:
        os.close(config.stash[_STDERR])
        del config.stash[_STDERR]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give every worker of xdist the same seed."""
    node.workerinput["poolproof_seed"] = str(node.config.stash[_SEED])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where a layer is chosen, keep its tests and those that name none."""
    layer = config.getoption("--layer")
    if layer is None:
        return
    others = [
        item for item in items if (mark := item.get_closest_marker("layer")) is not None and layer not in mark.args
    ]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


# --- isolation --------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _poolproof_isolation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set up the modes that a test is marked with; nothing for others. Before every fixture of its own."""
    node = request.node
    with _told_plainly():
        wanted = _wanted(node)
    if not wanted:
        yield
        return
    request.getfixturevalue("tmp_path_factory").getbasetemp()  # before TMPDIR is the test's own
    scene = Scene(
        test=node.nodeid,
        seed=request.config.stash[_SEED],
        worker=os.environ.get("PYTEST_XDIST_WORKER", "main"),
        config=partial(_config_of, request.config),
        layer=_layer_of(node),
        faulthandler_fd=request.config.stash[_STDERR],
    )
    modes = node.stash[_MODES] = {}
    rigs: list[Rig] = []
    node.stash[_RIGS] = rigs
    bound_s = request.config.stash[_BOUND]
    with _told_plainly(), ExitStack() as stack:
        stack.callback(hear_of_rigs(rigs.append))
        if bound_s and not wanted.keys().isdisjoint(_WITH_PROCESSES):
            guardian().start(stderr_fd=request.config.stash[_STDERR])
            guardian().arm(node.nodeid, bound_s, grace_s=_GRACE_S)
            stack.callback(guardian().disarm)  # last of all: it has an eye on the teardown as well
        stack.enter_context(watchdog.over(node.nodeid, bound_s, partial(_describe, rigs)))
        for name, options in wanted.items():
            modes[name] = stack.enter_context(isolated(name, scene=scene, **options))
        yield


@contextmanager
def _told_plainly() -> Iterator[None]:
    """What the kit tells stands for itself: the kit's own frames above it would bury it."""
    try:
        yield
    except (IsolationError, UsageError, HungTestError) as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def _wanted(node: pytest.Item) -> dict[str, dict[str, Any]]:
    """The modes of a test with their options, the outermost first; a nearer mark replaces one of the same mode."""
    wanted: dict[str, dict[str, Any]] = {}
    for mark in reversed(list(node.iter_markers("isolation"))):
        if len(mark.args) != 1 or not isinstance(mark.args[0], str):
            raise UsageError(f"{node.nodeid}: @pytest.mark.isolation takes the name of one mode, and options by name")
        wanted[mark.args[0]] = dict(mark.kwargs)
    default = node.config.getini("poolproof_isolation")
    return wanted or ({default: {}} if default else {})


def _describe(rigs: list[Rig]) -> str:
    return "\n".join(map(_described, rigs))


def _described(rig: Rig) -> str:
    """A rig in words; a pool of the user's that cannot say what it is must not end the session."""
    try:
        return rig.describe(_LAST)
    except Exception as error:
        return f"{rig.name} could not be described: {type(error).__name__}: {error}"


def _config_of(config: pytest.Config, layer: int) -> Effective:
    known = config.stash[_CONFIGS]
    if layer not in known:
        overlay = config.rootpath / config.getini("poolproof_config")
        known[layer] = load_config(layer, overlay if overlay.is_dir() else None)
    return known[layer]


@pytest.fixture
def isolation(request: pytest.FixtureRequest) -> Any:
    """The context of the mode that the test is marked with; of the innermost one, where there are several."""
    modes = request.node.stash.get(_MODES, {})
    if not modes:
        raise UsageError(f"{request.node.nodeid}: mark it with @pytest.mark.isolation(MODE) to use this fixture")
    return [*modes.values()][-1]


@pytest.fixture
def pool_testing(request: pytest.FixtureRequest) -> PoolTesting:
    """The context of the mode `pool_testing`: pool, workers, events, metrics."""
    context = request.node.stash.get(_MODES, {}).get("pool_testing")
    if not isinstance(context, PoolTesting):
        raise UsageError(f"{request.node.nodeid}: mark it with @pytest.mark.isolation('pool_testing') to use a pool")
    return context


@pytest.fixture
def pool(pool_testing: PoolTesting) -> Rig:
    """The pool of the mode `pool_testing`, ready to be used."""
    return pool_testing.pool


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function that is marked with a mode, unless another plugin has taken it."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or not _wanted(pyfuncitem):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Tell with a failure how to have it again, and what its pools were at."""
    outcome: Any = yield
    report = outcome.get_result()
    if not report.failed or _RIGS not in item.stash:
        return
    report.sections.append(("poolproof", f"again with: --poolproof-seed={item.config.stash[_SEED]}"))
    for rig in item.stash[_RIGS]:
        report.sections.append((f"pool {rig.name}", _described(rig)))


# --- layers and experiments -------------------------------------------------------------------------------------


def _layer_of(node: pytest.Item) -> int:
    mark = node.get_closest_marker("layer")
    chosen: int | None = node.config.getoption("--layer")
    if mark is not None and not mark.args:
        raise UsageError(f"{node.nodeid}: @pytest.mark.layer takes the layers that the test is about: 1, 2 or 3")
    if mark is not None and chosen not in mark.args:
        return int(mark.args[0])
    return chosen or 2


@pytest.fixture
def layer(request: pytest.FixtureRequest) -> int:
    """The layer of this test: its marker's, else the one chosen, else 2."""
    return _layer_of(request.node)


@pytest.fixture
def layer_config(layer: int, request: pytest.FixtureRequest) -> Effective:
    """The configuration of the test's layer, overlaid by the project's `config/` where it has one."""
    return _config_of(request.config, layer)


@pytest.fixture
def experiment(request: pytest.FixtureRequest, layer: int, layer_config: Effective) -> Experiment:
    """Experiments from a test: `experiment.run(shape, mix, …)`; `experiment("module:factory")` proves a target."""
    report: Path | None = request.config.getoption("--poolproof-report")
    folder = None if report is None else report / request.node.name.replace("/", "-")
    return Experiment(effective=layer_config, layer=layer, seed=request.config.stash[_SEED], report=folder)
