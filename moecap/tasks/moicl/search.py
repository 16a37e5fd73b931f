"""Baselines that look for one good prompt: random search, and LENS (Li and Qiu, Findings of EMNLP 2023).

LENS keeps the demonstrations that help others most, and then searches among them for a set that is good and diverse. An
example helps an item by c(e, x) = p(y|e,x) - p(y|x); its score is the sum over items, and its feature the vector of all
c. The filter looks at few items first and at more for those examples that are left. The search exchanges one example of
a prompt at a time for one of a high score less its likeness to the rest of the prompt, and keeps the prompt that does
best on the labelled items. Both baselines may try equally many prompts, and see the labelled items of the mixture.
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

DIVERSITY = 1.0
"""Weight of likeness against score when LENS proposes an exchange."""

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
    scores = helps.sum(1)
    best = tuple(candidates[:size])
    least, tried = judge(best), {best}
    for _ in range(tries - 1):
        place = int(random.randint(size))
        rest = [one for number, one in enumerate(best) if number != place]
        likeness = helps @ helps[rest].sum(0) if rest else np.zeros(len(helps))
        worth = {one: scores[one] - DIVERSITY * likeness[one] for one in candidates if one not in rest}
        for one in sorted(worth, key=lambda one: -worth[one]):
            proposed = (*best[:place], one, *best[place + 1 :])
            if proposed not in tried:
                tried.add(proposed)
                if (loss := judge(proposed)) < least:
                    best, least = proposed, loss
                break
    return best
