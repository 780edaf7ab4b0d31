import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.errors import UsageError
from poolproof.plan import seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250us", 0.00025),
        ("500ms", 0.5),
        ("30s", 30.0),
        ("2m", 120.0),
        ("2min", 120.0),
        ("3h", 10_800.0),
        ("1.5s", 1.5),
        ("0s", 0.0),
    ],
)
def test_a_number_with_a_unit_is_so_many_seconds(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["1h30m5s", "1h 30m 5s", "  1h30m5s ", "1 h 30 m 5 s"])
def test_several_parts_are_added_however_they_are_spaced(text: str) -> None:
    assert seconds(text) == 5405.0


@pytest.mark.parametrize("number", [0, 3, 0.25])
def test_a_plain_number_is_of_seconds(number: float) -> None:
    assert seconds(number) == number


@given(st.integers(0, 10_000), st.integers(0, 59), st.integers(0, 999))
def test_what_is_written_is_what_is_read(minutes: int, whole: int, milliseconds: int) -> None:
    assert seconds(f"{minutes}m{whole}s{milliseconds}ms") == pytest.approx(minutes * 60 + whole + milliseconds / 1000)


@pytest.mark.parametrize("text", ["", " ", "30", "soon", "s", "-1s", "1 fortnight", "1s later", "1,5s", ".5s", "5S"])
def test_text_that_is_no_duration_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        seconds(text)
    assert str(caught.value) == (
        f"a duration: {text!r} is no duration: write numbers with a unit each (us, ms, s, m, min, h): 1m30s"
    )


@pytest.mark.parametrize("number", [-0.1, -1, math.nan, math.inf, -math.inf, True, None])
def test_a_number_that_is_no_duration_is_refused(number: Any) -> None:
    with pytest.raises(UsageError, match=r"is no duration: expected seconds of 0 or more, or text such as '30s'"):
        seconds(number)


def test_the_error_says_what_was_to_be_that_long() -> None:
    with pytest.raises(UsageError, match=r"^hold\(5, …\): 'x' is no duration"):
        seconds("x", "hold(5, …)")
