"""The mean over the seeds of an experiment, with Student's interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

from moecap.metrics.value import Metric, measured

__all__ = ["MOST_SEEDS", "over_seeds"]

_QUANTILES = (
    *(12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139),
    *(2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024),
)
"""0.975 quantiles of Student's t distribution with 1, 2, ... degrees of freedom."""

MOST_SEEDS = len(_QUANTILES) + 1


def over_seeds(values: Sequence[float], unit: str = "1", bounds: tuple[float, float] = (-math.inf, math.inf)) -> Metric:
    """Mean of one number a seed with its 95 % interval, which one seed does not have; n is the number of seeds.

    Args:
        values: The numbers.
        unit: Their unit.
        bounds: Between what they can lie, where the interval ends.
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1 or n > MOST_SEEDS:
        return measured(mean, unit, n)
    half = _QUANTILES[n - 2] * math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    return measured(mean, unit, n, max(mean - half, bounds[0]), min(mean + half, bounds[1]))
