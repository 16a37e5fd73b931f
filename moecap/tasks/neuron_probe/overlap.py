"""Do two languages use the same units more often than chance? Exact probabilities, and Holm's correction.

Two subsets of k of D units that are drawn at random share a hypergeometric number of them, which the paper estimates by
drawing a million subsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from math import comb

__all__ = ["MOST_SELECTED", "MOST_UNITS", "holm", "overlap", "probability_of_sharing"]

MOST_UNITS, MOST_SELECTED = 1_000_000, 1_000
"""Units in all and selected units beyond which nothing is computed."""


def overlap(one: frozenset[int], other: frozenset[int]) -> float:
    """Shared units, as a share of the smaller of the two subsets."""
    return len(one & other) / min(len(one), len(other))


def probability_of_sharing(shared: int, units: int, one: int, other: int) -> float:
    """Probability that random subsets of two sizes share at least a number of units.

    Args:
        shared: That number.
        units: Units in all.
        one: Size of one subset.
        other: Size of the other.
    """
    tail = _tail(units, one, other)
    return tail[shared] if shared < len(tail) else 0.0


@lru_cache(maxsize=64)
def _tail(units: int, one: int, other: int) -> tuple[float, ...]:
    """Probability of sharing at least 0, 1, ... units."""
    ways = [comb(one, i) * comb(units - one, other - i) for i in range(min(one, other), -1, -1)]
    whole = comb(units, other)
    return tuple(of / whole for of in accumulate(ways))[::-1]


def holm(probabilities: Sequence[float]) -> list[float]:
    """Adjusted probabilities: a hypothesis is rejected at a level where its own is at or below it (Holm 1979).

    Args:
        probabilities: One of each hypothesis of a family.
    """
    count = len(probabilities)
    order = sorted(range(count), key=lambda i: probabilities[i])
    steps = (min(1.0, probabilities[i] * (count - rank)) for rank, i in enumerate(order))
    adjusted = dict(zip(order, accumulate(steps, max), strict=True))
    return [adjusted[i] for i in range(count)]
