"""Ernie 4.5 mixtures: a run of layers with routed and shared experts, dense layers before and after."""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.spec import Layer, ModelSpec

__all__ = ["read_ernie4_5_moe"]


def read_ernie4_5_moe(blocks: Blocks) -> ModelSpec:
    """Ernie 4.5 21B-A3B and 300B-A47B; ``use_bias`` is for all projections but the routed experts'."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "intermediate_size", "moe_intermediate_size", EXPERTS, TOP_K)
    layers = fields.layer_count()
    first, step = fields.count("moe_layer_start_index", default=1), fields.size("moe_layer_interval", default=1)
    last = layers - 1
    if fields.config.get("moe_layer_end_index") not in (None, -1):
        last = fields.count("moe_layer_end_index")
    routing, width = blocks.routing(), fields.size("moe_intermediate_size")
    shared, bias = width * fields.count("moe_num_shared_experts", default=2), fields.flag("use_bias")
    built = []
    for i in range(layers):
        sparse = first <= i <= last and (i + 1) % step == 0
        built.append(
            Layer(
                blocks.grouped_attention(i, ("full", 0), qkv_bias=bias, output_bias=bias),
                blocks.mixture(i, routing, width, shared_width=shared, shared_bias=bias, correction_bias=True)
                if sparse
                else blocks.dense(i, fields.size("intermediate_size"), bias),
                2 * blocks.hidden,
            )
        )
    return blocks.model(built, "ernie4_5_moe", head_bias=bias, tied=True)
