"""The network and the reversed gradient: what follows from their definitions."""

import math

import numpy as np
import pytest
import torch

from moecap.tasks.spoken_lid.network import ConvolutionalNetwork, reversal_strength, reverse_gradient
from moecap.tasks.spoken_lid.training import NetworkClassifier, Schedule
from moecap.tasks.spoken_lid.utterances import Utterance

SCHEDULE = Schedule(epochs=20, batch=8, rate=3e-3, channels=16, crop=30, reversal=1.0)


def test_the_reversed_gradient_has_the_other_sign_and_the_strength():
    values = torch.randn(3, 4, requires_grad=True)
    weights = torch.randn(3, 4)
    (reverse_gradient(values, 0.7) * weights).sum().backward()
    torch.testing.assert_close(values.grad, -0.7 * weights)
    torch.testing.assert_close(reverse_gradient(values, 0.7), values)


def test_the_strength_rises_from_zero_to_nearly_one():
    assert reversal_strength(0) == 0
    assert reversal_strength(0.5) == pytest.approx(math.tanh(2.5))  # the same function in another form
    assert 0.999 < reversal_strength(1) < 1


def test_the_domains_gradient_reaches_the_convolutions_with_the_other_sign_and_its_own_head_as_it_is():
    torch.manual_seed(0)
    network = ConvolutionalNetwork(20, 3, 2, 8)
    cepstra, frames = torch.randn(4, 30, 20), torch.tensor([30, 30, 20, 11])
    domains = torch.tensor([0, 1, 1, 0])

    def gradients(strength):
        network.zero_grad()
        _, logits = network(cepstra, frames, strength)
        torch.nn.functional.cross_entropy(logits, domains).backward()
        return network.convolutions[0].weight.grad.clone(), network.domains[0].weight.grad.clone()

    body, head = gradients(-1.0)  # minus of minus: the plain gradient
    for strength in (0.0, 0.5, 1.0):
        found, same = gradients(strength)
        torch.testing.assert_close(found, -strength * body)
        torch.testing.assert_close(same, head)


def test_what_lies_in_the_padding_changes_nothing():
    torch.manual_seed(0)
    network = ConvolutionalNetwork(20, 3, 0, 8)
    cepstra = torch.randn(2, 40, 20)
    alone, _ = network(cepstra[:1, :25], torch.tensor([25]))
    padded, _ = network(cepstra, torch.tensor([25, 40]))
    torch.testing.assert_close(padded[:1], alone, atol=1e-5, rtol=1e-5)


def test_mean_and_deviation_are_over_an_utterances_own_frames():
    network = ConvolutionalNetwork(20, 3, 0, 8)
    cepstra = torch.randn(1, 25, 20)
    hidden = cepstra.transpose(1, 2)
    for convolution in network.convolutions:
        hidden = convolution(hidden).relu()
    expected = torch.cat([hidden.mean(-1), (hidden.var(-1, unbiased=False) + 1e-6).sqrt()], -1)
    torch.testing.assert_close(network.embedded(cepstra, torch.tensor([25])), expected)


def made(n, seed, domains=("a", "b")):
    """Utterances whose languages are slopes of their first cepstra, and whose domains shake the second."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(n):
        language = number % 3
        cepstra = draw.standard_normal((40, 20)).astype(np.float32)
        cepstra[:, 0] += 3 * np.sin(np.arange(40) * (0.2 + 0.4 * language))
        domain = domains[(number // 3) % len(domains)]
        if domain == "b":
            cepstra[:, 1] += 3 * np.sin(np.arange(40) * 1.5)
        found.append(Utterance(str(number), "hin rus tha".split()[language], domain, "s", cepstra, 0.4, 0))
    return found


def test_it_learns_and_two_trainings_are_the_same_and_another_seed_is_not():
    train, tests = made(48, 0), made(30, 1)
    answers, losses = [], []
    for seed in (0, 0, 1):
        classifier = NetworkClassifier(("hin", "rus", "tha"), None, SCHEDULE, seed)
        told = []
        parameters = classifier.fit(train, lambda told=told: told.append(1))
        assert len(told) == len(classifier.epochs) == SCHEDULE.epochs
        answers.append(classifier.answer(tests))
        losses.append([epoch.language_loss for epoch in classifier.epochs])
    assert parameters == (20 * 16 + 16 * 16 * 2) * 5 + 3 * 16 + 32 * 16 + 16 + 16 * 3 + 3
    assert answers[0] == answers[1]
    assert losses[0] == losses[1] != losses[2]
    assert losses[0][-1] < losses[0][0] / 2
    right = np.mean([u.language == a for u, a in zip(tests, answers[0], strict=True)])
    assert right > 0.8  # chance is a third


def test_the_order_of_the_tests_changes_no_answer():
    classifier = NetworkClassifier(("hin", "rus", "tha"), None, SCHEDULE, 0)
    classifier.fit(made(24, 0), lambda: None)
    tests = made(12, 1)
    assert classifier.answer(tests[::-1]) == classifier.answer(tests)[::-1]


def test_the_adversary_makes_domains_harder_to_tell():
    told = {}
    for reversal in (0.0, 1.0):
        schedule = Schedule(20, 8, 3e-3, 16, 0, reversal)
        classifier = NetworkClassifier(("hin", "rus", "tha"), lambda u: u.domain, schedule, 0)
        classifier.fit(made(48, 0), lambda: None)
        told[reversal] = np.mean([epoch.domain_loss for epoch in classifier.epochs[-5:]])
        assert classifier.epochs[-1].language_loss < 0.5
    assert told[1.0] > told[0.0]
