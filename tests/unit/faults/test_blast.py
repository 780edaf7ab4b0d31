import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.errors import BlastRadiusError
from poolproof.faults import check_plan, victims_wanted
from poolproof.plan import FaultSpec, Limits

LIMITS = Limits(max_share=0.8, min_survivors=1, max_fault_s=60, max_processes=256)


def kill(count: int = 0, share: float = 0.0) -> FaultSpec:
    return FaultSpec(kind="kill", count=count, share=share, at_s=1)


def stall(seconds: float) -> FaultSpec:
    return FaultSpec(kind="stall", count=1, at_s=1, for_s=seconds)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_count_is_taken_as_it_is(count: int) -> None:
    assert victims_wanted(kill(count), 4, LIMITS) == count


@pytest.mark.parametrize(
    ("share", "live", "wanted"),
    [(0.6, 4, 3), (0.6, 5, 3), (0.6, 10, 6), (0.5, 4, 2), (0.01, 4, 1), (0.8, 5, 4), (0.28, 25, 7)],
)
def test_a_share_is_rounded_up(share: float, live: int, wanted: int) -> None:
    assert victims_wanted(kill(share=share), live, LIMITS) == wanted


def test_a_share_is_rounded_down_where_it_is_the_rounding_alone_that_exceeds_the_limits() -> None:
    assert victims_wanted(kill(share=0.6), 2, LIMITS) == 1


def test_more_than_the_largest_share_is_refused() -> None:
    with pytest.raises(
        BlastRadiusError, match=r"kill 9 workers .*: 9 of 10 workers are more than limits\.max_share = 0\.8"
    ):
        victims_wanted(kill(9), 10, LIMITS)


def test_just_the_largest_share_is_allowed() -> None:
    assert victims_wanted(kill(8), 10, LIMITS) == 8


def test_fewer_than_the_least_survivors_are_refused() -> None:
    with pytest.raises(BlastRadiusError, match=r"1 of 4 workers would survive, limits\.min_survivors = 2"):
        victims_wanted(kill(3), 4, Limits(max_share=1, min_survivors=2, max_fault_s=60, max_processes=256))


def test_just_the_least_survivors_are_allowed() -> None:
    limits = Limits(max_share=1, min_survivors=2, max_fault_s=60, max_processes=256)
    assert victims_wanted(kill(2), 4, limits) == 2


@pytest.mark.parametrize("live", [0, 1])
def test_a_fault_that_would_leave_nobody_is_refused(live: int) -> None:
    with pytest.raises(BlastRadiusError):
        victims_wanted(kill(1), live, LIMITS)


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0, 1), st.floats(0.01, 1), st.integers(0, 5))
def test_whatever_is_wanted_is_within_the_limits(
    live: int, count: int, share: float, max_share: float, min_survivors: int
) -> None:
    limits = Limits(max_share=max_share, min_survivors=min_survivors, max_fault_s=60, max_processes=256)
    try:
        wanted = victims_wanted(kill(count, share), live, limits)
    except BlastRadiusError:
        return
    assert wanted <= max_share * live + 1e-9
    assert live - wanted >= min_survivors


def test_a_plan_within_the_limits_passes() -> None:
    check_plan((kill(1), stall(30), stall(30)), 4, LIMITS)


def test_a_plan_with_one_fault_beyond_the_limits_is_refused() -> None:
    with pytest.raises(BlastRadiusError, match="4 of 4 workers"):
        check_plan((kill(1), kill(4)), 4, LIMITS)


def test_a_plan_whose_faults_last_too_long_together_is_refused() -> None:
    with pytest.raises(BlastRadiusError, match=r"the faults last 70 s together, limits\.max_fault_s = 60"):
        check_plan((stall(30), stall(40)), 4, LIMITS)


def test_a_fault_on_the_parent_is_not_counted_in_workers() -> None:
    check_plan((FaultSpec(kind="kill", target="parent", at_s=1, count=9),), 4, LIMITS)
