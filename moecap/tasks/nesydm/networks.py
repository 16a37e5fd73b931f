"""Networks that look at an input and give logits of its concepts, told which concepts are known already.

Shapes: B inputs, N chains (several may look at one input), C concepts, V values; c_t holds V where a concept is masked.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

__all__ = ["DigitNetwork", "Perception", "Sees", "SemanticHead", "convolutional", "dense", "lenet"]

Sees = Literal["own image", "known concepts", "all images"]


class Perception(nn.Module):  # type: ignore[misc]
    """An unmasking network in two halves, so that an input is looked at once."""

    @abstractmethod
    def encode(self, inputs: Tensor) -> Tensor:
        """What is kept of the inputs, [B, ...]."""

    @abstractmethod
    def logits(self, encoded: Tensor, known: Tensor) -> Tensor:
        """Logits of the concepts, [N, C, V].

        Args:
            encoded: Of the input of each chain, [N, ...].
            known: c_t, [N, C].
        """


class DigitNetwork(Perception):
    """One image a concept, all looked at by the same weights.

    ``own image``: a concept follows from its image alone, and depends on no other concept (MNIST-Add in the paper).
    ``known concepts``: the last layer is told c_t too, the own concept first and the others in turn after it.
    ``all images``: it is told all images as well, and has a hidden layer.

    Args:
        encoder: From an image to features.
        features: How many there are.
        concepts: C.
        values: V.
        sees: What the last layer is told.
    """

    def __init__(self, encoder: nn.Module, features: int, concepts: int, values: int, sees: Sees) -> None:
        super().__init__()
        self.encoder, self.sees, self.values = encoder, sees, values
        told = 0 if sees == "own image" else concepts * (values + 1)
        if sees == "all images":
            hidden = nn.Linear(concepts * features + told, features)
            self.head: nn.Module = nn.Sequential(hidden, nn.ReLU(), nn.Linear(features, values))
        else:
            self.head = nn.Linear(features + told, values)

    def encode(self, inputs: Tensor) -> Tensor:
        """Features of each image, [B, C, features], of images [B, C, ...]."""
        features: Tensor = self.encoder(inputs.flatten(0, 1))
        return features.unflatten(0, inputs.shape[:2])

    def logits(self, encoded: Tensor, known: Tensor) -> Tensor:
        """Logits of each concept."""
        seen = [_own_first(encoded) if self.sees == "all images" else encoded]
        if self.sees != "own image":
            seen.append(_own_first(one_hot(known, self.values + 1).to(encoded.dtype)))
        logits: Tensor = self.head(torch.cat(seen, dim=-1))
        return logits


class SemanticHead(nn.Module):  # type: ignore[misc]
    """Labels from the logits of concepts, which a semantic loss ties to what the program makes of the concepts.

    Two hidden layers of 50, as in RSBench.
    """

    def __init__(self, concepts: int, values: int, outputs: int, output_values: int) -> None:
        super().__init__()
        self.shape = (outputs, output_values)
        self.layers = nn.Sequential(
            nn.Linear(concepts * values, 50),
            nn.ReLU(),
            nn.Linear(50, 50),
            nn.ReLU(),
            nn.Linear(50, outputs * output_values),
        )

    def forward(self, logits: Tensor) -> Tensor:
        """Logits of each output's values, [B, Y, values], of logits of concepts [B, C, V]."""
        found: Tensor = self.layers(logits.flatten(1))
        return found.unflatten(-1, self.shape)


def dense(pixels: int, features: int) -> nn.Module:
    """One hidden layer, for small images."""
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, features), nn.ReLU())


def lenet(features: int) -> nn.Module:
    """LeNet's two convolutions for images of 28 x 28."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28)),
        nn.Conv2d(1, 6, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(6, 16, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, features),
        nn.ReLU(),
    )


def convolutional() -> tuple[nn.Module, int]:
    """Three convolutions of 32, 64 and 128 channels for images of 28 x 28, with the number of features."""
    layers = nn.Sequential(
        nn.Unflatten(1, (1, 28)),
        nn.Conv2d(1, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(64, 128, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
    )
    return layers, 128 * 3 * 3


def _own_first(of_each: Tensor) -> Tensor:
    """What there is of every concept, for each concept in a row that begins with its own: [N, C, C · size]."""
    place = torch.arange(of_each.shape[1], device=of_each.device)
    turned = (place[:, None] + place) % len(place)
    return of_each[:, turned].flatten(2)
