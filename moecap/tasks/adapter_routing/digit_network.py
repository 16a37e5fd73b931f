"""A frozen random network for the pairs of digits: whatever is learned is learned by the adapters on its two layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moecap.data.digits import load_digits
from moecap.tasks.adapter_routing.examples import Example
from moecap.tasks.adapter_routing.study import Study

__all__ = ["DigitNetwork"]

WIDTH = 128


class DigitNetwork(Study):
    """Two layers that are adapted, with a rectifier after each, and a read-out of two answers that is not.

    Args:
        seed: Draws the weights.
    """

    layers = ("0", "2")

    def __init__(self, seed: int) -> None:
        images, _ = load_digits()
        self._images = torch.tensor(images).flatten(1)
        generator = torch.Generator().manual_seed(seed)
        self.model = nn.Sequential(
            _random_layer(self._images.shape[1], WIDTH, generator),
            nn.ReLU(),
            _random_layer(WIDTH, WIDTH, generator),
            nn.ReLU(),
            _random_layer(WIDTH, 2, generator),
        ).requires_grad_(False)

    def losses(self, examples: Sequence[Example]) -> Tensor:
        """Cross-entropy of the digit that each image shows."""
        gold = torch.tensor([example.gold for example in examples])
        return nn.functional.cross_entropy(self._logits(examples), gold, reduction="none")

    def answers(self, examples: Sequence[Example]) -> list[int]:
        """0 for the smaller digit of the pair, 1 for the larger one."""
        with torch.inference_mode():
            chosen: list[int] = self._logits(examples).argmax(-1).tolist()
        return chosen

    def _logits(self, examples: Sequence[Example]) -> Tensor:
        logits: Tensor = self.model(self._images[[example.image for example in examples]])
        return logits


def _random_layer(d_in: int, d_out: int, generator: torch.Generator) -> nn.Linear:
    """Weights that keep the size of what goes through a rectifier; no bias."""
    layer = nn.utils.skip_init(nn.Linear, d_in, d_out, bias=False)
    nn.init.kaiming_normal_(layer.weight, generator=generator)
    return layer
