"""The verdicts of the performance suite: they must go red when they should, and say why."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.performance.racing import (
    ROUNDS_NEEDED,
    NotMeasured,
    Race,
    Row,
    alone,
    in_digits,
    joined,
    missed,
    rows,
    run,
    table,
)


def raced(**figures: tuple[float, ...]) -> Race:
    return Race(what="a call", unit="us", figures=figures)


def costs(*figures: float) -> Callable[[], float]:
    return iter(figures).__next__


def test_the_rounds_go_there_and_back() -> None:
    seen: list[str] = []

    def contestant(name: str) -> Callable[[], float]:
        def measure() -> float:
            seen.append(name)
            return 1.0

        return measure

    run("a call", "us", {name: contestant(name) for name in "ABC"}, rounds=4)

    assert "".join(seen) == "ABCCBAABCCBA"


def test_every_figure_goes_to_the_one_who_gave_it() -> None:
    race = run("a call", "us", {"one": costs(1, 2, 3), "other": costs(4, 5, 6)}, rounds=3)
    assert race.figures == {"one": (1, 2, 3), "other": (4, 5, 6)}


def test_the_error_of_a_contestant_ends_the_race() -> None:
    def fail() -> float:
        raise NotMeasured("it died")

    with pytest.raises(NotMeasured, match="it died"):
        run("a call", "us", {"one": costs(1, 2, 3), "other": fail}, rounds=3)


def test_a_ratio_tells_how_many_times_the_second_the_first_is() -> None:
    assert raced(one=(6, 6, 6), other=(2, 2, 2)).ratio("one", "other") == 3


def test_an_excess_tells_by_how_much_the_first_is_more() -> None:
    assert raced(one=(6, 7, 6), other=(2, 2, 1)).excess("one", over="other") == 5


@pytest.mark.parametrize("disturbed", [0.001, 1000])
def test_one_disturbed_round_changes_nothing(disturbed: float) -> None:
    race = raced(one=(6, disturbed, 6), other=(2, 2, 2))
    assert (race.median("one"), race.ratio("one", "other"), race.excess("one", over="other")) == (6, 3, 4)


def test_a_machine_that_slows_down_changes_no_ratio() -> None:
    assert raced(one=(3, 30, 300), other=(1, 10, 100)).ratio("one", "other") == 3


@given(st.floats(0.1, 10), st.lists(st.floats(1, 100), min_size=ROUNDS_NEEDED, max_size=20))
def test_a_bound_is_missed_exactly_where_the_peer_is_not_slow_enough(bound: float, ours: list[float]) -> None:
    peer = tuple(2.5 * figure for figure in ours)
    race = raced(ours=tuple(ours), peer=peer)
    assert bool(missed(race, "ours", {"peer": bound})) == (race.ratio("peer", "ours") < bound)


@pytest.mark.parametrize(
    ("ours", "bound"),
    [
        pytest.param(4.01, 2.5, id="not as many times faster"),
        pytest.param(30.1, 1 / 3, id="too many times slower"),
        pytest.param(10.1, 1, id="slower at all"),
    ],
)
def test_a_bound_that_is_just_missed_is_told(ours: float, bound: float) -> None:
    (told,) = missed(raced(ours=(ours,) * 3, peer=(10,) * 3), "ours", {"peer": bound})
    assert told.startswith("a call: peer takes ")
    assert f"instead of {bound:.3f} at least" in told


@pytest.mark.parametrize(("ours", "bound"), [(4, 2.5), (30, 1 / 3), (10, 1)])
def test_a_bound_that_is_just_met_is_not_told(ours: float, bound: float) -> None:
    assert missed(raced(ours=(ours,) * 3, peer=(10,) * 3), "ours", {"peer": bound}) == []


def test_every_bound_is_judged_by_itself() -> None:
    race = raced(ours=(2,) * 3, slow=(9,) * 3, fast=(1,) * 3, quick=(3,) * 3)
    told = missed(race, "ours", {"fast": 1.5, "slow": 1.5, "quick": 2})
    assert [line.split()[2] for line in told] == ["fast", "quick"]


@pytest.mark.parametrize("ours", ["ours", "peer"])
def test_who_took_no_part_is_not_passed(ours: str) -> None:
    race = raced(ours=(1, 1, 1), other=(9, 9, 9))
    with pytest.raises(NotMeasured, match="peer took no part"):
        missed(race, ours, {"peer" if ours == "ours" else "ours": 1})


def test_without_bounds_there_is_no_verdict() -> None:
    with pytest.raises(NotMeasured, match="without a bound"):
        missed(raced(ours=(1, 1, 1)), "ours", {})


def test_joined_races_are_judged_by_all_their_rounds() -> None:
    slow, fast = raced(ours=(1, 1, 1), peer=(4, 4, 4)), raced(ours=(10,) * 4, peer=(5,) * 4)
    race = joined("any call", [slow, fast])
    assert race.pairs("peer", "ours") == (4, 4, 4, 0.5, 0.5, 0.5, 0.5)
    assert missed(race, "ours", {"peer": 1})


@pytest.mark.parametrize("other", [raced(peer=(1, 1, 1)), Race(what="it", unit="ms", figures={"ours": (1, 1, 1)})])
def test_races_of_others_or_in_another_unit_are_not_joined(other: Race) -> None:
    with pytest.raises(NotMeasured, match="other units or contestants"):
        joined("any call", [raced(ours=(1, 1, 1)), other])


@pytest.mark.parametrize("figure", [0, -1, math.nan, math.inf])
@pytest.mark.parametrize("who", ["ours", "peer"])
def test_a_figure_that_is_no_cost_is_refused(who: str, figure: float) -> None:
    with pytest.raises(NotMeasured, match=f"of {who} is no measured cost"):
        raced(**{"ours": (1, 1, 1), "peer": (9, 9, 9)} | {who: (1, figure, 1)})


@pytest.mark.parametrize("figures", [{}, {"ours": (1, 1), "peer": (9, 9)}, {"ours": (1, 1, 1), "peer": (9, 9, 9, 9)}])
def test_rounds_that_are_missing_are_no_race(figures: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(NotMeasured, match="all need the same rounds"):
        raced(**figures)


def test_the_table_is_markdown_below_its_machine() -> None:
    row = Row(measure="a call", of="peer", median="4.00 us", rounds="3.00 – 5.00", ratio="1.50", pairs="1.40 – 1.60")
    assert table([row], "an abacus").splitlines() == [
        "Measured on an abacus:",
        "",
        "| measure | of | median | rounds | ratio | pairs |",
        "| --- | --- | --- | --- | --- | --- |",
        "| a call | peer | 4.00 us | 3.00 – 5.00 | 1.50 | 1.40 – 1.60 |",
    ]


def test_a_line_tells_how_many_times_ours_it_is() -> None:
    ours, peer = rows(raced(ours=(4, 3, 5), peer=(40, 30, 50)), "ours")
    assert (ours.median, ours.rounds, ours.ratio) == ("4.00 us", "3.00 – 5.00", "1.00")
    assert (peer.median, peer.rounds, peer.ratio) == ("40.0 us", "30.0 – 50.0", "10.00")


def test_a_line_tells_from_what_to_what_the_ratio_is_in_a_round() -> None:
    # The figures alone would say from 1 to 100: what counts is who met whom.
    ours, peer = rows(raced(ours=(1, 10, 2), peer=(10, 100, 40)), "ours")
    assert (ours.pairs, peer.pairs) == ("", "10.0 – 20.0")


def test_what_is_measured_by_itself_has_no_ratio() -> None:
    assert alone("a start", "s", [3, 1, 2], of="ours") == Row(
        measure="a start", of="ours", median="2.00 s", rounds="1.00 – 3.00", ratio="", pairs=""
    )


@pytest.mark.parametrize(
    ("figure", "digits"), [(0.01234, "0.0123"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")]
)
def test_a_figure_has_three_digits_that_count(figure: float, digits: str) -> None:
    assert in_digits(figure) == digits
