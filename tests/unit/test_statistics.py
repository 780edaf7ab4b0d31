import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolproof.statistics import QUANTILES, percentile, samples_needed


@pytest.mark.parametrize(("quantile", "needed"), [(0.50, 2), (0.90, 10), (0.95, 20), (0.99, 100), (0.999, 1000)])
def test_a_percentile_takes_one_sample_at_least_beyond_it(quantile: float, needed: int) -> None:
    assert samples_needed(quantile) == needed


@pytest.mark.parametrize("quantile", QUANTILES.values())
def test_there_is_no_percentile_of_too_few_samples(quantile: float) -> None:
    assert percentile(np.arange(samples_needed(quantile) - 1), quantile) is None


@pytest.mark.parametrize("quantile", QUANTILES.values())
def test_there_is_a_percentile_of_just_enough_samples(quantile: float) -> None:
    assert percentile(np.arange(samples_needed(quantile)), quantile) is not None


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=150), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_it_is_the_smallest_value_that_enough_values_do_not_exceed(values: list[int], quantile: float) -> None:
    found = percentile(np.array(values), quantile)
    enough = [v for v in sorted(values) if sum(w <= v for w in values) >= quantile * len(values)]
    assert found == (enough[0] if len(values) >= samples_needed(quantile) else None)


def test_it_leaves_the_values_in_their_order() -> None:
    values = np.array([3, 1, 2])
    percentile(values, 0.5)
    assert values.tolist() == [3, 1, 2]


@pytest.mark.parametrize("quantile", [0, 1, -0.1, 95])
def test_a_quantile_outside_of_zero_and_one_is_refused(quantile: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        percentile(np.arange(1000), quantile)
