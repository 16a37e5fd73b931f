"""Pairs of handwritten digits: 45 small tasks that need no language model.

Each pair is a task: which of the two does an image of 8 by 8 pixels show.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

from moecap.data.digits import DIGITS_SOURCE, load_digits
from moecap.tasks.adapter_routing.examples import Example, ExampleTask, TaskSet, split

__all__ = ["HELD_OUT", "TRAINED", "digit_pairs"]

TRAINED, HELD_OUT = 33, 8
"""Pairs that are trained on, and pairs of the other twelve that are learned from a few shots."""

SPLIT_SEED = 0
"""Seed with which the pairs are split, whatever the run's own seeds: each seed is judged by the same images."""


def digit_pairs(limit: int | None = None, trained: int = TRAINED, held_out: int = HELD_OUT) -> TaskSet:
    """The pairs.

    Args:
        limit: Most test images of a pair.
        trained: Pairs to train on, 33 at most.
        held_out: Pairs to be learned from a few shots, 12 at most.

    Raises:
        NotAvailableError: If scikit-learn is not installed.
    """
    _, shown = load_digits()
    pairs = list(combinations(range(10), 2))
    order = np.random.default_rng(SPLIT_SEED).permutation(len(pairs)).tolist()
    found = [_pair(shown, pairs[number], limit) for number in order]
    tasks = tuple(task for task, _ in found)
    chosen = found[:trained] + found[TRAINED : TRAINED + held_out]
    limited = len(chosen) < TRAINED + HELD_OUT or any(left_out for _, left_out in chosen)
    return TaskSet(tasks[:trained], tasks[TRAINED : TRAINED + held_out], DIGITS_SOURCE, limited)


def _pair(shown: npt.NDArray[np.int64], pair: tuple[int, int], limit: int | None) -> tuple[ExampleTask, bool]:
    low, high = pair
    images = np.flatnonzero((shown == low) | (shown == high)).tolist()
    examples = [
        Example(
            f"{low}{high}-{image}",
            f"image {image}: {low} or {high}?",
            (str(low), str(high)),
            int(shown[image] == high),
            image,
        )
        for image in images
    ]
    return split(f"digits {low} and {high}", examples, limit)
