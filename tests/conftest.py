"""What holds for every suite."""

from pathlib import Path

import pytest

UNIT = Path(__file__).parent / "unit"


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.path.is_relative_to(UNIT):
        item.add_marker("functional")
