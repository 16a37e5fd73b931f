"""The difference and the ratio of two independent estimates, from their two intervals.

Source: the method of variance estimates recovery: R. G. Newcombe, "Interval estimation for the difference between
independent proportions: comparison of eleven methods", Statistics in Medicine 17, 1998 (method 10), and G. Y. Zou and
A. Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008. The distance from
each estimate to each of its limits stands for its spread on that side, and the distances add in quadrature. The result
has the level of the two intervals, and the intervals may lean to one side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Estimate", "difference", "ratio"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: The number.
        low: Lower end.
        high: Upper end, of the same level.
    """

    value: float
    low: float
    high: float


def difference(a: Estimate, b: Estimate) -> Estimate:
    """``b - a`` with its interval, in the unit of both."""
    gap = b.value - a.value
    below = math.hypot(b.value - b.low, a.high - a.value)
    above = math.hypot(b.high - b.value, a.value - a.low)
    return Estimate(gap, gap - below, gap + above)


def ratio(a: Estimate, b: Estimate) -> Estimate | None:
    """``b / a`` with its interval: the difference of the logarithms; ``None`` where something is not above 0."""
    if min(a.value, a.low, b.value, b.low) <= 0:
        return None
    gap = difference(_logarithm(a), _logarithm(b))
    return Estimate(math.exp(gap.value), math.exp(gap.low), math.exp(gap.high))


def _logarithm(estimate: Estimate) -> Estimate:
    return Estimate(math.log(estimate.value), math.log(estimate.low), math.log(estimate.high))
