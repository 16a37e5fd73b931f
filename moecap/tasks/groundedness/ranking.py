"""Whether two languages rank word classes alike: Kendall's tau-b, weighted tau, Spearman's rho.

Written here in a few lines each so that whoever verifies a result needs nothing more; tests hold them against SciPy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

__all__ = ["AGREEMENTS", "kendall_tau", "spearman", "weighted_tau"]

Floats = npt.NDArray[np.float64]


def kendall_tau(x: Floats, y: Floats) -> float | None:
    """Kendall's tau-b, which allows for ties; ``None`` where one side is all ties (M. G. Kendall, 1945)."""
    return _concordance(x, y, np.ones((len(x), len(x))))


def weighted_tau(x: Floats, y: Floats) -> float | None:
    """Kendall's tau in which an exchange near the top counts more; ``None`` where one side is all ties.

    An exchange of the ranks r and s, counted from 0, weighs 1/(r+1) + 1/(s+1); the mean of what the ranks by x and
    those by y give, where ties are broken by the other side (S. Vigna, 2015).
    """
    found = [_by_rank(x, y, np.lexsort((y, x))), _by_rank(x, y, np.lexsort((x, y)))]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None


def spearman(x: Floats, y: Floats) -> float | None:
    """Spearman's rho: the correlation of ranks, ties with their mean rank; ``None`` where one side is all ties."""
    ranks = [_mean_ranks(side) for side in (x, y)]
    first, second = (rank - rank.mean() for rank in ranks)
    spread = math.sqrt(float((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / spread if spread else None


AGREEMENTS: Mapping[str, Callable[[Floats, Floats], float | None]] = {
    "kendall_tau": kendall_tau,
    "weighted_tau": weighted_tau,
    "spearman": spearman,
}
"""Functions of two equally long columns to -1 to 1."""


def _by_rank(x: Floats, y: Floats, ascending: npt.NDArray[np.intp]) -> float | None:
    weight = np.empty(len(x))
    weight[ascending[::-1]] = 1 / np.arange(1, len(x) + 1)
    return _concordance(x, y, weight[:, None] + weight[None, :])


def _concordance(x: Floats, y: Floats, weight: Floats) -> float | None:
    """Weighted agreement of the signs of all differences, [n, n]."""
    signs = [np.sign(side[:, None] - side[None, :]) for side in (x, y)]
    first, second = (float((weight * sign**2).sum()) for sign in signs)
    if not first or not second:
        return None
    return float((weight * signs[0] * signs[1]).sum()) / math.sqrt(first) / math.sqrt(second)


def _mean_ranks(values: Floats) -> Floats:
    less = (values[:, None] > values[None, :]).sum(1)
    same = (values[:, None] == values[None, :]).sum(1)
    ranks: Floats = less + (same - 1) / 2
    return ranks
