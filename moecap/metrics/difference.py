"""The difference and the ratio of two independent estimates, and what may be said of them.

From two intervals: the method of variance estimates recovery: R. G. Newcombe, "Interval estimation for the difference
between independent proportions: comparison of eleven methods", Statistics in Medicine 17, 1998 (method 10), and G. Y.
Zou and A. Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008. The
distance from each estimate to each of its limits stands for its spread on that side, and the distances add in
quadrature. The result has the level of the two intervals, and the intervals may lean to one side.

From two standard errors: B. L. Welch, "The generalization of Student's problem when several different population
variances are involved", Biometrika 34, 1947, with the degrees of freedom of F. E. Satterthwaite, Biometrics Bulletin 2,
1946.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from moecap.metrics.direction import Better
from moecap.metrics.student import student_quantile

__all__ = [
    "Estimate",
    "Spread",
    "Verdict",
    "difference",
    "ratio",
    "spread_of",
    "told_apart",
    "verdict",
    "welch_difference",
    "welch_ratio",
]

UPPER = 0.975
"""Where the 95 % interval ends above."""

Verdict = Literal["better", "worse", "higher", "lower", "no difference shown"]
"""What may be said of B against A; ``higher`` and ``lower`` where neither direction is better."""


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


@dataclass(frozen=True, slots=True)
class Spread:
    """A number with its standard error.

    Attributes:
        value: The number.
        error: Its standard error, in its unit.
        freedom: Degrees of freedom of that error.
    """

    value: float
    error: float
    freedom: float


def spread_of(values: Sequence[float]) -> Spread | None:
    """The mean of independent repeats with its standard error; ``None`` for fewer than two, which have no spread."""
    n = len(values)
    if n < 2:
        return None
    mean = math.fsum(values) / n
    return Spread(mean, math.hypot(*(value - mean for value in values)) / math.sqrt((n - 1) * n), n - 1)


def welch_difference(a: Spread, b: Spread) -> Estimate:
    """``b - a`` with its 95 % interval, in the unit of both."""
    half = _half_width(a.error, a.freedom, b.error, b.freedom)
    gap = b.value - a.value
    return Estimate(gap, gap - half, gap + half)


def welch_ratio(a: Spread, b: Spread) -> Estimate | None:
    """``b / a`` with its 95 % interval on the logarithm; ``None`` where one is not above 0.

    The standard error of a logarithm is the relative standard error, which holds to first order.
    """
    if min(a.value, b.value) <= 0:
        return None
    half = _half_width(a.error / a.value, a.freedom, b.error / b.value, b.freedom)
    factor = math.exp(half) if half < 700 else math.inf
    quotient = b.value / a.value
    return Estimate(quotient, quotient / factor, quotient * factor)


def _half_width(a: float, a_freedom: float, b: float, b_freedom: float) -> float:
    """Half of the 95 % interval of a difference, from two standard errors; 0 where neither has any."""
    whole = math.hypot(a, b)
    if whole == 0:
        return 0.0
    freedom = 1 / ((a / whole) ** 4 / a_freedom + (b / whole) ** 4 / b_freedom)
    return student_quantile(UPPER, freedom) * whole


def told_apart(apart: Estimate, equal: float) -> bool:
    """Whether an interval leaves out what it would hold if both were equal: 0 for a difference, 1 for a ratio."""
    return not apart.low <= equal <= apart.high


def verdict(apart: Estimate, equal: float, better: Better) -> Verdict:
    """What an interval between A and B says of B.

    Args:
        apart: The difference or the ratio, B against A.
        equal: 0 for a difference, 1 for a ratio.
        better: Which direction of the metric is better.
    """
    if not told_apart(apart, equal):
        return "no difference shown"
    direction: Literal["higher", "lower"] = "higher" if apart.value > equal else "lower"
    if better == "neither":
        return direction
    return "better" if direction == better else "worse"
