"""A network that gives each expert its weight from what the expert is like, so that it can weigh ones it never saw.

The paper's hyper-network is a T5 that reads the demonstrations. This one is ours and small: it sees features pooled
over the labelled items, which every backend gives (how sure the expert is, how it leans, how well it fits), beside
their mean over all experts. Its two layers are shared by the experts, so the order of the experts does not matter.
"""

from __future__ import annotations

import numpy as np

from moecap.tasks.moicl.draw import seeded
from moecap.tasks.moicl.mixture import Array, Choices, loss_and_gradient, mixed, uniform
from moecap.tasks.moicl.weights import RATE, STEPS, descend

__all__ = ["expert_features", "fit_hypernetwork", "hyper_weights", "network_loss"]

HIDDEN = 8


def expert_features(choices: Choices) -> Array:
    """What is pooled of each expert, [experts, features].

    In the order of the columns: mean log-probability of the right choice, mean entropy of its choices, how far its mean
    distribution lies from even (Kullback-Leibler), and the share of right answers; nats, each over all points.
    """
    logs = np.stack([mixed(choices.scores[:, [i]], np.ones(1), choices.absent) for i in range(choices.scores.shape[1])])
    shares = np.exp(logs)
    safe = np.where(shares > 0, logs, 0.0)
    there = (~choices.absent).sum(-1)
    rows = np.arange(len(choices.gold))
    mean = shares.mean(1)
    lean = (mean * np.log(np.where(mean > 0, mean, 1.0))).sum(-1) + np.log(there).mean()
    right = (logs.argmax(-1) == choices.gold).mean(1)
    return np.stack([logs[:, rows, choices.gold].mean(1), -(shares * safe).sum(-1).mean(1), lean, right], axis=1)


def hyper_weights(parameters: Array, features: Array) -> Array:
    """The weights of experts, [experts].

    Args:
        parameters: Those of both layers, flat.
        features: Of the experts, [experts, features].
    """
    return _forward(parameters, _inputs(features))[0]


def fit_hypernetwork(choices: Choices, seed: int, steps: int = STEPS) -> Array:
    """Parameters of the network that is trained on labelled items, flat; it begins at the uniform ensemble.

    Args:
        choices: What the experts give on labelled items.
        seed: Seed of its first layer.
        steps: Steps of the descent.
    """
    inputs = _inputs(expert_features(choices))
    width = inputs.shape[1]
    first = seeded(seed).normal(0, width**-0.5, width * HIDDEN)
    start = np.concatenate([first, np.zeros(2 * HIDDEN + 1)])
    return descend(start, lambda parameters: network_loss(choices, inputs, parameters), steps, RATE)


def network_loss(choices: Choices, inputs: Array, parameters: Array) -> tuple[float, Array]:
    """Loss of the mixture with the network's weights, nats an item, and its gradient over the parameters.

    Args:
        choices: What the experts give on labelled items.
        inputs: Each expert's features beside their mean, [experts, 2 · features].
        parameters: Those of both layers, flat.
    """
    weights, hidden = _forward(parameters, inputs)
    loss, upper = loss_and_gradient(choices, weights)
    last = parameters[-HIDDEN - 1 : -1]
    inner = np.outer(upper, last) * (1 - hidden**2)
    parts = [(inputs.T @ inner).ravel(), inner.sum(0), hidden.T @ upper, [upper.sum()]]
    return loss, np.concatenate(parts)


def _inputs(features: Array) -> Array:
    """Each expert's features beside their mean over all experts, [experts, 2 · features]."""
    return np.concatenate([features, np.broadcast_to(features.mean(0), features.shape)], axis=1)


def _forward(parameters: Array, inputs: Array) -> tuple[Array, Array]:
    """Weights, [experts], and hidden layer, [experts, hidden]."""
    width = inputs.shape[1]
    first = parameters[: width * HIDDEN].reshape(width, HIDDEN)
    bias, last, shift = np.split(parameters[width * HIDDEN :], [HIDDEN, 2 * HIDDEN])
    hidden = np.tanh(inputs @ first + bias)
    weights: Array = uniform(len(inputs)) + hidden @ last + shift
    return weights, hidden
