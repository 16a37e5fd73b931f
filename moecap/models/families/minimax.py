"""MiniMax-M2: every layer a mixture with a score-correction bias, norms of queries and keys over all heads together."""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.spec import Layer, ModelSpec

__all__ = ["read_minimax_m2"]


def read_minimax_m2(blocks: Blocks) -> ModelSpec:
    """MiniMax-M2 to M2.7; ``intermediate_size`` is the width of one expert."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "intermediate_size", EXPERTS, TOP_K)
    routing, width = blocks.routing(), fields.size("intermediate_size")
    layers = [
        Layer(
            blocks.grouped_attention(i, span, norms="all"),
            blocks.mixture(
                i, routing, width, correction_bias=True, module="block_sparse_moe", names=("w1", "w3", "w2")
            ),
            2 * blocks.hidden,
        )
        for i, span in enumerate(blocks.spans())
    ]
    return blocks.model(layers, "minimax_m2")
