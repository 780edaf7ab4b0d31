"""The pytest plugin: options, markers and fixtures, no logic of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from poolproof.config import Effective, load_config
from poolproof.experiment import Proof, prove

__all__: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the kit."""
    group = parser.getgroup("poolproof", "proving worker pools")
    group.addoption(
        "--layer", type=int, choices=(1, 2, 3), default=None, help="run the tests marked for this layer only"
    )
    group.addoption("--poolproof-seed", type=int, default=1, help="the seed of every experiment (default: 1)")
    group.addoption("--poolproof-report", type=Path, default=None, help="keep the run folders of experiments there")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    config.addinivalue_line(
        "markers", "layer(number): the test is about this layer; deselected where --layer names another"
    )


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


@pytest.fixture
def layer(request: pytest.FixtureRequest) -> int:
    """The layer of this test: its marker's, else the one chosen, else 2."""
    mark = request.node.get_closest_marker("layer")
    chosen: int | None = request.config.getoption("--layer")
    if mark is not None and chosen not in mark.args:
        return int(mark.args[0])
    return chosen or 2


@pytest.fixture
def layer_config(layer: int, request: pytest.FixtureRequest) -> Effective:
    """The configuration of the test's layer, overlaid by the project's `config/` where it has one."""
    overlay = request.config.rootpath / "config"
    return load_config(layer, overlay if overlay.is_dir() else None)


@pytest.fixture
def experiment(request: pytest.FixtureRequest, layer: int, layer_config: Effective) -> Callable[..., Proof]:
    """Proves a target from a test: `experiment("module:factory", scenarios=("kill-one",))` returns a `Proof`."""
    report: Path | None = request.config.getoption("--poolproof-report")
    seed: int = request.config.getoption("--poolproof-seed")
    folder = None if report is None else report / request.node.name.replace("/", "-")

    def run(
        target: str, *, scenarios: tuple[str, ...] = (), seed: int = seed, config: Effective = layer_config
    ) -> Proof:
        return prove(target, config, layer=layer, seed=seed, scenarios=scenarios, report=folder)

    return run
