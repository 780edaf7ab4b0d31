"""Durations as people write them: `500ms`, `30s`, `2m`, `1h30m`."""

import math
import re
from typing import Final

from poolproof.errors import UsageError

UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|min|s|m|h)")
_WHOLE: Final = re.compile(rf"\s*(?:{_PART.pattern}\s*)+")


def seconds(duration: str | float, what: str = "a duration") -> float:
    """How long that is, in seconds.

    Args:
        duration: one or more numbers with their units, or a plain number of seconds.
        what: what is that long, for the error.

    Raises:
        UsageError: it is none, or below 0, or has no end.
    """
    if isinstance(duration, str):
        if not _WHOLE.fullmatch(duration):
            units = ", ".join(UNITS)
            raise UsageError(f"{what}: {duration!r} is no duration: write numbers with a unit each ({units}): 1m30s")
        return sum(float(number) * UNITS[unit] for number, unit in _PART.findall(duration))
    if type(duration) not in (int, float) or not 0 <= duration < math.inf:  # True is a number, too
        raise UsageError(f"{what}: {duration!r} is no duration: expected seconds of 0 or more, or text such as '30s'")
    return float(duration)
