"""Networks of the paper for whole scenes: Warcraft maps and the embeddings of BDD-OIA."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from moecap.tasks.nesydm.networks import Perception

__all__ = ["DrivingNetwork", "MapNetwork"]

CHANNELS = 64


class MapNetwork(Perception):
    """The beginning of a ResNet-18 over a map, to which an embedding of each cell's known ground is added.

    Args:
        edge: Cells along the edge of a map; the map's pixels along its edge are a multiple of four times that.
        values: Kinds of ground.
    """

    def __init__(self, edge: int, values: int) -> None:
        super().__init__()
        self.edge = edge
        self.stem = nn.Sequential(
            nn.Conv2d(3, CHANNELS, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(CHANNELS),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.ground = nn.Embedding(values + 1, CHANNELS)
        self.blocks = nn.Sequential(_Residual(), _Residual(), nn.AdaptiveMaxPool2d(edge))
        self.head = nn.Linear(CHANNELS, values)

    def encode(self, inputs: Tensor) -> Tensor:
        """Features of maps [B, 3, pixels, pixels]: [B, 64, pixels / 4, pixels / 4]."""
        features: Tensor = self.stem(inputs)
        return features

    def logits(self, encoded: Tensor, known: Tensor) -> Tensor:
        """Logits of each cell, row by row."""
        ground = self.ground(known).transpose(1, 2).unflatten(-1, (self.edge, self.edge))
        wide = nn.functional.interpolate(ground, size=encoded.shape[-2:], mode="nearest")
        cells = self.blocks(encoded + wide).flatten(2).transpose(1, 2)
        logits: Tensor = self.head(cells)
        return logits


class DrivingNetwork(Perception):
    """One hidden layer of 512 over an embedding of 2,048 numbers and the known concepts; concepts are yes or no."""

    def __init__(self, embedding: int, concepts: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(embedding + 3 * concepts, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, concepts)
        )

    def encode(self, inputs: Tensor) -> Tensor:
        """The embeddings as they are."""
        return inputs

    def logits(self, encoded: Tensor, known: Tensor) -> Tensor:
        """0 for no, and what the network says for yes."""
        told = one_hot(known, 3).flatten(-2).to(encoded.dtype)
        yes = self.layers(torch.cat([encoded, told], dim=-1))
        return torch.stack([torch.zeros_like(yes), yes], dim=-1)


class _Residual(nn.Module):  # type: ignore[misc]
    """Two convolutions beside a way around them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
            nn.BatchNorm2d(CHANNELS),
            nn.ReLU(),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
            nn.BatchNorm2d(CHANNELS),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """The sum of both."""
        return torch.relu(inputs + self.layers(inputs))
