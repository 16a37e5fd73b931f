"""Intervals of differences and ratios, against the tables of the papers that the method is from."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.metrics.accuracy import wilson
from moecap.metrics.difference import Estimate, difference, ratio


def share(successes, n):
    return Estimate(successes / n, *wilson(successes, n))


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
    ],
)
def test_two_shares_differ_as_in_newcombes_table(first, second, low, high):
    """R. G. Newcombe, Statistics in Medicine 17 (1998) 873-890, table II, method 10."""
    found = difference(share(*second), share(*first))
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_two_normal_means_give_the_textbook_interval():
    """Standard errors 3 and 4 make one of 5 for the difference."""
    z = 1.96
    found = difference(Estimate(10, 10 - 3 * z, 10 + 3 * z), Estimate(30, 30 - 4 * z, 30 + 4 * z))
    assert (found.value, found.low, found.high) == pytest.approx((20, 20 - 5 * z, 20 + 5 * z))


def test_a_ratio_of_two_lognormal_numbers_by_hand():
    """ln 2 with arms 0.3 and ln 6 with arms 0.4: ln 3 with arms 0.5."""
    a = Estimate(2, 2 * math.exp(-0.3), 2 * math.exp(0.3))
    b = Estimate(6, 6 * math.exp(-0.4), 6 * math.exp(0.4))
    found = ratio(a, b)
    assert (found.value, found.low, found.high) == pytest.approx((3, 3 * math.exp(-0.5), 3 * math.exp(0.5)))


def test_a_ratio_needs_numbers_above_zero():
    assert ratio(Estimate(1, 0, 2), Estimate(3, 2, 4)) is None


@given(*(st.tuples(st.floats(1, 1e3), st.floats(0.01, 0.99), st.floats(0.01, 10)) for _ in range(2)))
def test_a_difference_turned_round_is_its_mirror_image(one, other):
    a, b = (Estimate(value, value * down, value * (1 + up)) for value, down, up in (one, other))
    there, back = difference(a, b), difference(b, a)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    over, under = ratio(a, b), ratio(b, a)
    assert over.low == pytest.approx(1 / under.high)
