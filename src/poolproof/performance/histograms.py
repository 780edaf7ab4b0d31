"""Times as HdrHistograms (V2), for what is kept of a run; within it, percentiles come from its raw times.

A histogram reaches to 1 h with 3 significant digits: what is read out of it is never below what went in, and at most
0.1 % above. Its lowest value is a nanosecond, and not the microsecond below which no benchmark looks: HdrHistogram
would make its steps half as wide as that, and tell 20 µs to within 2.5 %.
"""

import math
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from poolproof.errors import UsageError
from poolproof.statistics import samples_needed

LOWEST_NS: Final = 1
HIGHEST_NS: Final = 3_600 * 10**9
DIGITS: Final = 3

_STEPS_BITS: Final = 11  # 2048 steps are the power of two that tells 2 × 10 ** DIGITS apart


def encode(times_ns: npt.NDArray[np.integer[Any]]) -> str:
    """Times in ns, shape (n,), as an HdrHistogram V2, compressed, in base64.

    Raises:
        ValueError: a time is negative or over an hour.
    """
    return str(_recorded(times_ns).encode().decode())


def count(encoded: str) -> int:
    """How many times a histogram holds.

    Raises:
        ValueError: it is no HdrHistogram V2 in base64.
    """
    return int(_decoded(encoded).get_total_count())


def percentile(encoded: str, quantile: float) -> float | None:
    """The nearest-rank percentile in ns, up to 0.1 % too high; None below `statistics.samples_needed`.

    HdrHistogram's own function rounds the rank, where `statistics.percentile` takes the next higher: of 160 times, its
    p99 is another one.

    Raises:
        ValueError: it is no HdrHistogram V2 in base64, or the quantile is not between 0 and 1.
    """
    if not 0 < quantile < 1:
        raise ValueError(f"a quantile lies between 0 and 1, not at {quantile}")
    histogram = _decoded(encoded)
    total = int(histogram.get_total_count())
    if total < samples_needed(quantile):
        return None
    reached = np.cumsum(np.ctypeslib.as_array(histogram.counts))
    index = int(np.searchsorted(reached, math.ceil(quantile * total)))
    return float(histogram.get_highest_equivalent_value(histogram.get_value_from_index(index)))


def write_log(
    path: Path,
    starts_ns: npt.NDArray[np.integer[Any]],
    times_ns: npt.NDArray[np.integer[Any]],
    *,
    interval_s: float,
    began: datetime,
) -> None:
    """Write a histogram log (V2, `.hlog`): one histogram for each interval, also where nothing was started in it.

    Args:
        path: where to; a file that is there is replaced.
        starts_ns: when each was started, on any clock that does not jump; shape (n,), in any order.
        times_ns: how long each took; shape (n,).
        interval_s: the length of an interval; the first begins with the first start.
        began: the time of day of the first start, with its time zone.

    Raises:
        UsageError: the file can't be written.
        ValueError: a time is negative or over an hour, the shapes differ, or the interval is not above 0.
    """
    if len(starts_ns) != len(times_ns):
        raise ValueError(f"{len(starts_ns)} starts do not belong to {len(times_ns)} times")
    if not interval_s > 0:
        raise ValueError(f"an interval is longer than {interval_s} s")
    lines = "".join(f"{line}\n" for line in (*_head(began), *_intervals(starts_ns, times_ns, interval_s)))
    try:
        path.write_text(lines, encoding="utf-8")
    except OSError as error:
        told = f"the histogram log can't be written to {path}: {error.strerror}; name a file that you may write"
        raise UsageError(told) from error


def _head(began: datetime) -> tuple[str, ...]:
    # The library's own writer of these lines raises on the start, and cuts the maximum to whole units.
    epoch_s = began.timestamp()
    day = began.astimezone(UTC).isoformat(sep=" ", timespec="seconds")
    return (
        "#[Histogram log format version 1.3]",
        "#[Times are in ns, the Interval_Max in ms]",
        f"#[BaseTime: {epoch_s:.3f} (seconds since epoch)]",
        f"#[StartTime: {epoch_s:.3f} (seconds since epoch), {day}]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    )


def _intervals(
    starts_ns: npt.NDArray[np.integer[Any]], times_ns: npt.NDArray[np.integer[Any]], interval_s: float
) -> list[str]:
    if len(starts_ns) == 0:
        return []
    since = np.asarray(starts_ns, dtype=np.int64) - int(np.min(starts_ns))
    places = since // max(1, round(interval_s * 1e9))
    lines = []
    for place in range(int(places.max()) + 1):
        histogram = _recorded(times_ns[places == place])
        highest_ms = histogram.get_max_value() / 1e6
        payload = histogram.encode().decode()
        lines.append(f"{place * interval_s:.6f},{interval_s:.6f},{highest_ms:.6f},{payload}")
    return lines


def _recorded(times_ns: npt.NDArray[np.integer[Any]]) -> Any:
    from hdrh.histogram import HdrHistogram

    times = np.asarray(times_ns, dtype=np.int64)
    histogram = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    if not len(times):
        return histogram
    if times.min() < 0 or times.max() > HIGHEST_NS:
        raise ValueError(f"times lie between 0 and 1 h, not between {times.min()} and {times.max()} ns")
    # One call a value would take seconds for a million: they are brought to the histogram's own steps first, of which
    # there are some thousands at most.
    _, bits = np.frexp(times.astype(np.float64))  # exact: an hour takes 42 bits of the 53
    shift = np.maximum(bits.astype(np.int64) - _STEPS_BITS, 0)
    for value, times_seen in zip(*np.unique(times >> shift << shift, return_counts=True), strict=True):
        histogram.record_value(int(value), int(times_seen))
    return histogram


def _decoded(encoded: str) -> Any:
    from hdrh.codec import HdrCookieException, HdrLengthException
    from hdrh.histogram import HdrHistogram

    try:
        return HdrHistogram.decode(encoded)
    except (HdrCookieException, HdrLengthException, zlib.error) as error:
        raise ValueError(f"no HdrHistogram V2: {str(error) or 'it begins otherwise'}") from error
