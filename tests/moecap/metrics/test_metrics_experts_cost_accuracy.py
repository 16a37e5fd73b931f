"""Expert load, cost and accuracy against hand calculation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.metrics.accuracy import accuracy_metrics, wilson
from moecap.metrics.cost import COSTS, cost_metrics
from moecap.metrics.experts import ExpertShape, expert_counts, expert_load, expert_metrics
from moecap.metrics.value import Metric, absent, measured
from moecap.observations.reader import Routing

SHAPE = ExpertShape(experts=8, top_k=2)
AN_HOUR = Metric(value=3.6, unit="USD/h")


def test_distinct_experts_under_uniform_routing_are_averaged_over_the_steps():
    # N(1 - (1 - k/N)^T) with N = 8, k = 2 and T = 1, 8, 16
    metrics = expert_metrics(np.array([[2], [7], [8]]), np.array([1, 8, 16]), None, [SHAPE])
    expected = (2.0 + 7.1990966796875 + 7.919819233939052) / 3
    assert metrics["experts.distinct_expected_uniform"].value == pytest.approx(expected, rel=1e-12)


def test_distinct_mean_lies_between_its_bounds_and_is_a_plain_mean():
    metrics = expert_metrics(np.array([[2, 3], [3, 4]]), np.array([2, 2]), None, [SHAPE] * 2)
    assert metrics["experts.distinct_mean"].value == 3.0
    assert metrics["experts.distinct_lower_bound"].value == 2
    assert metrics["experts.distinct_upper_bound"].value == 4


def test_counts_are_taken_layer_by_layer_over_the_steps_that_count():
    experts = np.array([[[0, 1], [2, 3]], [[0, 2], [2, 3]], [[3, 1], [0, 1]]], np.uint8)
    routing = Routing(experts, np.array([0, 0, 1], np.int32), "test")
    counts = expert_counts(routing, np.array([True, False]), 4)
    assert counts.tolist() == [[2, 1, 1, 0], [0, 0, 2, 2]]


def test_experts_without_weights_are_in_no_count_and_widen_the_bounds():
    # of 4 experts with weights and 2 without a token selects 3: 4 + 5 are the two without
    routing = Routing(np.array([[[0, 4, 5], [1, 2, 3]]], np.uint8), np.array([0], np.int32), "test")
    assert expert_counts(routing, np.array([True]), 4).tolist() == [[1, 0, 0, 0], [0, 1, 1, 1]]
    metrics = expert_metrics(np.array([[1]]), np.array([2]), None, [ExpertShape(4, 3, zero_experts=2)])
    assert metrics["experts.distinct_lower_bound"].value == 1
    assert metrics["experts.distinct_upper_bound"].value == 4
    # each of the four is missed by both tokens with probability (1 - 3/6)^2
    assert metrics["experts.distinct_expected_uniform"].value == pytest.approx(4 * (1 - 0.25), rel=1e-12)


def test_load_entropy_is_one_for_an_even_load_and_zero_for_one_expert():
    even = expert_metrics(None, np.empty(0, int), np.array([[5, 5, 5, 5]]), [ExpertShape(4, 2)])
    one = expert_metrics(None, np.empty(0, int), np.array([[9, 0, 0, 0]]), [ExpertShape(4, 1)])
    assert even["experts.load_entropy"].value == pytest.approx(1.0)
    assert even["experts.load_max_over_mean"].value == pytest.approx(1.0)
    assert one["experts.load_entropy"].value == 0.0
    assert one["experts.load_max_over_mean"].value == pytest.approx(4.0)


def test_load_entropy_of_three_to_one_is_its_textbook_value():
    metrics = expert_metrics(None, np.empty(0, int), np.array([[3, 1]]), [ExpertShape(2, 1)])
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    assert metrics["experts.load_entropy"].value == pytest.approx(expected, rel=1e-12)


def test_the_gini_coefficient_is_the_mean_difference_of_two_experts_over_twice_their_mean():
    counts = np.array([[4, 0, 1, 3], [2, 2, 2, 2], [0, 0, 8, 0]])
    load = expert_load(counts, [ExpertShape(4, 2)] * 3)
    for layer, row in enumerate(counts):
        assert load.gini[layer] == pytest.approx(gini_of_pairs(row), abs=1e-12)
    assert load.gini.tolist() == pytest.approx([14 / (4 * 8), 0, 3 / 4])  # differences 4 3 1 1 3 2, 14 in all
    assert load.relative[0].tolist() == [2.0, 0.0, 0.5, 1.5]
    assert load.max_over_mean.tolist() == [2.0, 1.0, 4.0]


def gini_of_pairs(row):
    """Straight from the definition, over all ordered pairs."""
    return sum(abs(a - b) for a in row for b in row) / (2 * len(row) ** 2 * (sum(row) / len(row)))


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=12).filter(any), st.integers(0, 4))
def test_the_load_of_a_layer_does_not_depend_on_the_size_of_others(row, spare):
    shape = ExpertShape(len(row), 1)
    alone = expert_load(np.array([row]), [shape])
    wide = np.array([row + [0] * spare, [1] * (len(row) + spare)])
    beside = expert_load(wide, [shape, ExpertShape(len(row) + spare, 1)])
    for name in ("entropy", "gini", "max_over_mean"):
        assert getattr(beside, name)[0] == pytest.approx(getattr(alone, name)[0], abs=1e-12)
    assert alone.gini[0] == pytest.approx(gini_of_pairs(row), abs=1e-12)
    assert -1e-12 <= alone.gini[0] <= 1 - 1 / len(row) + 1e-12
    assert -1e-12 <= alone.entropy[0] <= 1 + 1e-12
    assert 1 - 1e-12 <= alone.max_over_mean[0] <= len(row) + 1e-12


def test_layers_with_other_experts_each_have_their_own_expectation_and_bounds():
    # one token: k of each layer; a layer of 4 with k = 1, two of 8 with k = 2
    shapes = [ExpertShape(4, 1), SHAPE, SHAPE]
    metrics = expert_metrics(np.array([[1, 2, 2], [3, 6, 6]]), np.array([1, 100]), None, shapes)
    assert metrics["experts.distinct_lower_bound"].value == pytest.approx((1 + 2 + 2) / 3)
    assert metrics["experts.distinct_upper_bound"].value == pytest.approx((1 + 2 + 2 + 4 + 8 + 8) / 6)
    uniform = (1 + 2 + 2 + 4 * (1 - 0.75**100) + 2 * 8 * (1 - 0.75**100)) / 6
    assert metrics["experts.distinct_expected_uniform"].value == pytest.approx(uniform, rel=1e-12)


def test_a_dense_model_has_reasons_in_place_of_expert_metrics():
    assert all(
        m.value is None and "dense" in m.reason for m in expert_metrics(None, np.empty(0, int), None, []).values()
    )


def test_cost_charges_the_whole_system_to_output_tokens_and_splits_it_by_phase_for_the_blend():
    busy = measured(0.5, "1", 1)
    costs = cost_metrics(AN_HOUR, measured(100.0, "tokens/s", 10), 2.0, 8.0, 1000, 400, busy, 0.6)
    per_second = 3.6 / 3600
    assert costs["cost_per_million_output_tokens"].value == pytest.approx(per_second / 100 * 1e6)
    into, out = per_second * 2 / 0.5 / 1000 * 1e6, per_second * 8 / 0.5 / 400 * 1e6
    assert costs["cost.input_by_phase"].value == pytest.approx(into)
    assert costs["cost.output_by_phase"].value == pytest.approx(out)
    assert costs["cost_per_million_tokens"].value == pytest.approx((3 * into + out) / 4)


def test_a_load_that_fills_a_quarter_of_the_paid_hours_makes_each_token_four_times_as_dear():
    costs = cost_metrics(AN_HOUR, measured(100.0, "tokens/s", 10), 2.0, 8.0, 1000, 400, measured(0.5, "1", 1), 0.25)
    # $3.60 an hour is 0.1 cents a second; a million tokens at 100 a second take 10,000 s, paid for 40,000 s
    assert costs["cost_per_million_output_tokens"].value == pytest.approx(10.0)
    assert costs["cost_per_million_output_tokens_at_utilisation"].value == pytest.approx(40.0)
    for name in COSTS:
        assert costs[name + "_at_utilisation"].value == pytest.approx(4 * costs[name].value)


def test_without_a_utilisation_only_the_full_costs_have_a_value():
    costs = cost_metrics(AN_HOUR, measured(100.0, "tokens/s", 10), 2.0, 8.0, 1000, 400, measured(0.5, "1", 1), None)
    assert costs["cost_per_million_output_tokens"].value is not None
    assert "paid hours" in costs["cost_per_million_output_tokens_at_utilisation"].reason


def test_no_price_gives_no_cost_and_the_reason_of_the_price():
    unknown = absent("USD/h", "nobody knows; give one")
    costs = cost_metrics(unknown, measured(100.0, "tokens/s", 10), 1, 1, 1, 1, measured(1.0, "1", 1), 0.6)
    assert len(costs) == 8
    assert all(c.value is None and c.reason == "nobody knows; give one" for c in costs.values())


def test_no_throughput_gives_no_cost():
    costs = cost_metrics(AN_HOUR, absent("tokens/s", "none"), 0, 0, 0, 0, absent("1", "none"), 0.6)
    assert all(c.value is None for c in costs.values())


@pytest.mark.parametrize(("busy", "why"), [(absent("1", "no record"), "no record"), (measured(1.0, "1", 1), "no step")])
def test_costs_by_phase_say_why_they_are_absent_though_there_is_a_throughput(busy, why):
    costs = cost_metrics(AN_HOUR, measured(100.0, "tokens/s", 10), 0.0, 8.0, 0, 400, busy, 0.6)
    assert costs["cost_per_million_output_tokens"].value is not None
    assert all(costs[name].reason.startswith(why) for name in COSTS[1:])


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
