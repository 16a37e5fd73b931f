"""The mixture: a weighted product of the distributions that experts give, renormalised at every token.

An expert is the same frozen model after its own demonstrations. With weights w the mixture of a token is
log p(y|D,x) = Σ_i w_i log p(y|D_i,x) - log Z(x), where Z sums over the choices that are there: the labels, or the whole
vocabulary (Hong et al., arXiv 2411.02830). A weight below 0 makes an anti-expert.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Choices", "loss_and_gradient", "mixed", "uniform"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Choices:
    """Points at which labelled items choose a token, with what every expert gives to each choice.

    Attributes:
        scores: Natural-log probabilities, [points, experts, choices]; 0 where a point has fewer choices.
        absent: Choices that a point does not have, [points, choices].
        gold: The right choice of each point, [points].
        items: Labelled items; an item of several tokens has several points.
    """

    scores: Array
    absent: npt.NDArray[np.bool_]
    gold: npt.NDArray[np.int64]
    items: int

    def of_experts(self, experts: npt.NDArray[np.int64]) -> Choices:
        """The same with some of the experts, in the order given."""
        return Choices(self.scores[:, experts], self.absent, self.gold, self.items)


def uniform(experts: int) -> Array:
    """The weights of the uniform ensemble, 1/k each, [experts]."""
    return np.full(experts, 1 / experts)


def mixed(scores: Array, weights: Array, absent: npt.NDArray[np.bool_] | None = None) -> Array:
    """Log-probabilities of the mixture.

    Args:
        scores: Log-probabilities of each expert, [..., experts, choices].
        weights: One an expert, [experts].
        absent: Choices that are none, [..., choices].

    Returns:
        [..., choices]; minus infinity where a choice is none.
    """
    sums: Array = np.einsum("...kc,k->...c", scores, weights.astype(scores.dtype))
    if absent is not None:
        sums = np.where(absent, -np.inf, sums)
    top = sums.max(-1, keepdims=True)
    normed: Array = sums - top - np.log(np.exp(sums - top).sum(-1, keepdims=True))
    return normed


def loss_and_gradient(choices: Choices, weights: Array) -> tuple[float, Array]:
    """Negative log-likelihood of the right choices, nats an item, and its gradient over the weights, [experts].

    The loss is convex in the weights: a log-sum-exp of linear functions minus a linear one.
    """
    logs = mixed(choices.scores, weights, choices.absent)
    rows = np.arange(len(choices.gold))
    surplus = np.exp(logs)
    surplus[rows, choices.gold] -= 1
    gradient: Array = np.einsum("nc,nkc->k", surplus, choices.scores) / choices.items
    return float(-logs[rows, choices.gold].sum() / choices.items), gradient
