"""Whether a change made a pool slower: base and head measured in turns in one job, and a rule whose errors are known.

`performance_regression_detector` is imported when it is first used: it brings scipy along.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolproof.performance.regression.comparison import Build, Comparison, Judgement, Verdict
    from poolproof.performance.regression.detector import DEFAULT_TARGET, performance_regression_detector

__all__ = ["DEFAULT_TARGET", "Build", "Comparison", "Judgement", "Verdict", "performance_regression_detector"]

_DETECTOR = ("DEFAULT_TARGET", "performance_regression_detector")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = "detector" if name in _DETECTOR else "comparison"
    return getattr(import_module(f"{__name__}.{room}"), name)
