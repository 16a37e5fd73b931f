"""Quantiles of Student's t distribution, for intervals of means of a few values.

The distribution function is the regularised incomplete beta function, F(t) = 1 - I(n/(n + t²); n/2, 1/2)/2 for t ≥ 0
(Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, 26.7.1), which is summed as the continued fraction
26.5.8. The degrees of freedom need not be whole, as those of Welch's interval are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["mean_interval", "student_probability", "student_quantile"]

_LEAST, _MOST_TERMS, _EXACT = 1e-300, 10_000, 1e-15


def student_probability(t: float, degrees: float) -> float:
    """The probability of a value of at most ``t``.

    Args:
        t: The value.
        degrees: Degrees of freedom, above 0.
    """
    whole = degrees + t * t
    tail = 0.5 * _incomplete_beta(degrees / whole, t * t / whole, degrees / 2, 0.5)
    return 1.0 - tail if t >= 0 else tail


def student_quantile(probability: float, degrees: float) -> float:
    """The value that is exceeded with a probability of ``1 - probability``.

    Args:
        probability: Above 0.5 and below 1.
        degrees: Degrees of freedom, above 0.
    """
    low, high = 0.0, 1.0
    while student_probability(high, degrees) < probability:
        low, high = high, 2 * high
    while high - low > 1e-14 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if student_probability(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of independent values: mean ± t(0.975; n - 1)·s/√n.

    Args:
        values: At least two.
    """
    n = len(values)
    mean = math.fsum(values) / n
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = student_quantile(0.975, n - 1) * spread / math.sqrt(n)
    return mean - half, mean + half


def _incomplete_beta(x: float, rest: float, a: float, b: float) -> float:
    """I(x; a, b) for 0 ≤ x ≤ 1, from the side on which the fraction converges fast; ``rest`` is 1 - x to all digits."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _incomplete_beta(rest, x, b, a)
    front = a * math.log(x) + b * math.log(rest) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(front) / a / _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """1 + d1/(1 + d2/(1 + ...)) by Lentz's method (W. J. Lentz, Applied Optics 15, 1976)."""
    value, numerator, denominator = 1.0, 1.0, 0.0
    for term in range(1, _MOST_TERMS):
        m = term // 2
        if term % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        denominator = 1.0 / _not_zero(1.0 + d * denominator)
        numerator = _not_zero(1.0 + d / numerator)
        value *= numerator * denominator
        if abs(numerator * denominator - 1) < _EXACT:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _LEAST else _LEAST
