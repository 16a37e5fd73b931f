"""Mixtures in every layer without shared experts: Mixtral and Phi-3.5-MoE."""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.spec import Layer, ModelSpec, MoeFfn

__all__ = ["read_mixtral", "read_phimoe"]


def _mixture(blocks: Blocks, layer: int) -> MoeFfn:
    experts, top_k = blocks.routing()
    path = f"model.layers.{layer}.block_sparse_moe"
    width = blocks.fields.size("intermediate_size")
    return MoeFfn(
        router=blocks.matrix("router", f"{path}.gate", experts, blocks.hidden),
        router_other_params=0,
        experts=experts,
        top_k=top_k,
        expert_matrices=blocks.gated("experts", f"{path}.experts.0", width, ("w1", "w3", "w2")),
    )


def _read(blocks: Blocks, reading: str, *, bias: bool, norm_params: int, head_bias: bool) -> ModelSpec:
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "intermediate_size", EXPERTS, TOP_K)
    spans = blocks.spans("sliding" if fields.optional_size("sliding_window") else "full")
    layers = [
        Layer(
            blocks.grouped_attention(i, span, qkv_bias=bias, output_bias=bias),
            _mixture(blocks, i),
            2 * norm_params * blocks.hidden,
        )
        for i, span in enumerate(spans)
    ]
    return blocks.model(layers, reading, norm_params=norm_params * blocks.hidden, head_bias=head_bias)


def read_mixtral(blocks: Blocks) -> ModelSpec:
    """Mixtral 8x7B and 8x22B."""
    return _read(blocks, "mixtral", bias=False, norm_params=1, head_bias=False)


def read_phimoe(blocks: Blocks) -> ModelSpec:
    """Phi-3.5-MoE: layer norms with biases, biases in attention and on the output projection."""
    fields = blocks.fields
    return _read(
        blocks,
        "phimoe",
        bias=fields.flag("attention_bias"),
        norm_params=2,
        head_bias=fields.flag("lm_head_bias"),
    )
