"""The intervals of comparisons: against hand calculation, SciPy, published tables, and simulated loads."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from moecap.metrics.block_bootstrap import CELLS, Cells, TooShortError, block_length
from moecap.metrics.difference import Estimate, Spread, spread_of, told_apart, verdict, welch_difference, welch_ratio
from moecap.metrics.direction import better_of
from moecap.metrics.paired import mcnemar, paired


def test_welch_by_hand_and_as_scipy_has_it():
    a, b = [10.0, 12.0, 11.0], [15.0, 14.0, 19.0, 16.0]
    one, other = spread_of(a), spread_of(b)
    assert (one.value, one.error**2, one.freedom) == pytest.approx((11, 1 / 3, 2))
    assert (other.value, other.error**2) == pytest.approx((16, 14 / 3 / 4))
    freedom = (1 / 3 + 14 / 12) ** 2 / ((1 / 3) ** 2 / 2 + (14 / 12) ** 2 / 3)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(1.5)
    found = welch_difference(one, other)
    assert (found.low, found.high) == pytest.approx((5 - half, 5 + half))
    theirs = stats.ttest_ind(b, a, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))


def test_a_ratio_of_means_by_hand():
    """Relative errors of 3 and 4 % make one of 5 %; both of 8 degrees."""
    found = welch_ratio(Spread(2, 0.06, 8), Spread(3, 0.12, 8))
    freedom = 0.05**4 / (0.03**4 / 8 + 0.04**4 / 8)
    factor = math.exp(0.05 * stats.t.ppf(0.975, freedom))
    assert (found.value, found.low, found.high) == pytest.approx((1.5, 1.5 / factor, 1.5 * factor))
    assert welch_ratio(Spread(0, 0.1, 8), Spread(1, 0.1, 8)) is None


@pytest.mark.parametrize(("only_a", "only_b"), [(2, 12), (0, 0), (7, 7), (0, 5), (900, 1100)])
def test_mcnemar_is_a_binomial_test(only_a, only_b):
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(expected)


def test_paired_shares_differ_as_in_newcombes_table():
    """R. G. Newcombe, Statistics in Medicine 17 (1998) 2635-2650: 36 both, 12 and 2 of one alone, none of neither."""
    a = [1] * 36 + [0] * 12 + [1] * 2
    b = [1] * 36 + [1] * 12 + [0] * 2
    found = paired(a, b)
    assert (found.only_a, found.only_b, found.n) == (2, 12, 50)
    assert (found.gap.value, round(found.gap.low, 4), round(found.gap.high, 4)) == (pytest.approx(0.2), 0.0569, 0.3404)


def test_paired_scores_that_are_no_zeros_and_ones_use_their_differences():
    rng = np.random.default_rng(1)
    a = rng.uniform(0, 0.5, 400)
    b = a + 0.05 + rng.normal(0, 0.01, 400)
    found = paired(a.tolist(), b.tolist())
    half = 1.96 * (b - a).std(ddof=1) / 20
    assert found.p is None
    assert (found.gap.low, found.gap.high) == pytest.approx(((b - a).mean() - half, (b - a).mean() + half), abs=4e-4)


def test_a_verdict_follows_from_the_interval_and_the_direction():
    assert verdict(Estimate(1.2, 1.1, 1.3), 1, "lower") == "worse"
    assert verdict(Estimate(1.2, 1.1, 1.3), 1, "higher") == "better"
    assert verdict(Estimate(0.8, 0.7, 0.9), 1, "neither") == "lower"
    assert verdict(Estimate(1.2, 0.9, 1.5), 1, "lower") == "no difference shown"


def test_directions_of_metrics():
    higher = ["output_tokens_per_second", "decode.s_mbu", "accuracy.gsm8k", "requests_per_second_whole_run"]
    lower = ["ttft.p99", "e2e_from_schedule.p50", "cost_per_million_tokens", "accuracy.gsm8k_failed", "failed_requests"]
    neither = ["decode.mbu", "busy_fraction", "experts.distinct_mean", "accuracy.gsm8k_stderr"]
    assert {better_of(name) for name in higher} == {"higher"}
    assert {better_of(name) for name in lower} == {"lower"}
    assert {better_of(name) for name in neither} == {"neither"}


def autoregressive(rng, n, rho):
    noise = rng.standard_normal(n + 100) * math.sqrt(1 - rho**2)
    series = np.empty(n + 100)
    series[0] = rng.standard_normal()
    for i in range(1, n + 100):
        series[i] = rho * series[i - 1] + noise[i]
    return series[100:]


@pytest.mark.parametrize("rho", [0.3, 0.6])
def test_the_length_of_blocks_is_that_of_theory(rho):
    """Of an AR(1) the best length is (6 rho² / (1 - rho²)²)^(1/3) n^(1/3)."""
    rng = np.random.default_rng(3)
    found = np.median([block_length(autoregressive(rng, 2000, rho)) for _ in range(30)])
    assert found == pytest.approx((6 * rho**2 / (1 - rho**2) ** 2) ** (1 / 3) * 2000 ** (1 / 3), rel=0.25)


def load(rng, n, rho, factor=1.0):
    """Latencies of n requests, 16 at a time, and the cells of their load."""
    latency = np.exp(0.3 * autoregressive(rng, n, rho)) * factor
    when = np.cumsum(latency / 16) * 1e9
    return Cells(0, int(when[-1]), float(latency.mean() * 1e9)), when, latency


def median_ratio(rng, rho, factor=1.0):
    sides = []
    for times in (1.0, factor):
        cells, when, latency = load(rng, 240, rho, times)
        found = cells.percentile(when, latency, 50)
        sides.append(Spread(found.value, found.error * found.value, found.freedom))
    return welch_ratio(*sides)


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_two_runs_of_the_same_are_seldom_told_apart(rho, record_property):
    """Nominally one in twenty; with a correlation of 0.5 between neighbours somewhat more."""
    rng = np.random.default_rng(0)
    rate = np.mean([told_apart(median_ratio(rng, rho), 1.0) for _ in range(120)])
    record_property("false_positive_rate", float(rate))
    assert rate <= 0.15


def test_a_shift_of_a_third_is_found():
    rng = np.random.default_rng(0)
    found = [median_ratio(rng, 0.5, 1.33) for _ in range(30)]
    assert np.mean([told_apart(apart, 1.0) and apart.value > 1 for apart in found]) > 0.9


def test_the_error_of_a_rate_is_that_of_independent_counts():
    """Poisson arrivals: the relative error of their rate is 1/sqrt(n)."""
    rng = np.random.default_rng(5)
    when = np.sort(rng.uniform(0, 1e9, 4000))
    cells = Cells(0, 10**9, 1e6)
    found = cells.ratio(cells.sums(when, np.ones(4000)), cells.seconds)
    assert found.value == pytest.approx(4000)
    assert found.error == pytest.approx(1 / math.sqrt(4000), rel=0.25)
    assert cells.seconds.sum() == pytest.approx(1.0)
    assert len(cells.seconds) == CELLS


def test_a_load_of_few_lifetimes_has_no_interval():
    cells, when, latency = load(np.random.default_rng(0), 20, 0.0)
    with pytest.raises(TooShortError, match="4 are needed"):
        cells.percentile(when, latency, 50)


def test_welch_does_not_depend_on_the_unit():
    for unit in (1e-100, 1.0, 1e100):
        found = welch_difference(Spread(1.0 * unit, 0.1 * unit, 3), Spread(2.0 * unit, 0.2 * unit, 4))
        assert found.high / unit == pytest.approx(1 + stats.t.ppf(0.975, 0.05**2 / (1e-4 / 3 + 16e-4 / 4)) * 0.05**0.5)
