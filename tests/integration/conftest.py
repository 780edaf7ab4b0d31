"""A configuration that is the same whatever the repository's own says, and small enough for many runs."""

from pathlib import Path
from typing import Final

import pytest

from poolproof.config import Effective, load_config

QUICK = {"pool.workers": 3, "load.rate_per_worker_per_s": 33.0, "load.seconds": 2.0, "bounds.close_s": 3.0}


REAL = [Path(__file__).parent / name for name in ("isolation", "sessionpool")]
"""Folders that are about real processes, every test of them: on layer 1 it would take longer to collect than to run."""


LONG: Final = Path(__file__).parent / "test_load_scenarios.py"
"""Ten minutes of virtual load take longer than layer 1 may: they are run with the functional tests."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.getoption("--layer") == 1 and collection_path in (*REAL, LONG) else None


@pytest.fixture
def quick() -> Effective:
    return load_config(2, options=QUICK)
