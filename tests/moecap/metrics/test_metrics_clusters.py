"""Intervals of items that come in groups: by hand, and how often they hold the truth."""

import numpy as np
import pytest
from scipy.stats import t

from moecap.metrics.accuracy import wilson
from moecap.metrics.clusters import Groups, grouped_mean


def test_items_that_are_groups_of_their_own_have_wilsons_interval():
    right = np.arange(30) % 3 == 0
    metric = Groups.of(right, np.arange(30)).share(10)
    assert (metric.value, metric.low, metric.high, metric.n) == (pytest.approx(1 / 3), *wilson(10, 30), 30)


def test_the_effect_by_hand():
    """Two groups of 4, of which 4 and 1 are right: sums beyond the mean are +1.5 and -1.5."""
    right = np.array([1, 1, 1, 1, 1, 0, 0, 0], bool)
    found = Groups.of(right, np.array(list("aaaabbbb")))
    variance = 2 * (1.5**2 + 1.5**2) / 8**2
    assert found.effect == pytest.approx(variance / (5 / 8 * 3 / 8 / 8))
    n = 8 / found.effect
    metric = found.share(5)
    assert (metric.low, metric.high) == pytest.approx(wilson(5 / 8 * n, n, t.ppf(0.975, 1)))


def test_groups_that_differ_less_than_chance_narrow_nothing():
    right = np.tile([True, False], 20)
    assert Groups.of(right, np.repeat(np.arange(20), 2)).effect == 1


def test_where_all_are_right_a_group_counts_as_one_item():
    metric = Groups.of(np.ones(40, bool), np.repeat(np.arange(10), 4)).share(40)
    assert metric.low == pytest.approx(wilson(10, 10, t.ppf(0.975, 9))[0])


def test_where_all_are_right_a_large_group_counts_for_more_than_its_share():
    """Of groups of 9 and 1 that are wholly alike, the mean has the variance (81 + 1) / 100 of one item's."""
    metric = Groups.of(np.ones(10, bool), np.array([0] * 9 + [1])).share(10)
    n = 100 / 82
    assert metric.low == pytest.approx(wilson(n, n, t.ppf(0.975, 1))[0])


def test_one_group_says_nothing_of_others():
    metric = Groups.of(np.array([True, False, True]), np.zeros(3)).share(2)
    assert (metric.value, metric.low, metric.high) == (pytest.approx(2 / 3), None, None)
    assert grouped_mean(np.array([1.0, 2.0]), np.zeros(2)).low is None


def test_the_interval_of_a_mean_of_groups_of_one_is_students():
    values = np.array([0.2, 0.5, 0.1, 0.9])
    metric = grouped_mean(values, np.arange(4))
    half = t.ppf(0.975, 3) * values.std(ddof=1) / 2
    assert (metric.low, metric.high) == pytest.approx((values.mean() - half, values.mean() + half))
    assert grouped_mean(values, np.arange(4), (0.0, 1.0)).low == 0


@pytest.mark.parametrize(("groups", "size"), [(5, 40), (12, 20), (150, 4)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(groups, size):
    """Shares of the groups from a beta distribution; Wilson's of independent items holds it too seldom."""
    random, tries, truth = np.random.default_rng(0), 500, 0.6
    group = np.repeat(np.arange(groups), size)
    held = {"grouped": 0, "independent": 0, "mean": 0}
    for _ in range(tries):
        right = random.random(groups * size) < np.repeat(random.beta(1.8, 1.2, groups), size)
        metric, mean = Groups.of(right, group).share(int(right.sum())), grouped_mean(right.astype(float), group)
        held["grouped"] += metric.low <= truth <= metric.high
        held["mean"] += mean.low <= truth <= mean.high
        low, high = wilson(int(right.sum()), len(right))
        held["independent"] += low <= truth <= high
    assert held["grouped"] / tries == pytest.approx(0.95, abs=0.035)
    assert held["mean"] / tries == pytest.approx(0.95, abs=0.035)
    assert held["independent"] / tries < 0.9
