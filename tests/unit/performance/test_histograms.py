from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given
from hypothesis import strategies as st

from poolproof.errors import UsageError
from poolproof.performance.histograms import HIGHEST_NS, count, encode, percentile, write_log
from poolproof.statistics import percentile as raw_percentile

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def times(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@given(st.lists(st.integers(0, HIGHEST_NS), min_size=2, max_size=300), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_a_percentile_is_the_one_of_the_raw_times_and_at_most_a_thousandth_above(
    values: list[int], quantile: float
) -> None:
    raw, kept = raw_percentile(times(*values), quantile), percentile(encode(times(*values)), quantile)
    if raw is None or kept is None:
        assert raw is kept
    else:
        assert raw <= kept <= raw * 1.001


@given(st.lists(st.floats(0, 42), min_size=2, max_size=100))
def test_that_holds_for_times_of_every_magnitude(exponents: list[float]) -> None:
    values = np.minimum(np.exp2(np.array(exponents)).astype(np.int64), HIGHEST_NS)
    raw = float(np.percentile(values, 50, method="inverted_cdf"))
    kept = percentile(encode(values), 0.5)
    assert kept is not None
    assert raw <= kept <= raw * 1.001


def test_the_rank_of_a_percentile_is_rounded_up_as_with_raw_times() -> None:
    values = times(*[1_000] * 158, 5_000, 9_000)
    assert percentile(encode(values), 0.99) == pytest.approx(raw_percentile(values, 0.99), rel=1e-3)


def test_every_time_is_kept() -> None:
    assert count(encode(np.arange(0, 5_000_000, 7, dtype=np.int64))) == len(range(0, 5_000_000, 7))


def test_it_holds_what_the_library_itself_would_have_recorded() -> None:
    values = np.random.default_rng(1).lognormal(13, 3, 5_000).astype(np.int64)
    theirs = HdrHistogram(1, HIGHEST_NS, 3)
    for value in values:
        theirs.record_value(int(value))
    assert HdrHistogram.decode(encode(values)).equals(HdrHistogram.decode(theirs.encode()))


def test_it_is_encoded_as_version_2_compressed() -> None:
    assert encode(times(1_000)).startswith("HISTFAAAA")


def test_no_times_give_a_histogram_without_percentiles() -> None:
    empty = encode(times())
    assert (count(empty), percentile(empty, 0.5)) == (0, None)


def test_too_few_times_give_no_percentile() -> None:
    assert percentile(encode(np.full(99, 1_000)), 0.99) is None


@pytest.mark.parametrize("value", [-1, HIGHEST_NS + 1])
def test_a_time_that_does_not_fit_is_refused_and_not_dropped(value: int) -> None:
    with pytest.raises(ValueError, match="between 0 and 1 h"):
        encode(times(1_000, value))


@pytest.mark.parametrize("quantile", [0, 1, 99])
def test_a_quantile_outside_of_zero_and_one_is_refused(quantile: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        percentile(encode(times(1, 2)), quantile)


GOOD = encode(np.random.default_rng(1).integers(1_000, 10**9, 1_000))


@pytest.mark.parametrize(
    "text",
    ["", "x", "A" * 100, GOOD[:-40], GOOD[:100] + "AAAA" + GOOD[104:]],
    ids=["empty", "no base64", "otherwise begun", "cut short", "damaged"],
)
def test_what_is_no_histogram_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        count(text)


def read(path: Path) -> list[HdrHistogram]:
    reader = HistogramLogReader(str(path), HdrHistogram(1, HIGHEST_NS, 3))
    found = []
    while (one := reader.get_next_interval_histogram()) is not None:
        found.append(one)
    reader.input_file.close()
    return found


def test_a_log_is_read_back_by_the_librarys_own_reader_interval_by_interval(tmp_path: Path) -> None:
    path = tmp_path / "run.hlog"
    starts = 77 * 10**9 + times(2_100, 0, 900, 1_100) * 10**6  # in any order
    write_log(path, starts, times(4_000_000, 1_000, 2_000_000, 3_000_000), interval_s=1, began=BEGAN)
    assert [
        (one.get_start_time_stamp() / 1e3 - BEGAN.timestamp(), one.get_total_count(), one.get_max_value())
        for one in read(path)
    ] == [(0.0, 2, 2_000_895), (1.0, 1, 3_000_319), (2.0, 1, 4_001_791)]


def test_the_times_in_a_log_count_from_its_base_as_other_readers_want_it_too(tmp_path: Path) -> None:
    path = tmp_path / "run.hlog"
    write_log(path, times(7), times(1_000), interval_s=1, began=BEGAN)
    head = path.read_text().splitlines()
    assert f"#[BaseTime: {BEGAN.timestamp():.3f} (seconds since epoch)]" in head
    assert f"#[StartTime: {BEGAN.timestamp():.3f} (seconds since epoch), 2026-01-02 03:04:05+00:00]" in head


def test_an_interval_ends_where_the_next_begins(tmp_path: Path) -> None:
    path = tmp_path / "run.hlog"
    write_log(path, times(0, 250_000_000), times(1, 1), interval_s=0.25, began=BEGAN)
    first, second = read(path)
    assert first.get_end_time_stamp() == second.get_start_time_stamp()


def test_an_interval_in_which_nothing_was_started_is_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "run.hlog"
    write_log(path, times(0, 2_000_000_000), times(5_000, 5_000), interval_s=1, began=BEGAN)
    assert [one.get_total_count() for one in read(path)] == [1, 0, 1]


def test_the_log_tells_the_greatest_time_of_an_interval_in_milliseconds(tmp_path: Path) -> None:
    path = tmp_path / "run.hlog"
    write_log(path, times(0), times(1_500), interval_s=1, began=BEGAN)
    assert path.read_text().splitlines()[-1].startswith("0.000000,1.000000,0.001500,HISTF")


def test_a_log_of_nothing_has_its_head_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.hlog"
    write_log(path, times(), times(), interval_s=1, began=BEGAN)
    assert read(path) == []
    assert path.read_text().startswith("#[Histogram log format version 1.3]\n")


def test_starts_without_times_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 starts do not belong to 1 times"):
        write_log(tmp_path / "run.hlog", times(1, 2), times(1), interval_s=1, began=BEGAN)


@pytest.mark.parametrize("interval_s", [0, -1, float("nan")])
def test_an_interval_without_length_is_refused(tmp_path: Path, interval_s: float) -> None:
    with pytest.raises(ValueError, match="an interval is longer"):
        write_log(tmp_path / "run.hlog", times(1), times(1), interval_s=interval_s, began=BEGAN)


def test_a_log_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere.*name a file that you may write"):
        write_log(tmp_path / "nowhere" / "run.hlog", times(1), times(1), interval_s=1, began=BEGAN)
