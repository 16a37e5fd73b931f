"""Metrics over repeats of a load, by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from moecap.metrics.repeats import over_repeats, repeat_values, whole_repeats
from moecap.metrics.value import Metric, absent, measured
from moecap.observations.repeats import repeat_of_looks


def _requests(*repeats, status="completed", stage="load"):
    return pd.DataFrame({"repeat": repeats, "stage": stage, "status": status}).assign(scheduled_ns=range(len(repeats)))


def test_the_value_is_the_mean_with_students_interval_and_n_counts_all_observations():
    found = over_repeats([{"tpot.p50": measured(v, "s", 10)} for v in (0.010, 0.012, 0.014)])["tpot.p50"]
    assert found.value == pytest.approx(0.012)
    assert (found.low, found.high) == pytest.approx((0.012 - 0.004968276, 0.012 + 0.004968276), abs=1e-8)
    assert (found.n, found.unit, found.repeats) == (30, "s", (0.010, 0.012, 0.014))
    assert repeat_values({"tpot.p50": found}, "tpot.p50") == (0.010, 0.012, 0.014)


@given(st.lists(st.floats(1e-6, 1e6), min_size=3, max_size=9).filter(lambda v: len(set(v)) > 1))
def test_the_interval_is_that_of_scipy(values):
    found = over_repeats([{"x": measured(v, "s", 1)} for v in values])["x"]
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-6, abs=1e-6 * max(values))


def test_two_repeats_have_a_mean_and_no_interval():
    found = over_repeats([{"x": measured(1, "s", 5)}, {"x": measured(3, "s", 5)}])["x"]
    assert (found.value, found.low, found.high, found.repeats) == (2, None, None, (1, 3))


def test_what_is_of_the_whole_run_stays_as_it_is():
    price = measured(2.5, "USD/h", 1, 2.0, 3.0)
    assert over_repeats([{"price": price}] * 3) == {"price": price}
    assert repeat_values({"price": price}, "price") == ()
    assert repeat_values({}, "price") == ()


def test_counts_are_sums():
    found = over_repeats([{"failed_requests": measured(f, "requests", 20)} for f in (0, 2, 1)])["failed_requests"]
    assert (found.value, found.n, found.low, found.repeats) == (3, 60, None, (0, 2, 1))


def test_a_repeat_without_a_value_leaves_none_and_says_which():
    found = over_repeats([{"x": measured(1, "s", 5)}, {"x": absent("s", "too few", 2)}])["x"]
    assert (found.value, found.reason, found.n, found.repeats) == (None, "repeat 2 has none: too few", 7, None)
    found = over_repeats([{"x": absent("s", "too few", 2)}] * 2)["x"]
    assert (found.reason, found.n) == ("too few", 4)


def test_bounds_of_an_estimate_stay_bounds():
    each = [{"s_mbu": Metric(value=v, unit="1", n=1, low=v / 2, high=2 * v)} for v in (0.1, 0.2, 0.3)]
    found = over_repeats(each)["s_mbu"]
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.1, 0.4))


def test_a_repeat_is_whole_if_all_was_sent_and_has_ended():
    requests = pd.concat([_requests(0, 0, 1, 1, 2), _requests(2, status="unfinished"), _requests(0, stage="warmup")])
    assert whole_repeats(requests, 2) == (0, 1)
    assert whole_repeats(_requests(0, 0, 1), 2) == (0,)
    assert whole_repeats(pd.concat([_requests(0), _requests(0, status="failed")]), 2) == (0,)
    assert whole_repeats(_requests(None, None), 2) == (0,)


def test_each_look_at_a_server_is_of_the_load_around_it():
    requests = pd.concat([_requests(0).assign(scheduled_ns=100), _requests(1).assign(scheduled_ns=200)])
    looks = pd.DataFrame(
        {
            "time_ns": [90, 110, 150, 190, 210, 250, 290],
            "moment": ["before", "during", "after", "before", "during", "after", "before"],
        }
    )
    assert repeat_of_looks(looks, requests).tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert repeat_of_looks(looks, requests[:0]).tolist() == [0] * 7
