"""A dual encoder: images and texts as vectors of length one, whose product is the score (Radford et al. 2021).

Shapes: n questions, 10 images each, F numbers an image and G a text as they come in, d in the encoder's space.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["DualEncoder"]

TEMPERATURE = 0.07
"""Where the learnt temperature begins."""

LARGEST_SCALE = 100.0


class DualEncoder(nn.Module):  # type: ignore[misc]
    """Linear maps of what images and texts come as.

    Args:
        images: F.
        texts: G.
        width: d; ``None`` begins as the identity, for vectors of a dual encoder that is trained already.
        mean: Means of the images' numbers, which are taken off them, [F]; ``None`` for none.
        spread: Their standard deviations, by which they are divided, [F].
    """

    def __init__(
        self, images: int, texts: int, width: int | None, mean: Tensor | None = None, spread: Tensor | None = None
    ) -> None:
        super().__init__()
        self.image = nn.Linear(images, width or images, bias=False)
        self.text = nn.Linear(texts, width or texts, bias=False)
        if width is None:
            nn.init.eye_(self.image.weight)
            nn.init.eye_(self.text.weight)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / TEMPERATURE)))
        self.register_buffer("mean", torch.zeros(images) if mean is None else mean)
        self.register_buffer("spread", torch.ones(images) if spread is None else spread)

    def encode(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of length one.

        Args:
            images: [n, 10, F].
            texts: [n, G].

        Returns:
            [n, 10, d] and [n, d].
        """
        seen = self.image((images - self.mean) / self.spread)
        return nn.functional.normalize(seen, dim=-1), nn.functional.normalize(self.text(texts), dim=-1)

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        """Scores, [n, 10]: cosines times the learnt scale."""
        seen, said = self.encode(images, texts)
        return self.log_scale.exp().clamp(max=LARGEST_SCALE) * torch.einsum("nid,nd->ni", seen, said)
