"""The contextual module: each image is scored in view of the nine others, and of its place where they are a video.

Shapes: n questions, 10 images each, d numbers a vector.
"""

from __future__ import annotations

from torch import Tensor, nn

from moecap.tasks.imagecode.questions import IMAGES
from moecap.tasks.imagecode.variants import HEADS

__all__ = ["ContextModule"]

LAYERS = 2
DROPOUT, EPSILON = 0.1, 1e-12
PAPER_WIDTH, PAPER_SCALE = 512, 1000.0


class ContextModule(nn.Module):  # type: ignore[misc]
    """Two layers of BERT's encoder over the ten products of image and text, which are added to their outcome.

    z_i = s · v_i · t elementwise; u = layers(z + e), where e_i is learnt for place i and counts only in videos;
    score_i = w · (u_i + z_i) + b. The layers attend to all ten without an order of their own.

    Args:
        width: d.
        inner: Units of the layers' feed-forward networks.
        temporal: Whether places have vectors of their own, e.
    """

    def __init__(self, width: int, inner: int, *, temporal: bool) -> None:
        super().__init__()
        self.scale = PAPER_SCALE * width / PAPER_WIDTH  # numbers of a unit vector shrink as it gets longer
        self.layers = nn.ModuleList(_bert_layer(width, inner) for _ in range(LAYERS))
        self.places = nn.Embedding(IMAGES, width) if temporal else None
        self.head = nn.Linear(width, 1)

    def forward(self, images: Tensor, texts: Tensor, video: Tensor) -> Tensor:
        """Scores, [n, 10].

        Args:
            images: Vectors of length one, [n, 10, d].
            texts: Vectors of length one, [n, d].
            video: Whether the images are frames of one video, [n].
        """
        both = self.scale * images * texts[:, None]
        context = both
        if self.places is not None:
            context = context + self.places.weight * video[:, None, None]
        for layer in self.layers:
            context = layer(context)
        scores: Tensor = self.head(context + both).squeeze(-1)
        return scores


def _bert_layer(width: int, inner: int) -> nn.Module:
    """A layer of BERT: normalised after each addition, and no dropout inside the feed-forward network."""
    layer = nn.TransformerEncoderLayer(
        width, HEADS, inner, DROPOUT, activation="gelu", layer_norm_eps=EPSILON, batch_first=True, norm_first=False
    )
    layer.dropout = nn.Dropout(0.0)
    return layer
