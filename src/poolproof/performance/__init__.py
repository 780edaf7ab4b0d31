"""Performance: benchmarks, capacity, baselines, and whether a change made anything slower.

The names here are imported when they are first used: scipy and HdrHistogram take their time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolproof.performance.benchmark import (
        Analysis,
        Measurement,
        PerformanceBenchmark,
        analyze_performance_results,
        benchmark_pool_operations,
    )
    from poolproof.performance.capacity import Capacity, find_capacity
    from poolproof.performance.metrics import PerformanceMetrics, collect_performance_metrics
    from poolproof.performance.regression import performance_regression_detector
    from poolproof.performance.results import Figure, Result

_HOMES = {
    "benchmark": (
        *("Analysis", "Measurement", "PerformanceBenchmark"),
        *("analyze_performance_results", "benchmark_pool_operations"),
    ),
    "capacity": ("Capacity", "find_capacity"),
    "metrics": ("PerformanceMetrics", "collect_performance_metrics"),
    "regression": ("performance_regression_detector",),
    "results": ("Figure", "Result"),
}

__all__ = [
    "Analysis",
    "Capacity",
    "Figure",
    "Measurement",
    "PerformanceBenchmark",
    "PerformanceMetrics",
    "Result",
    "analyze_performance_results",
    "benchmark_pool_operations",
    "collect_performance_metrics",
    "find_capacity",
    "performance_regression_detector",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"poolproof.performance.{home}"), name)
    raise AttributeError(f"module 'poolproof.performance' has no attribute {name!r}")
