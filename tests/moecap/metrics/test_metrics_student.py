"""Student's t distribution against SciPy, and the interval of a mean against a worked example."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from moecap.metrics.student import mean_interval, student_probability, student_quantile


@given(st.floats(-60, 60), st.floats(0.7, 1e5))
def test_the_distribution_function_is_that_of_scipy(t, degrees):
    assert student_probability(t, degrees) == pytest.approx(stats.t.cdf(t, degrees), rel=1e-7, abs=1e-12)


@given(st.floats(0.51, 0.9999), st.floats(0.7, 1e5))
def test_the_quantile_is_that_of_scipy_for_broken_degrees_of_freedom_too(probability, degrees):
    assert student_quantile(probability, degrees) == pytest.approx(stats.t.ppf(probability, degrees), rel=1e-7)


def test_the_interval_of_a_mean_by_hand():
    # mean 4, s = 2, n = 3: half width 4.302653 * 2 / sqrt(3)
    low, high = mean_interval([2.0, 4.0, 6.0])
    assert (low, high) == pytest.approx((4 - 4.968276, 4 + 4.968276), abs=1e-5)
