"""Distributions over subsets of dimensions, which are drawn as masks (arXiv 2201.08214).

Each dimension has a parameter phi and the weight exp(phi). Under the Poisson scheme dimensions are in the subset
independently; under the conditional Poisson scheme the size of the subset is drawn first, each from 1 to D alike, and
the weight of a subset is the product of its dimensions'.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["SCHEMES", "ConditionalPoisson", "Poisson", "SubsetScheme"]


class SubsetScheme(ABC):
    """A family of distributions over the subsets of D dimensions.

    Args:
        phi: Its parameters, [D].
    """

    def __init__(self, phi: Tensor) -> None:
        self.phi = phi

    @abstractmethod
    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """Draw masks, [count, D], 1 for a dimension in the subset and 0 for another."""

    @abstractmethod
    def log_probability(self, masks: Tensor) -> Tensor:
        """Log-probability of each mask, nats, [count]; gradients reach phi."""

    @abstractmethod
    def entropy(self) -> Tensor:
        """Entropy of the distribution, nats; gradients reach phi."""


class Poisson(SubsetScheme):
    """Each dimension is in the subset with probability sigmoid(phi), whatever the others do."""

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """Draw each dimension by itself."""
        uniform = torch.rand(count, len(self.phi), generator=random, device=self.phi.device)
        return (uniform < torch.sigmoid(self.phi.detach())).to(self.phi.dtype)

    def log_probability(self, masks: Tensor) -> Tensor:
        """Sum of phi over the subset, less that of log(1 + exp(phi)) over all dimensions."""
        return masks @ self.phi - functional.softplus(self.phi).sum()

    def entropy(self) -> Tensor:
        """Sum over the dimensions."""
        return (functional.softplus(self.phi) - torch.sigmoid(self.phi) * self.phi).sum()


class ConditionalPoisson(SubsetScheme):
    """The size is drawn from 1 to D, and a subset of that size in proportion to the product of its weights."""

    def __init__(self, phi: Tensor) -> None:
        super().__init__(phi)
        self._log_sums = _log_sums(phi)

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """Draw sizes, then decide dimension after dimension from the last one on."""
        dimensions = len(self.phi)
        sizes = torch.randint(1, dimensions + 1, (count,), generator=random, device=self.phi.device)
        return self.draw_of_sizes(sizes, random)

    def draw_of_sizes(self, sizes: Tensor, random: torch.Generator) -> Tensor:
        """Draw a mask of each size, [count, D].

        Args:
            sizes: Sizes from 0 to D, [count].
            random: Draws.
        """
        dimensions, device = len(self.phi), self.phi.device
        masks = torch.zeros(len(sizes), dimensions, dtype=self.phi.dtype, device=device)
        left = sizes.clone()
        with torch.no_grad():
            uniform = torch.rand(dimensions, len(sizes), generator=random, device=device, dtype=torch.float64)
            for last in range(dimensions - 1, -1, -1):
                taken = uniform[last] < self._taken(last)[left]
                masks[:, last] = taken.to(masks.dtype)
                left -= taken.long()
        return masks

    def log_probability(self, masks: Tensor) -> Tensor:
        """Log-probability of the size, 1/D, and of the subset among those of its size."""
        sizes = masks.sum(-1).long()
        return (masks @ self.phi) - self._log_sums[-1][sizes].to(self.phi.dtype) - math.log(len(self.phi))

    def entropy(self) -> Tensor:
        """Log D, and the mean over the sizes of the entropy given the size."""
        return math.log(len(self.phi)) + self.entropies_of_sizes()[1:].mean()

    def entropies_of_sizes(self) -> Tensor:
        """Entropy of the subsets of each size from 0 to D, nats, [D + 1].

        It is log Z_k less the mean of the subset's sum of phi, which grows dimension by dimension.
        """
        phi = self.phi.double()
        mean = torch.zeros(len(phi) + 1, dtype=torch.float64, device=phi.device)
        for last in range(len(phi)):
            taken = self._taken(last)
            fewer = functional.pad(mean[:-1], (1, 0))
            mean = (1 - taken) * mean + taken * (fewer + phi[last])
        return (self._log_sums[-1] - mean).to(self.phi.dtype)

    def _taken(self, last: int) -> Tensor:
        """Probability that dimension ``last`` is in a subset of j of the dimensions up to it, by j, [D + 1].

        For a j above ``last + 1``, which cannot be, it is 0.
        """
        fewer = functional.pad(self._log_sums[last][:-1], (1, 0), value=-math.inf)
        whole = self._log_sums[last + 1]
        log = torch.where(whole.isfinite(), self.phi[last].double() + fewer - whole.nan_to_num(neginf=0.0), -math.inf)
        return log.exp().clamp(max=1.0)


def _log_sums(phi: Tensor) -> list[Tensor]:
    """Log Z of the first d dimensions, for each size j from 0 to D, one [D + 1] for each d from 0 to D.

    Z_{d,j} = Z_{d-1,j} + exp(phi_d) Z_{d-1,j-1}, the elementary symmetric polynomials of the weights.
    """
    weights = phi.double()
    start = torch.full((len(phi) + 1,), -math.inf, dtype=torch.float64, device=phi.device)
    sums = [torch.cat([torch.zeros(1, dtype=torch.float64, device=phi.device), start[1:]])]
    for weight in weights:
        fewer = functional.pad(sums[-1][:-1], (1, 0), value=-math.inf)
        sums.append(_logaddexp(sums[-1], fewer + weight))
    return sums


def _logaddexp(one: Tensor, other: Tensor) -> Tensor:
    """log(exp(one) + exp(other)) whose gradient is no NaN where both are minus infinity."""
    neither = one.isinf() & other.isinf()
    safe = torch.logaddexp(one.masked_fill(neither, 0.0), other.masked_fill(neither, 0.0))
    return safe.masked_fill(neither, -math.inf)


SCHEMES: Mapping[str, Callable[[Tensor], SubsetScheme]] = {"poisson": Poisson, "conditional": ConditionalPoisson}
"""The schemes by name."""
