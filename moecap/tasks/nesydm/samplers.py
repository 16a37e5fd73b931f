"""Samplers of masked diffusion: first-hitting and discretised, free or towards a label that is given.

Shapes: N chains (inputs, or inputs times samples), C concepts, K candidates, Y outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from moecap.tasks.nesydm.masking import Unmasking
from moecap.tasks.nesydm.programs import Program

__all__ = ["Target", "resampled", "sample_concepts"]

Network = Callable[[Tensor], Tensor]
"""From c_t, [N, C], to logits, [N, C, V], of inputs that are encoded already."""


@dataclass(frozen=True, slots=True)
class Target:
    """A label towards which chains are drawn.

    Attributes:
        program: Turns concepts into labels.
        labels: [N, Y].
        candidates: K, from which one is chosen at each step.
        beta: How strongly an output that is missed counts against a candidate.
    """

    program: Program
    labels: Tensor
    candidates: int
    beta: float


def sample_concepts(
    network: Network, start: Tensor, values: int, steps: int | None, draw: torch.Generator, target: Target | None = None
) -> Tensor:
    """Concepts out of the reverse process, which unmasks what is masked at its start.

    The first-hitting sampler, which is exact, is taken where ``steps`` is ``None`` or no fewer than the masked
    concepts; the discretised one else.

    Args:
        network: The unmasking network.
        start: c_1, [N, C], with equally many masked concepts in each row; all of them are for a sample of all.
        values: V.
        steps: T of the discretised sampler.
        draw: The source of chance.
        target: A label towards which samples are drawn.

    Returns:
        c_0, [N, C].
    """
    to_unmask = int((start[0] == values).sum())
    if steps is None or steps >= to_unmask:
        return _first_hitting(network, start, values, to_unmask, draw, target)
    return _discretised(network, start, values, steps, draw, target)


def _first_hitting(
    network: Network, start: Tensor, values: int, to_unmask: int, draw: torch.Generator, target: Target | None
) -> Tensor:
    """One concept of each chain at a time, any masked one with equal chance.

    The times at which concepts are hit play no part, since no network here is told the time.
    """
    concepts = start
    for _ in range(to_unmask):
        found = _proposed(Unmasking(network(concepts), concepts), draw, target)
        chance = torch.rand(concepts.shape, generator=draw, device=concepts.device)
        hit = torch.where(concepts == values, chance, -1.0).argmax(-1, keepdim=True)
        concepts = concepts.scatter(-1, hit, found.gather(-1, hit))
    return concepts


def _discretised(
    network: Network, start: Tensor, values: int, steps: int, draw: torch.Generator, target: Target | None
) -> Tensor:
    """T steps from t = 1 to 0; each masked concept is unmasked with probability 1 / (t T), in the last step surely."""
    concepts = start
    for step in range(steps):
        found = _proposed(Unmasking(network(concepts), concepts), draw, target)
        left = steps - step  # t T
        chance = torch.rand(concepts.shape, generator=draw, device=concepts.device)
        hit = (concepts == values) & (chance * left < 1)
        concepts = torch.where(hit, found, concepts)
    return concepts


def _proposed(unmasking: Unmasking, draw: torch.Generator, target: Target | None) -> Tensor:
    if target is None:
        return unmasking.sample(1, draw)[0]
    candidates = unmasking.sample(target.candidates, draw)
    missed = (target.program(candidates) != target.labels).sum(-1)
    return resampled(candidates, missed, target.beta, draw)


def resampled(candidates: Tensor, missed: Tensor, beta: float, draw: torch.Generator) -> Tensor:
    """One candidate of each chain by self-normalised importance resampling, of weights exp(-beta · outputs missed).

    The weights are normalised in logarithms, which no number of missed outputs can overflow.

    Args:
        candidates: [K, N, C].
        missed: Outputs that each candidate misses, [K, N].
        beta: Strength of a miss.
        draw: The source of chance.

    Returns:
        [N, C].
    """
    below = (-beta * missed.double()).softmax(0).T.cumsum(-1)  # [N, K]
    chance = torch.rand((len(below), 1), generator=draw, device=below.device, dtype=below.dtype) * below[:, -1:]
    chosen = torch.searchsorted(below, chance, right=True)
    return candidates[chosen[:, 0], torch.arange(len(chosen), device=chosen.device)]
