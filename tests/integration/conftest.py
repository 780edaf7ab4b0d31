"""A configuration that is the same whatever the repository's own says, and small enough for many runs."""

import pytest

from poolproof.config import Effective, load_config

QUICK = {"pool.workers": 3, "load.rate_per_worker_per_s": 33.0, "load.seconds": 2.0, "bounds.close_s": 3.0}


@pytest.fixture
def quick() -> Effective:
    return load_config(2, options=QUICK)
