"""A convolutional network over cepstra, with a head for languages and one for domains behind a reversed gradient.

Shapes: B utterances, T frames, D cepstra.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ConvolutionalNetwork", "reversal_strength", "reverse_gradient"]

KERNEL = 5


class ConvolutionalNetwork(nn.Module):  # type: ignore[misc]
    """Three convolutions along time, mean and deviation over the frames, and two layers to the languages.

    Args:
        cepstra: D.
        languages: How many languages.
        domains: How many domains are to be told apart; 0 for a network without that head.
        channels: Channels of each convolution.
    """

    def __init__(self, cepstra: int, languages: int, domains: int, channels: int) -> None:
        super().__init__()
        widths = (cepstra, channels, channels, channels)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, KERNEL, padding=KERNEL // 2) for before, after in pairwise(widths)
        )
        self.languages = nn.Sequential(nn.Linear(2 * channels, channels), nn.ReLU(), nn.Linear(channels, languages))
        self.domains = (
            nn.Sequential(nn.Linear(2 * channels, channels), nn.ReLU(), nn.Linear(channels, domains))
            if domains
            else None
        )

    def embedded(self, cepstra: Tensor, frames: Tensor) -> Tensor:
        """Mean and deviation over the frames of each utterance, [B, 2 channels].

        Args:
            cepstra: [B, T, D], padded with anything.
            frames: Frames of each utterance, [B].
        """
        inside = (torch.arange(cepstra.shape[1], device=cepstra.device) < frames[:, None])[:, None]  # [B, 1, T]
        hidden = cepstra.transpose(1, 2) * inside
        for convolution in self.convolutions:
            hidden = convolution(hidden).relu() * inside  # padding stays 0, as beyond the end of a longest utterance
        n = frames[:, None].to(hidden.dtype)
        mean = hidden.sum(-1) / n
        variance = (((hidden - mean[..., None]) * inside) ** 2).sum(-1) / n
        return torch.cat([mean, (variance + 1e-6).sqrt()], -1)

    def forward(self, cepstra: Tensor, frames: Tensor, strength: float = 0.0) -> tuple[Tensor, Tensor | None]:
        """Logits of the languages, [B, languages], and of the domains, [B, domains], where there is that head.

        Args:
            cepstra: [B, T, D].
            frames: [B].
            strength: What the gradient of the domains is multiplied with before its sign changes.
        """
        embedded = self.embedded(cepstra, frames)
        domains = None if self.domains is None else self.domains(reverse_gradient(embedded, strength))
        return self.languages(embedded), domains


class _Reversal(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(context: Any, values: Tensor, strength: float) -> Tensor:
        context.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -context.strength * gradient, None


def reverse_gradient(values: Tensor, strength: float) -> Tensor:
    """The values as they are; their gradient is multiplied with minus ``strength``."""
    found: Tensor = _Reversal.apply(values, strength)
    return found


def reversal_strength(progress: float) -> float:
    """How strongly the gradient is reversed, 2 / (1 + exp(-10 p)) - 1: 0 at first, near 1 at the end.

    Args:
        progress: Share p of the training that is done.
    """
    return 2 / (1 + math.exp(-10 * progress)) - 1
