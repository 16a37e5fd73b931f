"""The identities of the mixture, its convexity, and its weights against an independent optimiser."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad, minimize
from scipy.special import log_softmax, logsumexp

from moecap.errors import BadInputError
from moecap.tasks.moicl.hypernetwork import HIDDEN, expert_features, fit_hypernetwork, hyper_weights, network_loss
from moecap.tasks.moicl.labels import LabelTree
from moecap.tasks.moicl.mixture import Choices, loss_and_gradient, mixed, uniform
from moecap.tasks.moicl.weights import fit_nonnegative, fit_scalar, fit_sparse, mask_gradient


def drawn(seed, points=20, experts=4, choices=3):
    """Experts that lean to the right choice, some more than others, with noise that no weighting removes."""
    random = np.random.default_rng(seed)
    gold = random.integers(0, choices, points)
    scores = random.normal(0, 1.5, (points, experts, choices))
    scores[np.arange(points), :, gold] += random.normal(0.5, 0.5, experts)
    return Choices(log_softmax(scores, -1), np.zeros((points, choices), bool), gold, points)


seeds = st.integers(0, 10_000)
weights4 = st.lists(st.floats(-3, 3), min_size=4, max_size=4).map(np.array)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_one_expert_of_weight_one_is_ordinary_in_context_learning(seed):
    choices = drawn(seed, experts=1)
    assert np.allclose(mixed(choices.scores, np.ones(1)), choices.scores[:, 0], atol=1e-12)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_the_uniform_weights_give_the_renormalised_geometric_mean(seed):
    scores = drawn(seed).scores
    product = np.prod(np.exp(scores), axis=1) ** (1 / 4)
    assert np.allclose(np.exp(mixed(scores, uniform(4))), product / product.sum(-1, keepdims=True), atol=1e-12)


@given(seeds, weights4, st.permutations(range(4)))
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_experts_does_not_matter(seed, weights, order):
    scores = drawn(seed).scores
    assert np.allclose(mixed(scores, weights), mixed(scores[:, order], weights[order]), atol=1e-9)


@given(seeds, weights4, st.floats(-2, 2))
@settings(max_examples=25, deadline=None)
def test_of_two_equal_experts_only_the_sum_of_their_weights_matters(seed, weights, moved):
    scores = drawn(seed).scores
    scores[:, 1] = scores[:, 0]
    other = weights + np.array([moved, -moved, 0, 0])
    assert np.allclose(mixed(scores, weights), mixed(scores, other), atol=1e-9)


def test_weights_of_zero_give_even_shares_and_the_loss_of_a_guess():
    choices = drawn(1)
    assert np.allclose(mixed(choices.scores, np.zeros(4)), -np.log(3), atol=1e-12)
    assert loss_and_gradient(choices, np.zeros(4))[0] == pytest.approx(np.log(3))


@given(seeds, weights4, st.floats(0.05, 20))
@settings(max_examples=25, deadline=None)
def test_scaling_all_weights_is_a_temperature_and_keeps_the_best_choice(seed, weights, scale):
    scores = drawn(seed).scores
    one, scaled = mixed(scores, weights), mixed(scores, weights * scale)
    assert np.allclose(scaled, log_softmax(one * scale, -1), atol=1e-8)
    margin = np.sort(one, -1)
    clear = margin[:, -1] - margin[:, -2] > 1e-9
    assert np.array_equal(one.argmax(-1)[clear], scaled.argmax(-1)[clear])


@given(seeds, weights4)
@settings(max_examples=20, deadline=None)
def test_the_gradient_is_that_of_finite_differences(seed, weights):
    choices = drawn(seed)
    wrong = check_grad(lambda w: loss_and_gradient(choices, w)[0], lambda w: loss_and_gradient(choices, w)[1], weights)
    assert wrong < 1e-5


@given(seeds, weights4, weights4, st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_the_loss_is_convex_in_the_weights(seed, one, other, share):
    choices = drawn(seed)
    between = loss_and_gradient(choices, share * one + (1 - share) * other)[0]
    ends = loss_and_gradient(choices, one)[0], loss_and_gradient(choices, other)[0]
    assert between <= share * ends[0] + (1 - share) * ends[1] + 1e-9


@pytest.mark.parametrize("seed", range(2))
def test_learned_weights_are_those_of_scipys_optimiser(seed):
    choices = drawn(seed, points=60)
    best = minimize(lambda w: loss_and_gradient(choices, w), np.zeros(4), jac=True, method="L-BFGS-B", tol=1e-12)
    found = fit_scalar(choices, steps=2000)
    assert loss_and_gradient(choices, found)[0] == pytest.approx(best.fun, abs=1e-7)
    assert found == pytest.approx(best.x, abs=1e-3)
    bounded = minimize(
        lambda w: loss_and_gradient(choices, w), np.ones(4), jac=True, method="L-BFGS-B", bounds=[(0, None)] * 4
    )
    positive = fit_nonnegative(choices, steps=2000)
    assert (positive >= 0).all() and positive == pytest.approx(bounded.x, abs=2e-3)


def test_a_pull_draws_the_weights_to_the_uniform_ones():
    choices = drawn(3, points=100)
    away = [np.abs(fit_scalar(choices, pull) - 0.25).max() for pull in (0.0, 1.0, 100.0)]
    assert away[0] > away[1] > away[2] and away[2] < 0.01


@given(seeds, st.integers(2, 30))
@settings(max_examples=6, deadline=None)
def test_no_learned_mixture_fits_the_training_items_worse_than_the_uniform_one(seed, points):
    choices = drawn(seed, points=points)
    even = loss_and_gradient(choices, uniform(4))[0]
    found = [fit_scalar(choices), fit_nonnegative(choices)]
    found.append(hyper_weights(fit_hypernetwork(choices, seed), expert_features(choices)))
    for weights in found:
        assert loss_and_gradient(choices, weights)[0] <= even + 1e-12


def test_an_expert_with_exchanged_labels_gets_the_opposite_weight():
    choices = drawn(5, points=60, choices=2)
    flipped = choices.scores.copy()
    flipped[:, 2] = flipped[:, 2, ::-1]
    one = fit_scalar(choices, steps=2000)
    other = fit_scalar(Choices(flipped, choices.absent, choices.gold, choices.items), steps=2000)
    assert other == pytest.approx(one * [1, 1, -1, 1], abs=1e-3)


def test_keeping_every_expert_is_the_dense_mixture():
    choices = drawn(6)
    assert fit_sparse(choices, 4, seed=0) == pytest.approx(fit_scalar(choices), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_sparse_mixture_finds_the_two_experts_that_know(seed):
    random = np.random.default_rng(seed)
    gold = random.integers(0, 2, 60)
    scores = random.normal(0, 1, (60, 6, 2))
    for expert in (1, 4):  # each knows half of the items
        known = np.arange(60) % 2 == expert % 2
        scores[known, expert, gold[known]] += 4
    choices = Choices(log_softmax(scores, -1), np.zeros((60, 2), bool), gold, 60)
    found = fit_sparse(choices, 2, seed=seed)
    assert np.flatnonzero(found).tolist() == [1, 4]
    assert np.array_equal(found, fit_sparse(choices, 2, seed=seed))


@pytest.mark.parametrize(
    ("of_mask", "expected"),
    [
        ([0.05, -0.05, 0.0], [0.1, -0.1, 0.0]),  # moved by 10 times that, the second score leads: 1.4 against 0.5
        ([0.0, 0.0, -0.05], [0.0, 0.0, 0.0]),  # 0.5 does not
        ([0.0, 0.0, -0.15], [0.1, 0.0, -0.1]),
    ],
)
def test_the_masks_gradient_takes_the_score_from_the_kept_expert_to_the_one_that_lowers_the_loss(of_mask, expected):
    assert mask_gradient(np.array([1.0, 0.9, 0.0]), np.array(of_mask), 1) == pytest.approx(expected)


def test_a_pulled_sparse_mixture_lies_near_equal_weights_of_the_kept_experts():
    choices = drawn(3, points=100)
    found = fit_sparse(choices, 2, seed=0, pull=100.0)
    assert np.sort(found) == pytest.approx([0, 0, 0.5, 0.5], abs=0.02)


@given(seeds, st.integers(1, 99))
@settings(max_examples=10, deadline=None)
def test_the_networks_gradient_is_that_of_finite_differences(seed, other):
    choices = drawn(seed)
    random = np.random.default_rng(other)
    inputs = random.normal(0, 1, (4, 6))
    point = random.normal(0, 0.5, 6 * HIDDEN + 2 * HIDDEN + 1)
    wrong = check_grad(
        lambda p: network_loss(choices, inputs, p)[0], lambda p: network_loss(choices, inputs, p)[1], point
    )
    assert wrong < 1e-4


def test_the_network_weighs_experts_whatever_their_order_and_ones_that_it_never_saw():
    choices = drawn(7, points=120)
    parameters, features = fit_hypernetwork(choices, seed=0), expert_features(choices)
    order = [2, 0, 3, 1]
    assert np.allclose(hyper_weights(parameters, features)[order], hyper_weights(parameters, features[order]))
    more = expert_features(drawn(8, points=120, experts=7))
    assert hyper_weights(parameters, more).shape == (7,) and np.isfinite(hyper_weights(parameters, more)).all()


def test_features_of_an_expert_are_those_of_a_plain_loop():
    choices = drawn(9, points=5, experts=2)
    for expert, found in enumerate(expert_features(choices)):
        logs = [log_softmax(choices.scores[n, expert]) for n in range(5)]
        shares = [np.exp(row) for row in logs]
        mean = sum(shares) / 5
        expected = [
            np.mean([row[g] for row, g in zip(logs, choices.gold, strict=True)]),
            np.mean([-(p * row).sum() for p, row in zip(shares, logs, strict=True)]),
            (mean * np.log(mean * 3)).sum(),
            np.mean([row.argmax() == g for row, g in zip(logs, choices.gold, strict=True)]),
        ]
        assert found == pytest.approx(expected)


def test_labels_of_several_tokens_are_renormalised_at_every_token():
    tree = LabelTree.of([(5, 1), (5, 2, 7), (6,)])  # after 5 and 2 only 7 can follow, which is no choice
    assert [(e.before, e.token) for e in tree.edges] == [((), 5), ((5,), 1), ((5,), 2), ((), 6)]
    scores = np.log(np.array([[[0.6, 0.1, 0.3, 0.2], [0.2, 0.4, 0.1, 0.6]]]))
    weights = np.array([1.0, 2.0])
    first = np.array([0.6 * 0.2**2, 0.2 * 0.6**2])  # token 5 and token 6
    second = np.array([0.1 * 0.4**2, 0.3 * 0.1**2])  # 1 and 2 after 5
    shares = [first[0] / first.sum() * second[0] / second.sum(), first[0] / first.sum() * second[1] / second.sum()]
    expected = [*shares, first[1] / first.sum()]
    assert np.exp(tree.log_probabilities(scores, weights))[0] == pytest.approx(expected)
    choices = tree.choices(np.repeat(scores, 2, 0), np.array([1, 2]))
    assert len(choices.gold) == 3 and choices.items == 2  # two choices for the second label, one for the third
    assert loss_and_gradient(choices, weights)[0] == pytest.approx(-(np.log(expected[1]) + np.log(expected[2])) / 2)


def test_a_label_that_another_begins_with_is_refused():
    for labels in ([(1,), (1, 2)], [(1,), (1,)], [(), (2,)]):
        with pytest.raises(BadInputError, match="beginning of another label"):
            LabelTree.of(labels)


def test_the_sum_over_the_vocabulary_is_the_label_sum_where_all_else_is_impossible():
    random = np.random.default_rng(0)
    full = log_softmax(random.normal(0, 1, (10, 3, 50)), -1)
    weights = np.array([0.7, -0.3, 0.9])
    labels = mixed(full[:, :, [4, 9]], weights)
    whole = mixed(full, weights)[:, [4, 9]]
    assert np.array_equal(labels.argmax(-1), whole.argmax(-1))
    assert np.allclose(labels, whole - logsumexp(whole, -1, keepdims=True))
