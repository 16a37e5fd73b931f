"""Questions about images of digits: sums of numbers, sums of pairs of which some are never shown, and XOR.

Shapes: n questions, C images each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["PAIRS", "Images", "Questions", "pairs_of", "scanned_digits", "sums_of"]

PAIRS: dict[str, tuple[tuple[int, int], ...]] = {
    "half": ((0, 0), (0, 1), (2, 3), (2, 4)),
    "even_odd": ((0, 6), (2, 8), (4, 6), (4, 8), (1, 5), (3, 7), (1, 9), (3, 9)),
    "xor": ((0, 0), (0, 1), (1, 1)),
}
"""Pairs of digits, in either order, that are shown in training; all other pairs of the same digits are the ``ood``."""


class Images(NamedTuple):
    """Images of single digits with what they show, for training and for tests.

    Attributes:
        train: [n, pixels along both edges], from 0 to 1.
        train_digits: [n].
        test: [n, pixels along both edges].
        test_digits: [n].
    """

    train: np.ndarray
    train_digits: np.ndarray
    test: np.ndarray
    test_digits: np.ndarray


class Questions(NamedTuple):
    """Images that are looked at together, with the digits that they show.

    Attributes:
        inputs: [n, C, height, width].
        concepts: [n, C].
        splits: ``id`` or ``ood`` for each, [n].
    """

    inputs: np.ndarray
    concepts: np.ndarray
    splits: tuple[str, ...]


def scanned_digits(seed: int) -> Images:
    """The 1,797 scanned digits of scikit-learn, 8 x 8, a fifth of them for tests.

    Raises:
        NotAvailableError: If scikit-learn is not installed.
    """
    from moecap.data.digits import load_digits

    images, digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits))
    tests, rest = order[: len(order) // 5 + 1], order[len(order) // 5 + 1 :]
    return Images(images[rest], digits[rest], images[tests], digits[tests])


def sums_of(images: np.ndarray, digits: np.ndarray, count: int, seed: int) -> Questions:
    """Each image once, ``count`` of them a question, in drawn order; what does not fill a question is left out."""
    order = np.random.default_rng(seed).permutation(len(digits))
    parts = order[: len(order) // count * count].reshape(count, -1).T
    return Questions(images[parts], digits[parts], ("id",) * len(parts))


def pairs_of(
    images: np.ndarray, digits: np.ndarray, shown: Sequence[tuple[int, int]], n: int, n_other: int, seed: int
) -> Questions:
    """Pairs of images: ``n`` of the pairs of digits that are shown, then ``n_other`` of the others.

    Every pair, in either order, is as frequent as any other; its images are drawn anew for each question.
    """
    draw = np.random.default_rng(seed)
    known = sorted({pair for first, second in shown for pair in ((first, second), (second, first))})
    used = sorted({digit for pair in known for digit in pair})
    others = [(a, b) for a in used for b in used if (a, b) not in known]
    asked = [known[i % len(known)] for i in range(n)] + [others[i % len(others)] for i in range(n_other)]
    places = {digit: np.flatnonzero(digits == digit) for digit in used}
    chosen = np.array([[draw.choice(places[digit]) for digit in pair] for pair in asked])
    return Questions(images[chosen], digits[chosen], ("id",) * n + ("ood",) * n_other)
