"""Intervals of means over items that come in groups, such as words of one lemma or questions about one picture.

Items of a group are alike, so that they tell less than as many independent ones. The standard error is that of the
groups' sums (the linearised one of a ratio), and a share has Wilson's interval for the number of independent items that
would have this error (Korn and Graubard, Survey Methodology 24, 1998), with Student's quantile of the groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moecap.metrics.accuracy import Z95, wilson
from moecap.metrics.student import student_quantile
from moecap.metrics.value import Metric, measured

__all__ = ["Groups", "grouped_mean"]


@dataclass(frozen=True, slots=True)
class Groups:
    """How items come in groups, and what that does to the error of a share.

    Attributes:
        items: Items, n.
        groups: Groups, G.
        effect: Variance of the share over the one of independent items, 1 or more.
    """

    items: int
    groups: int
    effect: float

    @classmethod
    def of(cls, right: npt.NDArray[np.bool_], group: npt.NDArray[np.generic]) -> Groups:
        """From items with their groups.

        Args:
            right: Whether each item succeeded, [n].
            group: Its group, [n].
        """
        n, share = len(right), float(right.mean())
        error, groups = _error(right.astype(np.float64), group)
        if groups in (1, n):
            return cls(n, groups, 1.0)
        if share in (0.0, 1.0):  # no spread shows how alike the items of a group are; wholly, at the worst
            sizes = np.unique(group, return_counts=True)[1]
            return cls(n, groups, float(np.square(sizes).sum()) / n)
        return cls(n, groups, max(1.0, error**2 / (share * (1 - share) / n)))

    def share(self, successes: float) -> Metric:
        """A share of the items with its 95 % interval; none for one group of several items."""
        value = successes / self.items
        if self.groups == 1 and self.items > 1:
            return measured(value, "1", self.items)
        independent = self.items / self.effect
        z = Z95 if self.groups == self.items else student_quantile(0.975, self.groups - 1)
        return measured(value, "1", self.items, *wilson(value * independent, independent, z))


def grouped_mean(
    values: npt.NDArray[np.float64], group: npt.NDArray[np.generic], bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Metric:
    """The mean of numbers with its 95 % interval, mean ± t(0.975; G - 1) standard errors; none for one group.

    Args:
        values: The numbers, [n].
        group: The group of each, [n].
        bounds: Between what they can lie, where the interval ends.
    """
    mean, (error, groups) = float(values.mean()), _error(values, group)
    if groups == 1:
        return measured(mean, "1", len(values))
    half = student_quantile(0.975, groups - 1) * error
    return measured(mean, "1", len(values), max(mean - half, bounds[0]), min(mean + half, bounds[1]))


def _error(values: npt.NDArray[np.float64], group: npt.NDArray[np.generic]) -> tuple[float, int]:
    """Standard error of the mean by the spread between the groups, and the groups."""
    _, number = np.unique(group, return_inverse=True)
    beyond = np.bincount(number, values - values.mean())
    groups = len(beyond)
    if groups == 1:
        return 0.0, 1
    return math.sqrt(groups / (groups - 1) * float(np.square(beyond).sum())) / len(values), groups
