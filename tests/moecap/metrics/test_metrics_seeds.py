"""The interval over seeds against SciPy, and where it ends."""

import numpy as np
import pytest
from scipy import stats

from moecap.metrics.seeds import over_seeds


@pytest.mark.parametrize("n", [2, 3, 5, 40])
def test_the_interval_over_seeds_is_scipys_t_interval(n):
    values = np.random.default_rng(n).normal(size=n)
    low, high = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    found = over_seeds(values.tolist())
    assert (found.value, found.low, found.high, found.n) == pytest.approx((values.mean(), low, high, n), rel=1e-6)


def test_one_seed_has_no_interval():
    found = over_seeds([0.5])
    assert (found.value, found.low, found.high, found.n) == (0.5, None, None, 1)


def test_an_interval_ends_where_values_do():
    found = over_seeds([0.9, 1.0, 0.95], bounds=(0.0, 1.0))
    assert found.high == 1.0
    assert 0.8 < found.low < 0.9
