"""The paper's variants of an encoder, by name, and how one is trained; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HEADS", "VARIANTS", "VARIANT_TITLES", "Schedule"]

VARIANT_TITLES = {
    "zero_shot": "as it comes (0)",
    "random_negatives": "random negatives (1)",
    "context_batch": "the set's own images (2)",
    "context_module": "contextual module (3)",
    "temporal_embeddings": "temporal embeddings (4)",
}
"""In the order of the paper: each is built on those before it."""

VARIANTS = tuple(VARIANT_TITLES)

HEADS = 8
"""Attention heads of the contextual module, of which the width of an encoder is a multiple."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a part is trained, by Adam.

    Attributes:
        epochs: Passes over the questions.
        batch: Questions a step.
        rate: Learning rate.
        decay: Weight decay.
        coupled: Whether the decay is added to the gradient (Adam) or taken off the weight beside it (AdamW).
    """

    epochs: int
    batch: int
    rate: float
    decay: float
    coupled: bool = False
