"""Figures from raw samples; a percentile is given only where there are samples enough to mean something."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

QUANTILES: Final = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}


def samples_needed(quantile: float) -> int:
    """How many samples a percentile takes: one at least is to lie beyond it (p95: 20, p99: 100)."""
    return math.ceil(round(1 / (1 - quantile), 6))


def percentile(values: npt.NDArray[np.generic], quantile: float) -> float | None:
    """The nearest-rank percentile of raw values, shape (n,): a value that occurred; None below `samples_needed`.

    Raises:
        ValueError: the quantile is not between 0 and 1.
    """
    if not 0 < quantile < 1:
        raise ValueError(f"a quantile lies between 0 and 1, not at {quantile}")
    count = len(values)
    if count < samples_needed(quantile):
        return None
    rank = math.ceil(quantile * count) - 1
    return float(np.partition(values, rank)[rank])
