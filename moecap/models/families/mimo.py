"""MiMo-V2: sliding windows in most layers, with more key and value heads and with sinks; values shorter than keys."""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.families.deepseek import sparse_layers
from moecap.models.spec import Layer, ModelSpec, Span

__all__ = ["read_mimo_v2_flash"]


def read_mimo_v2_flash(blocks: Blocks) -> ModelSpec:
    """MiMo-V2-Flash; ``hybrid_layer_pattern`` marks the layers with a window by 1."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "head_dim", "v_head_dim", "sliding_window")
    fields.require(EXPERTS, TOP_K, "moe_intermediate_size", "intermediate_size")
    layers, bias = fields.layer_count(), fields.flag("attention_bias")
    windows = [not (i == 0 or (i + 1) % 6 == 0) for i in range(layers)]
    if fields.has("hybrid_layer_pattern"):
        windows = [bool(mark) for mark in fields.sizes(layers, "hybrid_layer_pattern", least=0)]
    default: list[Span] = ["sliding" if window else "full" for window in windows]
    heads = fields.size("num_attention_heads")
    for key, own in (("swa_num_attention_heads", heads), ("swa_head_dim", fields.size("head_dim"))):
        if fields.size(key, default=own) != own:
            raise fields.bad(key, fields.config[key], f"{own}, that of the layers without a window")
    full_heads = fields.size("num_key_value_heads", default=heads)
    window_heads = fields.size("swa_num_key_value_heads", default=2 * full_heads)
    sinks = {
        "sliding": fields.flag("add_swa_attention_sink_bias", True),
        "full": fields.flag("add_full_attention_sink_bias"),
    }
    routing, width = blocks.routing(), fields.size("moe_intermediate_size")
    shared = width * fields.count("n_shared_experts")
    sparse = sparse_layers(blocks, dense=1)
    built = [
        Layer(
            blocks.grouped_attention(
                i,
                span,
                qkv_bias=bias,
                sinks=sinks[span[0]],
                kv_heads=window_heads if span[0] == "sliding" else full_heads,
                value_dim=fields.size("v_head_dim"),
            ),
            blocks.mixture(i, routing, width, shared_width=shared, correction_bias=True)
            if sparse[i]
            else blocks.dense(i, fields.size("intermediate_size")),
            2 * blocks.hidden,
        )
        for i, span in enumerate(blocks.spans(default, {"full_attention": "full", "sliding_attention": "sliding"}))
    ]
    return blocks.model(built, "mimo_v2_flash")
