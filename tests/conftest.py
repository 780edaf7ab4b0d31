"""What holds for every suite."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.runs import CONFIG, ROOT, Run

UNIT = Path(__file__).parent / "unit"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="measure at full length and in real time")


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.path.is_relative_to(UNIT):
        item.add_marker("functional")


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts `python -m poolproof …` beside the test; nothing of it outlives the test."""
    runs: list[Run] = []

    def start(*arguments: str, config: str = CONFIG, root: Path = ROOT) -> Run:
        folder = tmp_path / f"run-{len(runs)}"
        folder.mkdir()
        runs.append(Run(folder, *arguments, config=config, root=root))
        return runs[-1]

    yield start
    for run in runs:
        run.end()
