"""Which experts a step of so many tokens touches, where nothing was measured: a popularity of experts and its laws.

A token selects an expert of popularity p (its share of all selections, Σ p = 1) with probability q = min(1, k·p), so
that T tokens touch Σ (1 - (1 - q)^T) distinct experts. Uniform popularity gives N·(1 - (1 - k/N)^T); a power law
p_i ∝ i^(-s) gives fewer; a histogram of a measured run's selections gives what that run's routing would.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from moecap.errors import BadInputError

__all__ = ["UNIFORM", "Popularity"]

Floats = npt.NDArray[np.float64]

_ROUNDS = 60


@dataclass(frozen=True, slots=True)
class Popularity:
    """How unevenly tokens choose experts.

    Attributes:
        exponent: s of the power law p_i ∝ i^(-s); 0 is uniform.
        histogram: Selections of each expert in a measured run, in place of the power law; empty where there are none.
    """

    exponent: float = 0.0
    histogram: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            BadInputError: If the exponent is negative, or a histogram has a negative count or none at all.
        """
        if not 0.0 <= self.exponent <= 8.0:
            raise BadInputError(
                f"exponent {self.exponent} of the experts' popularity is outside 0 to 8; give one inside"
            )
        if self.histogram and (min(self.histogram) < 0 or sum(self.histogram) <= 0):
            raise BadInputError("a histogram of experts needs counts of 0 or more and one above 0; give those of a run")

    @lru_cache(maxsize=256)  # noqa: B019  (kept by value: instances are few, frozen and hashable)
    def probabilities(self, experts: int, top_k: float) -> Floats:
        """The probability that a token selects each expert, float64 [N]; they sum to k.

        Raises:
            BadInputError: If a histogram is of another number of experts.
        """
        if self.histogram:
            if len(self.histogram) != experts:
                raise BadInputError(
                    f"the histogram has {len(self.histogram)} experts and the model {experts}; give one of this model"
                )
            share = np.asarray(self.histogram, np.float64)
        else:
            share = np.arange(1, experts + 1, dtype=np.float64) ** -self.exponent
        share = share / share.sum()
        # No expert is chosen more than once a token: what lies above 1 is shared out over the others.
        chosen = np.minimum(1.0, top_k * share)
        for _ in range(_ROUNDS):
            missing = top_k - chosen.sum()
            if missing <= 1e-12 * top_k:
                break
            free = np.where(chosen < 1.0, share, 0.0)
            if free.sum() <= 0.0:
                break
            chosen = np.minimum(1.0, chosen + missing * free / free.sum())
        return np.asarray(chosen, np.float64)

    def distinct(self, experts: int, top_k: float, tokens: npt.ArrayLike) -> Floats:
        """Expected number of distinct experts that so many tokens select, in the shape of ``tokens``."""
        fed = np.asarray(tokens, np.float64)
        if self.exponent == 0.0 and not self.histogram:
            return np.asarray(experts * (1.0 - (1.0 - min(1.0, top_k / experts)) ** fed), np.float64)
        chosen = self.probabilities(experts, top_k)
        return np.asarray((1.0 - (1.0 - chosen) ** fed[..., None]).sum(axis=-1), np.float64)

    def heaviest_share(self, experts: int, top_k: float, groups: npt.ArrayLike, tokens: npt.ArrayLike) -> Floats:
        """Load of the busiest of so many groups of experts over the mean load, at least 1.

        Experts are dealt to the groups in turn, the most popular first, so popularity alone unbalances them little;
        chance does the more the fewer tokens there are. The largest of G loads of mean m and variance m(1 - 1/G) lies
        about √(2 ln G · variance) above m.

        Args:
            experts: N.
            top_k: k.
            groups: G, the groups of devices that share out the experts.
            tokens: Tokens of the step.
        """
        among = np.asarray(groups, np.float64)
        mean = np.maximum(np.asarray(tokens, np.float64) * top_k / among, 1e-9)
        above = np.sqrt(2.0 * np.log(np.maximum(among, 1.0)) * (1.0 - 1.0 / among) / mean)
        return np.asarray(np.minimum(1.0 + above, among), np.float64)


UNIFORM = Popularity()
"""Every expert as often as any other."""
