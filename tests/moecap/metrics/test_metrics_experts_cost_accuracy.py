"""Expert load, cost and accuracy against hand calculation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.metrics.accuracy import accuracy_metrics, wilson
from moecap.metrics.cost import cost_metrics
from moecap.metrics.experts import ExpertShape, expert_counts, expert_metrics
from moecap.metrics.value import absent, measured
from moecap.observations.reader import Routing

SHAPE = ExpertShape(experts=8, top_k=2)


def test_distinct_experts_under_uniform_routing_are_averaged_over_the_steps():
    # N(1 - (1 - k/N)^T) with N = 8, k = 2 and T = 1, 8, 16
    metrics = expert_metrics(np.array([[2], [7], [8]]), np.array([1, 8, 16]), None, SHAPE)
    expected = (2.0 + 7.1990966796875 + 7.919819233939052) / 3
    assert metrics["experts.distinct_expected_uniform"].value == pytest.approx(expected, rel=1e-12)


def test_distinct_mean_lies_between_its_bounds_and_is_a_plain_mean():
    metrics = expert_metrics(np.array([[2, 3], [3, 4]]), np.array([2, 2]), None, SHAPE)
    assert metrics["experts.distinct_mean"].value == 3.0
    assert metrics["experts.distinct_lower_bound"].value == 2
    assert metrics["experts.distinct_upper_bound"].value == 4


def test_counts_are_taken_layer_by_layer_over_the_steps_that_count():
    experts = np.array([[[0, 1], [2, 3]], [[0, 2], [2, 3]], [[3, 1], [0, 1]]], np.uint8)
    routing = Routing(experts, np.array([0, 0, 1], np.int32), "test")
    counts = expert_counts(routing, np.array([True, False]), 4)
    assert counts.tolist() == [[2, 1, 1, 0], [0, 0, 2, 2]]


def test_load_entropy_is_one_for_an_even_load_and_zero_for_one_expert():
    even = expert_metrics(None, np.empty(0, int), np.array([[5, 5, 5, 5]]), ExpertShape(4, 2))
    one = expert_metrics(None, np.empty(0, int), np.array([[9, 0, 0, 0]]), ExpertShape(4, 1))
    assert even["experts.load_entropy"].value == pytest.approx(1.0)
    assert even["experts.load_max_over_mean"].value == pytest.approx(1.0)
    assert one["experts.load_entropy"].value == 0.0
    assert one["experts.load_max_over_mean"].value == pytest.approx(4.0)


def test_load_entropy_of_three_to_one_is_its_textbook_value():
    metrics = expert_metrics(None, np.empty(0, int), np.array([[3, 1]]), ExpertShape(2, 1))
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    assert metrics["experts.load_entropy"].value == pytest.approx(expected, rel=1e-12)


def test_a_dense_model_has_reasons_in_place_of_expert_metrics():
    assert all(
        m.value is None and "dense" in m.reason for m in expert_metrics(None, np.empty(0, int), None, None).values()
    )


def test_cost_charges_the_whole_system_to_output_tokens_and_splits_it_by_phase_for_the_blend():
    busy = measured(0.5, "1", 1)
    costs = cost_metrics(3.6, measured(100.0, "tokens/s", 10), 2.0, 8.0, 1000, 400, busy)
    per_second = 3.6 / 3600
    assert costs["cost_per_million_output_tokens"].value == pytest.approx(per_second / 100 * 1e6)
    into, out = per_second * 2 / 0.5 / 1000 * 1e6, per_second * 8 / 0.5 / 400 * 1e6
    assert costs["cost.input_by_phase"].value == pytest.approx(into)
    assert costs["cost.output_by_phase"].value == pytest.approx(out)
    assert costs["cost_per_million_tokens"].value == pytest.approx((3 * into + out) / 4)


def test_no_price_gives_no_cost_and_says_how_to_give_one():
    costs = cost_metrics(None, measured(100.0, "tokens/s", 10), 1, 1, 1, 1, measured(1.0, "1", 1))
    assert all(c.value is None and "--price" in c.reason for c in costs.values())


def test_no_throughput_gives_no_cost():
    costs = cost_metrics(1.0, absent("tokens/s", "none"), 0, 0, 0, 0, absent("1", "none"))
    assert all(c.value is None for c in costs.values())


def test_wilson_gives_the_textbook_interval():
    # 8 of 10: 0.4901625 to 0.9433178 (statsmodels, proportion_confint(8, 10, method="wilson"))
    assert wilson(8, 10) == pytest.approx((0.4901624715, 0.9433178485), abs=1e-9)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_proportion_and_stays_in_the_unit_interval(pair):
    successes, n = pair
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1


def test_accuracy_is_the_mean_of_each_tasks_scores():
    samples = [{"task": "t", "scores": {"accuracy": a, "norm": n}} for a, n in ((1, 1), (0, 1), (1, 1), (1, 0))]
    metrics = accuracy_metrics(samples)
    assert metrics["accuracy.t"].value == 0.75
    assert metrics["accuracy.t_norm"].value == 0.75
    assert metrics["accuracy.t"].n == 4
    assert metrics["accuracy.t"].low < 0.75 < metrics["accuracy.t"].high
