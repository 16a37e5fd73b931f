"""LFM2 mixtures: short convolutions with full attention between them, leading dense layers, then mixtures."""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.families.recurrent import short_convolution
from moecap.models.spec import DenseFfn, Layer, ModelSpec, MoeFfn, Span

__all__ = ["read_lfm2_moe"]

_TYPES: dict[str, Span] = {"full_attention": "full", "conv": "state"}
_NAMES = ("w1", "w3", "w2")


def read_lfm2_moe(blocks: Blocks) -> ModelSpec:
    """LFM2-8B-A1B; ``conv_L_cache`` is the width of the convolutions, of which a sequence keeps one input fewer."""
    if blocks.fields.has("tie_embedding"):
        blocks = blocks.over({"tie_word_embeddings": blocks.fields.flag("tie_embedding")})
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, EXPERTS, TOP_K, "layer_types", "intermediate_size", "moe_intermediate_size")
    routing, dense = blocks.routing(), fields.count("num_dense_layers", default=2)
    kernel, bias = fields.size("conv_L_cache", default=3), fields.flag("conv_bias")

    def ffn(layer: int) -> DenseFfn | MoeFfn:
        if layer < dense:
            width, path = fields.size("intermediate_size"), f"model.layers.{layer}.feed_forward"
            return DenseFfn(blocks.gated("dense", path, width, _NAMES))
        return blocks.mixture(
            layer,
            routing,
            fields.size("moe_intermediate_size"),
            correction_bias=fields.flag("use_expert_bias", True),
            module="feed_forward",
            names=_NAMES,
        )

    layers = [
        Layer(
            short_convolution(blocks, i, kernel=kernel, bias=bias)
            if span[0] == "state"
            else blocks.grouped_attention(i, span, norms="head"),
            ffn(i),
            2 * blocks.hidden,
        )
        for i, span in enumerate(blocks.spans(kinds=_TYPES))
    ]
    return blocks.model(layers, "lfm2_moe", tied=True)
