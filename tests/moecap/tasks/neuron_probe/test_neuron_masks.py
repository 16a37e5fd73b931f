"""Distributions over subsets against their enumeration, and the gradient of the bound against the exact one."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moecap.tasks.neuron_probe.masks import SCHEMES, ConditionalPoisson, Poisson
from moecap.tasks.neuron_probe.probe import bound_terms

D = 8


def subsets(dimensions=D):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=dimensions)), dtype=torch.float64)


def phi_of(dimensions=D, seed=0, scale=1.0):
    random = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(dimensions, dtype=torch.float64, generator=random)).requires_grad_()


def possible(name, masks):
    """Under the conditional scheme a size from 1 on is drawn."""
    return masks if name == "poisson" else masks[masks.sum(-1) > 0]


@pytest.mark.parametrize("name", SCHEMES)
def test_probabilities_of_all_subsets_are_one_and_give_entropy_and_its_gradient(name):
    phi = phi_of()
    scheme = SCHEMES[name](phi)
    logs = scheme.log_probability(possible(name, subsets()))
    assert logs.exp().sum().item() == pytest.approx(1)
    entropy = -(logs.exp() * logs).sum()
    assert scheme.entropy().item() == pytest.approx(entropy.item())
    exact, own = (torch.autograd.grad(of, phi, retain_graph=True)[0] for of in (entropy, scheme.entropy()))
    assert own.tolist() == pytest.approx(exact.tolist(), abs=1e-10)


@pytest.mark.parametrize("name", SCHEMES)
def test_draws_come_as_often_as_their_probability_says(name):
    scheme = SCHEMES[name](phi_of(4, scale=0.7))
    masks = possible(name, subsets(4))
    drawn = scheme.draw(40_000, torch.Generator().manual_seed(1))
    numbers = 2 ** torch.arange(3, -1, -1)
    found = torch.bincount((drawn @ numbers.to(drawn.dtype)).long(), minlength=16) / len(drawn)
    expected = torch.zeros(16, dtype=torch.float64)
    expected[(masks @ numbers.to(masks.dtype)).long()] = scheme.log_probability(masks).exp().detach()
    assert found.tolist() == pytest.approx(expected.tolist(), abs=0.012)  # five standard errors at 1/2


def test_under_the_poisson_scheme_a_dimension_is_in_with_the_sigmoid_of_phi():
    phi = phi_of()
    masks = subsets()
    inclusion = Poisson(phi).log_probability(masks).exp() @ masks
    assert inclusion.tolist() == pytest.approx(torch.sigmoid(phi).tolist())


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=20))
def test_the_entropy_of_the_poisson_scheme_is_between_nothing_and_that_of_coins(phi):
    entropy = Poisson(torch.tensor(phi, dtype=torch.float64)).entropy().item()
    assert -1e-9 <= entropy <= len(phi) * math.log(2) + 1e-9
    zeros = torch.zeros(len(phi), dtype=torch.float64)
    assert Poisson(zeros).entropy().item() == pytest.approx(len(phi) * math.log(2))


@settings(max_examples=25)
@given(st.lists(st.floats(-4, 4), min_size=2, max_size=7))
def test_sums_over_the_subsets_of_a_size_are_elementary_symmetric_polynomials(phi):
    weights = np.exp(phi)
    scheme = ConditionalPoisson(torch.tensor(phi, dtype=torch.float64))
    for size in range(1, len(phi) + 1):
        by_hand = sum(math.prod(subset) for subset in itertools.combinations(weights, size))
        mask = torch.zeros(1, len(phi), dtype=torch.float64)
        mask[0, :size] = 1
        z = math.prod(weights[:size]) / (scheme.log_probability(mask).exp().item() * len(phi))
        assert z == pytest.approx(by_hand, rel=1e-9)
    assert scheme.entropies_of_sizes()[-1].item() == pytest.approx(0, abs=1e-9)  # there is one subset of all


def test_a_subset_that_is_drawn_of_a_size_has_that_size():
    scheme = ConditionalPoisson(phi_of(scale=3))
    sizes = torch.arange(D + 1).repeat(50)
    assert scheme.draw_of_sizes(sizes, torch.Generator().manual_seed(0)).sum(-1).long().tolist() == sizes.tolist()


@pytest.mark.parametrize("name", SCHEMES)
def test_the_mean_of_the_estimated_gradients_is_the_exact_gradient(name):
    """REINFORCE with the other masks' mean as baseline has no bias."""
    random = torch.Generator().manual_seed(3)
    x, y = torch.randn(3, 4, generator=random, dtype=torch.float64), torch.tensor([0, 1, 1])
    weight, bias = torch.randn(2, 4, generator=random, dtype=torch.float64), torch.tensor([0.3, -0.2]).double()
    weight.requires_grad_()
    phi = phi_of(4)
    masks = possible(name, subsets(4))
    logits = (x[:, None, :] * masks) @ weight.T + bias
    losses = -logits.log_softmax(-1)[torch.arange(3)[:, None], torch.arange(len(masks)), y[:, None]]
    expected = (losses.mean(0) * SCHEMES[name](phi).log_probability(masks).exp()).sum()
    exact = torch.autograd.grad(expected, (phi, weight))
    repeats = 20_000
    told, scored = bound_terms(
        x.repeat(repeats, 1), y.repeat(repeats), weight, bias, SCHEMES[name](phi), 2, torch.Generator().manual_seed(4)
    )
    estimate = torch.autograd.grad(told + scored, (phi, weight))
    assert told.item() == pytest.approx(expected.item(), abs=0.01)
    for found, right in zip(estimate, exact, strict=True):
        assert found.flatten().tolist() == pytest.approx(right.flatten().tolist(), abs=0.012)
    assert exact[0].abs().max() > 0.05  # so that no gradient at all would not pass
