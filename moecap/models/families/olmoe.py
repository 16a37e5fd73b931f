"""OLMoE: every layer a mixture, norms of queries and keys over all heads together."""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.spec import Layer, ModelSpec

__all__ = ["read_olmoe"]


def read_olmoe(blocks: Blocks) -> ModelSpec:
    """OLMoE-1B-7B; ``intermediate_size`` is the width of one expert."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "intermediate_size", EXPERTS, TOP_K)
    routing, width = blocks.routing(), fields.size("intermediate_size")
    bias = fields.flag("attention_bias")
    layers = [
        Layer(
            blocks.grouped_attention(i, span, qkv_bias=bias, output_bias=bias, norms="all"),
            blocks.mixture(i, routing, width),
            2 * blocks.hidden,
        )
        for i, span in enumerate(blocks.spans())
    ]
    return blocks.model(layers, "olmoe")
