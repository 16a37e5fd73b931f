"""Arrivals of an open loop, against their definitions."""

import numpy as np
import pytest

from moecap.errors import BadInputError
from moecap.load.arrivals import constant, gamma, poisson, ramp, replay


def test_a_constant_rate_has_equal_gaps():
    assert constant(4.0, 5).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_poisson_process_has_exponential_gaps_of_the_right_mean():
    gaps = np.sort(np.diff(poisson(20.0, 20_001, np.random.default_rng(1))))
    n = len(gaps)
    distance = np.abs(np.arange(1, n + 1) / n - (1 - np.exp(-20 * gaps))).max()
    assert distance < 1.63 / n**0.5  # Kolmogorov-Smirnov at the level of 1 %


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gamma_gaps_keep_the_rate_and_have_the_variation_of_their_shape(burstiness):
    gaps = np.diff(gamma(10.0, burstiness, 40_000, np.random.default_rng(2)))
    assert gaps.mean() == pytest.approx(0.1, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.05)


def test_a_ramp_reaches_its_rates_and_its_number():
    times = ramp(1.0, 9.0, 500)
    assert times[0] == 0
    assert np.diff(times)[0] == pytest.approx(1.0, rel=0.05)
    assert np.diff(times)[-1] == pytest.approx(1 / 9, rel=0.01)
    assert times[-1] == pytest.approx(500 / 5, rel=0.01)
    assert ramp(2.0, 2.0, 4).tolist() == [0.0, 0.5, 1.0, 1.5]
    assert (np.diff(ramp(9.0, 1.0, 100)) > 0).all()


def test_a_trace_is_sorted_shifted_and_scaled():
    assert replay([12.0, 10.0, 11.0], speed=2.0).tolist() == [0.0, 0.5, 1.0]
    assert replay([]).tolist() == []


@pytest.mark.parametrize("call", [lambda: constant(0, 3), lambda: ramp(1, -1, 3), lambda: replay([1.0], 0)])
def test_rates_that_are_not_positive_are_refused(call):
    with pytest.raises(BadInputError, match="must be a positive number"):
        call()


def test_a_timestamp_that_is_no_number_is_refused():
    with pytest.raises(BadInputError, match="timestamp"):
        replay([1.0, float("nan")])


def test_one_or_no_arrival_is_no_problem():
    assert poisson(1.0, 1, np.random.default_rng(0)).tolist() == [0.0]
    assert poisson(1.0, 0, np.random.default_rng(0)).tolist() == []
