"""Controls: what a caption is said to be about is another picture, or nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from moecap.errors import BadInputError

__all__ = ["BLANK", "CONTROLS", "another", "black", "mean_picture"]

CONTROLS = ("shuffled", "blank")
"""The controls of a text context: that of another caption, and ``BLANK``."""

BLANK = "A picture."
"""A context that says nothing of any picture."""


def another(about: Sequence[str], seed: int) -> npt.NDArray[np.intp]:
    """For each thing another one that is about something else, by a random order, [things].

    Args:
        about: What each is about.
        seed: Seed of the order.

    Raises:
        BadInputError: If all are about the same.
    """
    order = np.random.RandomState(seed).permutation(len(about))
    texts = [about[i] for i in order]
    if len(set(texts)) < 2:
        raise BadInputError(
            "control shuffled: all captions are about the same; leave it out (--task-arg controls=blank)"
        )
    found = np.empty(len(about), np.intp)
    for place, text in enumerate(texts):
        step = next(step for step in range(1, len(texts)) if texts[(place + step) % len(texts)] != text)
        found[order[place]] = order[(place + step) % len(texts)]
    return found


def black(pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Pictures without any light, as many as there are."""
    return np.zeros_like(pictures)


def mean_picture(pictures: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """The mean of some pictures, so many times."""
    return np.repeat(pictures.mean(0, keepdims=True), count, axis=0)
