"""Weights of the experts, learned on labelled items by the gradient of the mixture's likelihood.

All begin at the uniform ensemble, and of all steps the one of the least loss counts, so that no learned mixture has a
larger loss on its training items than the uniform one of the same experts; a sparse one may leave out an expert that
the uniform one of all has.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from moecap.tasks.moicl.draw import seeded
from moecap.tasks.moicl.mixture import Array, Choices, loss_and_gradient, uniform

__all__ = ["RATE", "STEPS", "descend", "fit_nonnegative", "fit_scalar", "fit_sparse", "mask_gradient"]

STEPS, RATE = 300, 0.05
"""Full-batch steps of Adam (Kingma and Ba, 2015) and their size; the paper does not give its own."""

MOMENTS, TINY = (0.9, 0.999), 1e-8

STRENGTH = 10.0
"""How far I-MLE moves the scores of the mask along the gradient before it looks at the mask again (its λ)."""


def descend(
    start: Array,
    objective: Callable[[Array], tuple[float, Array]],
    steps: int = STEPS,
    rate: float = RATE,
    project: Callable[[Array], Array] = lambda point: point,
) -> Array:
    """The point of the least value on a path of Adam's.

    Args:
        start: Where it begins, any shape.
        objective: Value and gradient at a point.
        steps: Number of steps.
        rate: Size of a step.
        project: Moves a point to the nearest allowed one.
    """
    point, best, least = start, start, np.inf
    mean, square = np.zeros_like(start), np.zeros_like(start)
    for step in range(1, steps + 2):
        value, gradient = objective(point)
        if value < least:
            best, least = point, value
        mean = MOMENTS[0] * mean + (1 - MOMENTS[0]) * gradient
        square = MOMENTS[1] * square + (1 - MOMENTS[1]) * gradient**2
        move = mean / (1 - MOMENTS[0] ** step) / (np.sqrt(square / (1 - MOMENTS[1] ** step)) + TINY)
        point = project(point - rate * move)
    return best


def fit_scalar(choices: Choices, pull: float = 0.0, steps: int = STEPS) -> Array:
    """One free weight an expert, [experts].

    Args:
        choices: What the experts give on labelled items.
        pull: Strength of a quadratic pull to the uniform weights.
        steps: Steps of the descent.
    """
    start = uniform(choices.scores.shape[1])
    return descend(start, lambda weights: _pulled(choices, weights, pull), steps)


def fit_nonnegative(choices: Choices, pull: float = 0.0, steps: int = STEPS) -> Array:
    """One weight an expert that is not below 0, [experts]."""
    start = uniform(choices.scores.shape[1])
    return descend(start, lambda weights: _pulled(choices, weights, pull), steps, project=lambda w: np.maximum(w, 0.0))


def fit_sparse(choices: Choices, keep: int, seed: int, pull: float = 0.0, steps: int = STEPS) -> Array:
    """Weights of which ``keep`` are not 0: w = w' · topk(m) with weights w' and scores m both learned, [experts].

    The top-k mask has no gradient. Implicit maximum likelihood (Niepert et al., 2021) estimates one: the mask of the
    noisy scores against the mask after the scores moved along the gradient of the loss. The weights of the experts that
    are kept in the end are then fitted alone.

    Args:
        choices: What the experts give on labelled items.
        keep: How many experts are kept; all of them is ``fit_scalar``.
        seed: Seed of the noise.
        pull: Strength of a quadratic pull to the uniform weights.
        steps: Steps of the descent.
    """
    experts = choices.scores.shape[1]
    random = seeded(seed)

    def objective(point: Array) -> tuple[float, Array]:
        weights, scores = point
        noisy = scores + random.gumbel(size=experts)
        mask = _top(noisy, keep)
        _, gradient = loss_and_gradient(choices, weights * mask)
        away = weights - 1 / keep
        kept = np.flatnonzero(_top(scores, keep))
        value, _ = _pulled(choices.of_experts(kept), weights[kept], pull)
        return value, np.stack([(gradient + 2 * pull * away) * mask, mask_gradient(noisy, gradient * weights, keep)])

    start = np.stack([np.full(experts, 1 / keep), np.zeros(experts)])
    _, scores = descend(start, objective, steps) if keep < experts else start
    kept = np.flatnonzero(_top(scores, keep))
    found = np.zeros(experts)
    found[kept] = fit_scalar(choices.of_experts(kept), pull, steps)
    return found


def mask_gradient(noisy: Array, of_mask: Array, keep: int) -> Array:
    """The gradient over the scores of a top-k mask that implicit maximum likelihood estimates, [experts].

    Args:
        noisy: Scores with the noise of this step, [experts].
        of_mask: Gradient of the loss over the mask itself, [experts].
        keep: Experts that the mask keeps.
    """
    return (_top(noisy, keep) - _top(noisy - STRENGTH * of_mask, keep)) / STRENGTH


def _pulled(choices: Choices, weights: Array, pull: float) -> tuple[float, Array]:
    loss, gradient = loss_and_gradient(choices, weights)
    away = weights - 1 / len(weights)
    return loss + pull * float(away @ away), gradient + 2 * pull * away


def _top(scores: Array, keep: int) -> npt.NDArray[np.float64]:
    """1 for the largest scores, 0 for the rest; of equal ones the first."""
    mask = np.zeros(len(scores))
    mask[np.argsort(-scores, kind="stable")[:keep]] = 1
    return mask
