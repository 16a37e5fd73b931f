"""Baselines that look for one good prompt: random search, and LENS (Li and Qiu, Findings of EMNLP 2023).

LENS keeps the demonstrations that help others most, and then searches among them for a set that is good and diverse. An
example helps an item by c(e, x) = p(y|e,x) - p(y|x); its score is the mean over items, and its feature the vector of
all c. The filter looks at few items first and at more for those examples that are left. The search exchanges one
example of a prompt at a time for one of a high score less its likeness to the rest of the prompt, the mean cosine of
their features, and keeps the prompt that does best on the labelled items. Scores and cosines are standardised over the
examples that the filter left, as in the authors' scripts (github.com/LeeSureman/ICL_Support_Example); these draw the
exchange from the best four and keep a beam of prompts, where here the best exchange counts and one prompt is kept. Both
baselines may try equally many prompts, and see the labelled items of the mixture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from moecap.tasks.moicl.draw import seeded
from moecap.tasks.moicl.mixture import Array

__all__ = ["filtered", "helpfulness", "lens_search", "random_search"]

Judge = Callable[[tuple[int, ...]], float]
"""The loss of a prompt, given as numbers of demonstrations in order, on the labelled items; smaller is better."""

DIVERSITY = 4.0
"""Weight of likeness against score when LENS proposes an exchange, that of its authors' scripts."""

GROWTH = 2
"""From round to round the filter looks at so many times more items and keeps one example of so many."""


def random_search(count: int, size: int, tries: int, judge: Judge, seed: int) -> tuple[int, ...]:
    """The best of some random ordered subsets of demonstrations.

    Args:
        count: Demonstrations.
        size: Those of a prompt.
        tries: Prompts that are tried.
        judge: Gives the loss of a prompt.
        seed: Seed of the draws.
    """
    random = seeded(seed)
    prompts = [tuple(random.permutation(count)[:size].tolist()) for _ in range(tries)]
    return min(prompts, key=judge)


def helpfulness(with_each: Array, without: Array, gold: npt.NDArray[np.int64]) -> Array:
    """What each demonstration adds to the probability of the right label, [demonstrations, items].

    Args:
        with_each: Log-probabilities of the labels after that demonstration alone, [items, demonstrations, labels].
        without: The same after none, [items, labels].
        gold: The right labels, [items].
    """
    rows = np.arange(len(gold))
    helped: Array = np.exp(with_each[rows, :, gold]).T - np.exp(without[rows, gold])
    return helped


def filtered(helps: Array, keep: int, seed: int) -> list[int]:
    """The demonstrations that help most, found by looking at ever more items.

    Args:
        helps: What each adds on each item, [demonstrations, items].
        keep: How many are wanted.
        seed: Seed of the order in which items are looked at.
    """
    order = seeded(seed).permutation(helps.shape[1])
    left = np.arange(helps.shape[0])
    seen = max(1, helps.shape[1] // GROWTH**3)
    while True:
        scores = helps[left][:, order[:seen]].sum(1)
        wanted = max(keep, len(left) // GROWTH)
        whole = seen >= helps.shape[1]
        if whole:
            wanted = keep
        left = left[np.argsort(-scores, kind="stable")[:wanted]]
        if whole:
            return [int(one) for one in left]
        seen = min(seen * GROWTH, helps.shape[1])


def lens_search(
    helps: Array, candidates: Sequence[int], size: int, tries: int, judge: Judge, seed: int
) -> tuple[int, ...]:
    """A prompt that is good and diverse, by exchanges of one example at a time.

    Args:
        helps: What each demonstration adds on each item, [demonstrations, items].
        candidates: The demonstrations that the filter left, the best first.
        size: Demonstrations of a prompt.
        tries: Prompts that are tried.
        judge: Gives the loss of a prompt.
        seed: Seed of the places that are exchanged.
    """
    random = seeded(seed)
    features = helps[list(candidates)]
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    directions = np.divide(features, lengths, out=np.zeros_like(features), where=lengths > 0)
    scores, likeness = _standardised(features.mean(1)), _standardised(directions @ directions.T)
    place_of = {one: place for place, one in enumerate(candidates)}
    best = tuple(candidates[:size])
    least, tried = judge(best), {best}
    for _ in range(tries - 1):
        place = int(random.randint(size))
        rest = [one for number, one in enumerate(best) if number != place]
        alike = likeness[:, [place_of[one] for one in rest]].mean(1) if rest else np.zeros(len(candidates))
        worth = dict(zip(candidates, scores - DIVERSITY * alike, strict=True))
        for one in sorted(worth.keys() - set(rest), key=lambda one: (-worth[one], place_of[one])):
            proposed = (*best[:place], one, *best[place + 1 :])
            if proposed not in tried:
                tried.add(proposed)
                if (loss := judge(proposed)) < least:
                    best, least = proposed, loss
                break
    return best


def _standardised(values: Array) -> Array:
    """Values less their mean, in standard deviations; 0 where all are the same."""
    spread = values.std()
    return np.asarray((values - values.mean()) / spread) if spread > 0 else np.zeros_like(values)
