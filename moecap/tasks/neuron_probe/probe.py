"""A linear probe that learns with a random subset of its inputs, and the distribution of that subset with it.

The evidence lower bound of log p(value | vector) = log sum over subsets C of p(C) p(value | vector, C), with a uniform
prior, is E_q[log p(value | vector, C)] + H(q) + a constant (arXiv 2201.08214). The gradient of the expectation is exact
for the probe and REINFORCE for q, with the mean of an example's other masks as baseline.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from moecap.tasks.neuron_probe.masks import SCHEMES, SubsetScheme
from moecap.tasks.neuron_probe.settings import Schedule

__all__ = ["Probe", "bound_terms", "fit_probe"]

HELD_OUT = 10
"""One in so many training words is held out where training may stop early."""
STOPPING_ENTROPY = 0.01
"""Weight of the entropy in the loss that decides when to stop, as in the authors' code."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A trained probe: softmax(weight · (mask * vector) + bias).

    Attributes:
        weight: [values, D].
        bias: [values].
        inclusion: Parameters phi of the distribution of subsets, [D].
        epochs: Passes that were made.
        loss: Mean loss of the words with the masks of the last epoch, nats.
    """

    weight: np.ndarray
    bias: np.ndarray
    inclusion: np.ndarray
    epochs: int
    loss: float


@dataclass(frozen=True, slots=True)
class _Parameters:
    weight: Tensor
    bias: Tensor
    phi: Tensor

    @property
    def all(self) -> list[Tensor]:
        return [self.weight, self.bias, self.phi]


def bound_terms(
    vectors: Tensor,
    gold: Tensor,
    weight: Tensor,
    bias: Tensor,
    scheme: SubsetScheme,
    masks: int,
    random: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The expectation's part of the negative bound, and what has its gradient for the distribution of subsets.

    Args:
        vectors: [n, D].
        gold: Numbers of the right values, [n].
        weight: [values, D].
        bias: [values].
        scheme: The distribution.
        masks: Subsets of each word.
        random: Draws them.

    Returns:
        Mean of -log p(value | vector, C) over words and masks, nats; and a scalar whose gradient for phi is an
        unbiased estimate of that mean's, and whose value means nothing.
    """
    n, dimensions = vectors.shape
    drawn = scheme.draw(n * masks, random)
    masked = (drawn.view(n, masks, dimensions) * vectors[:, None, :]).view(n * masks, dimensions)
    logits = functional.linear(masked, weight, bias)
    losses = functional.cross_entropy(logits, gold.repeat_interleave(masks), reduction="none").view(n, masks)
    detached = losses.detach()
    others = (detached.sum(-1, keepdim=True) - detached) / (masks - 1)
    scored = ((detached - others).view(-1) * scheme.log_probability(drawn)).mean()
    return losses.mean(), scored


def fit_probe(vectors: np.ndarray, gold: np.ndarray, values: int, schedule: Schedule, seed: int) -> Probe:
    """Train a probe.

    Args:
        vectors: [n, D], 32-bit.
        gold: Numbers of the right values, [n].
        values: How many values there are.
        schedule: How.
        seed: Draws the first weights, the batches and the masks.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    random = torch.Generator(device).manual_seed(seed)
    x = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)).to(device)
    y = torch.from_numpy(gold.astype(np.int64)).to(device)
    order = torch.randperm(len(x), generator=random, device=device)
    held = order[: max(1, len(x) // HELD_OUT)] if schedule.patience else order[:0]
    kept = order[len(held) :]
    parameters = _first(x.shape[1], values, random)
    optimiser = torch.optim.Adam(parameters.all, lr=schedule.rate, foreach=True)
    best, best_loss, since, epochs, loss = [p.detach().clone() for p in parameters.all], float("inf"), 0, 0, 0.0
    while epochs < schedule.epochs and (not schedule.patience or since < schedule.patience):
        epochs += 1
        losses = []
        for rows in _batches(kept, schedule.batch, random):
            scheme = SCHEMES[schedule.scheme](parameters.phi)
            expected, scored = bound_terms(
                x[rows], y[rows], parameters.weight, parameters.bias, scheme, schedule.masks, random
            )
            optimiser.zero_grad()
            (expected + scored - schedule.entropy * scheme.entropy()).backward()
            optimiser.step()
            losses.append(float(expected.detach()) * len(rows))
        loss = sum(losses) / len(kept)
        if schedule.patience:
            stopping = _stopping_loss(x[held], y[held], parameters, schedule, random)
            since = 0 if stopping < best_loss else since + 1
            if since == 0:
                best, best_loss = [p.detach().clone() for p in parameters.all], stopping
    final = best if schedule.patience else [p.detach() for p in parameters.all]
    weight, bias, phi = (p.cpu().numpy() for p in final)
    return Probe(weight, bias, phi, epochs, loss)


def _first(dimensions: int, values: int, random: torch.Generator) -> _Parameters:
    """Weights as a linear layer begins with, and phi from 0 to 1."""
    device = random.device
    bound = dimensions**-0.5
    weight = (2 * torch.rand(values, dimensions, generator=random, device=device) - 1) * bound
    bias = (2 * torch.rand(values, generator=random, device=device) - 1) * bound
    phi = torch.rand(dimensions, generator=random, device=device)
    return _Parameters(*(p.requires_grad_() for p in (weight, bias, phi)))


def _batches(rows: Tensor, size: int, random: torch.Generator) -> Iterator[Tensor]:
    if not size:
        yield rows
        return
    order = torch.randperm(len(rows), generator=random, device=rows.device)
    yield from rows[order].split(size)


def _stopping_loss(x: Tensor, y: Tensor, parameters: _Parameters, schedule: Schedule, random: torch.Generator) -> float:
    with torch.no_grad():
        scheme = SCHEMES[schedule.scheme](parameters.phi)
        expected, _ = bound_terms(x, y, parameters.weight, parameters.bias, scheme, schedule.masks, random)
        return float(expected - STOPPING_ENTROPY * scheme.entropy())
