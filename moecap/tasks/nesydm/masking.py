"""Masked diffusion over concepts: the forward process, and the distribution with which a network unmasks.

Concepts are whole numbers from 0 to V - 1; V stands for a masked one. Shapes: B inputs, C concepts, V values.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Unmasking", "masked", "shown_given"]


def masked(concepts: Tensor, time: Tensor, values: int, draw: torch.Generator) -> Tensor:
    """Concepts at a time of the forward process q(c_t | c_0), in which each is masked by then with probability t.

    Args:
        concepts: [..., C].
        time: t between 0 and 1, [...]; the schedule is linear, alpha_t = 1 - t.
        values: V, which stands for a masked concept.
        draw: The source of chance.
    """
    hidden = torch.rand(concepts.shape, generator=draw, device=concepts.device) < time[..., None]
    return torch.where(hidden, values, concepts)


def shown_given(probabilities: Tensor, samples: int, draw: torch.Generator) -> Tensor:
    """Independent samples of categorical distributions, [samples, ...], of probabilities [..., V]."""
    below = probabilities.cumsum(-1)[..., :-1].movedim(-1, 0)  # values first, so that their sum runs over whole rows
    chance = torch.rand((samples, *below.shape[1:]), generator=draw, device=below.device)
    return (chance >= below.contiguous()[:, None]).sum(0)


class Unmasking:
    """p(c_0 | c_t, x): one categorical distribution a concept, independent given c_t, without a value for the mask.

    What is not masked any more is carried over: it has its value with probability 1.

    Attributes:
        known: c_t, [..., C].
        values: V.
        log_probabilities: Natural logarithms of what the network gives before anything is carried over, [..., C, V].
    """

    def __init__(self, logits: Tensor, known: Tensor) -> None:
        self.known = known
        self.values = logits.shape[-1]
        self.log_probabilities = logits.log_softmax(-1).expand(*known.shape, self.values)
        self.is_masked = known == self.values

    def probabilities(self) -> Tensor:
        """Probability of each value, [..., C, V]; one-hot for what is carried over."""
        carried = torch.nn.functional.one_hot(self.known, self.values + 1)[..., : self.values]
        return torch.where(self.is_masked[..., None], self.log_probabilities.exp(), carried)

    def sample(self, samples: int, draw: torch.Generator) -> Tensor:
        """Independent samples of all concepts, [samples, ..., C]."""
        found = shown_given(self.log_probabilities.detach().exp(), samples, draw)
        return torch.where(self.is_masked, found, self.known)

    def log_prob(self, concepts: Tensor) -> Tensor:
        """Log-probability of each concept's value, [..., C]; 0 for what is carried over, whose value is given."""
        table = self.log_probabilities.expand(*concepts.shape, self.values)
        of_network = table.gather(-1, concepts[..., None]).squeeze(-1)
        return torch.where(self.is_masked, of_network, 0.0)

    def entropy(self) -> Tensor:
        """Entropy of each concept, in nats, [..., C]; 0 for what is carried over."""
        of_network = -(self.log_probabilities.exp() * self.log_probabilities).sum(-1)
        return torch.where(self.is_masked, of_network, 0.0)
