"""Intervals of scores by resampling their items with replacement, the same in every version of NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["RESAMPLES", "interval", "resampled"]

Array = npt.NDArray[np.float64]

RESAMPLES = 1000
"""Resamples of an interval."""

AT_ONCE = 1 << 22
"""Items that are drawn at a time, which bounds the memory."""


def resampled(values: Array, function: Callable[[Array], Array]) -> Array:
    """A score of each resample, [RESAMPLES]; drawn with a fixed seed, so that it is the same anywhere.

    NumPy's older generator draws, since the numbers of the newer one may change with its version.

    Args:
        values: The items, [n] or [n, width].
        function: From items, [..., n] or [..., n, width], to the score.
    """
    rng = np.random.RandomState(0)
    n, left, scores = len(values), RESAMPLES, []
    while left:
        count = min(left, max(1, AT_ONCE // n))
        scores.append(function(values[rng.randint(0, n, (count, n))]))
        left -= count
    return np.concatenate(scores)


def interval(values: Array, function: Callable[[Array], Array]) -> tuple[float | None, float | None]:
    """The 95 % interval of a score by its resamples; none for one item, which resamples repeat.

    Args:
        values: The items, [n] or [n, width].
        function: From items, [..., n] or [..., n, width], to the score.
    """
    if len(values) < 2:
        return None, None
    low, high = np.percentile(resampled(values, function), (2.5, 97.5))
    return float(low), float(high)
