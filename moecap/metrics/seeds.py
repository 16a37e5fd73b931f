"""The mean over the seeds of an experiment, with Student's interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

from moecap.metrics.student import mean_interval
from moecap.metrics.value import Metric, measured

__all__ = ["over_seeds"]


def over_seeds(values: Sequence[float], unit: str = "1", bounds: tuple[float, float] = (-math.inf, math.inf)) -> Metric:
    """Mean of one number a seed with its 95 % interval, which one seed does not have; n is the number of seeds.

    Args:
        values: The numbers.
        unit: Their unit.
        bounds: Between what they can lie, where the interval ends.
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return measured(mean, unit, n)
    low, high = mean_interval(values)
    return measured(mean, unit, n, max(low, bounds[0]), min(high, bounds[1]))
