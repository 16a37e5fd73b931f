"""Qwen mixtures: Qwen1.5-MoE and Qwen2-MoE with gated shared experts, Qwen3-MoE without."""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.spec import Layer, ModelSpec, Span

__all__ = ["read_qwen2_moe", "read_qwen3_moe"]

_MIXTURE = (EXPERTS, TOP_K, "moe_intermediate_size")


def _read(
    blocks: Blocks,
    reading: str,
    spans: list[Span] | Span,
    *,
    qkv_bias: bool,
    output_bias: bool,
    norms: str,
    shared_width: int,
) -> ModelSpec:
    """Layers that ``mlp_only_layers`` or ``decoder_sparse_step`` leave out are dense, of width intermediate_size."""
    fields = blocks.fields
    routing = blocks.routing()
    width = fields.size("moe_intermediate_size")
    dense_only, step = fields.indices("mlp_only_layers"), fields.size("decoder_sparse_step", default=1)
    layers = []
    for i, span in enumerate(blocks.spans(spans)):
        sparse = i not in dense_only and (i + 1) % step == 0
        layers.append(
            Layer(
                blocks.grouped_attention(i, span, qkv_bias=qkv_bias, output_bias=output_bias, norms=norms),
                blocks.mixture(
                    i,
                    routing,
                    width,
                    shared_width=shared_width,
                    shared_path="shared_expert",
                    shared_gate=shared_width > 0,
                )
                if sparse
                else blocks.dense(i, fields.size("intermediate_size")),
                2 * blocks.hidden,
            )
        )
    return blocks.model(layers, reading)


def read_qwen2_moe(blocks: Blocks) -> ModelSpec:
    """Qwen1.5-MoE and Qwen2-MoE: biases on queries, keys and values, shared experts behind a gate."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, *_MIXTURE, "shared_expert_intermediate_size")
    window = fields.flag("use_sliding_window") and fields.optional_size("sliding_window") is not None
    last = fields.count("max_window_layers", default=28)
    spans: list[Span] = [
        "sliding" if window and layer % 2 == 0 and layer < last else "full" for layer in range(fields.layer_count())
    ]
    return _read(
        blocks,
        "qwen2_moe",
        spans,
        qkv_bias=fields.flag("qkv_bias", True),
        output_bias=False,
        norms="none",
        shared_width=fields.size("shared_expert_intermediate_size"),
    )


def read_qwen3_moe(blocks: Blocks) -> ModelSpec:
    """Qwen3-MoE: norms of queries and keys over one head, no shared experts."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, *_MIXTURE)
    window = fields.flag("use_sliding_window") and fields.optional_size("sliding_window") is not None
    bias = fields.flag("attention_bias")
    return _read(
        blocks,
        "qwen3_moe",
        "sliding" if window else "full",
        qkv_bias=bias,
        output_bias=bias,
        norms="head",
        shared_width=0,
    )
