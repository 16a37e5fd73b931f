"""Scores of two systems on the same items, compared item by item."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moecap.metrics.accuracy import wilson
from moecap.metrics.bootstrap import interval
from moecap.metrics.difference import Estimate

__all__ = ["Paired", "mcnemar", "paired"]


@dataclass(frozen=True, slots=True)
class Paired:
    """The difference of two means over the same items.

    Attributes:
        gap: The second mean minus the first, with its 95 % interval.
        n: Items.
        only_a: Items that only the first got right; ``None`` where scores are not all 0 or 1.
        only_b: Items that only the second got right.
        p: McNemar's exact two-sided probability; ``None`` where scores are not all 0 or 1.
        effect: The mean of the items' differences over their standard deviation; ``None`` where all are alike.
    """

    gap: Estimate
    n: int
    only_a: int | None
    only_b: int | None
    p: float | None
    effect: float | None


def mcnemar(only_a: int, only_b: int) -> float:
    """The two-sided probability of so uneven a split where neither is better (Q. McNemar, 1947; the exact test).

    Args:
        only_a: Items that only the first got right.
        only_b: Items that only the second got right.
    """
    n, least = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, k) for k in range(least + 1))
    return min(1.0, 2 * tail / (1 << n))


def paired(a: Sequence[float], b: Sequence[float]) -> Paired:
    """Compare scores of the same items, in the same order.

    Where all are 0 or 1 the interval is that of R. G. Newcombe, "Improved confidence intervals for the difference
    between binomial proportions based on paired data", Statistics in Medicine 17, 1998 (method 10: Wilson's limits of
    both shares, and their correlation); else it is a bootstrap of the items' differences.

    Args:
        a: Scores of the first, at least one.
        b: Scores of the second, as many.
    """
    n = len(a)
    apart = np.array(b, np.float64) - np.array(a, np.float64)
    gap, spread = math.fsum(apart.tolist()) / n, float(apart.std(ddof=1)) if n > 1 else 0.0
    effect = gap / spread if spread else None
    if any(score not in (0, 1) for score in (*a, *b)):
        low, high = interval(apart, lambda drawn: np.asarray(drawn.mean(-1)))
        ends = (gap if low is None else low, gap if high is None else high)
        return Paired(Estimate(gap, *ends), n, None, None, None, effect)
    both = sum(1 for x, y in zip(a, b, strict=True) if x and y)
    only_a, only_b = round(sum(a)) - both, round(sum(b)) - both
    estimate = _newcombe(both, only_b, only_a, n - both - only_a - only_b)
    return Paired(estimate, n, only_a, only_b, mcnemar(only_a, only_b), effect)


def _newcombe(both: int, only_b: int, only_a: int, neither: int) -> Estimate:
    n = both + only_a + only_b + neither
    first, second = both + only_b, both + only_a  # of B and of A
    margins = first * (n - first) * second * (n - second)
    product = float(both * neither - only_a * only_b)
    if product > 0:
        product = max(product - n / 2, 0.0)
    correlation = product / math.sqrt(margins) if margins else 0.0
    (low_b, high_b), (low_a, high_a) = wilson(first, n), wilson(second, n)
    share_b, share_a = first / n, second / n
    gap = share_b - share_a

    def arm(x: float, y: float) -> float:
        return math.sqrt(max(x * x - 2 * correlation * x * y + y * y, 0.0))

    below = arm(share_b - low_b, high_a - share_a)
    above = arm(high_b - share_b, share_a - low_a)
    return Estimate(gap, gap - below, gap + above)
