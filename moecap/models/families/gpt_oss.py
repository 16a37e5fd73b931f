"""GPT-OSS: alternating sliding windows, attention sinks, biases everywhere, MXFP4 experts."""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.spec import Layer, ModelSpec, MoeFfn, Span

__all__ = ["read_gpt_oss"]


def _mixture(blocks: Blocks, layer: int, routing: tuple[int, int], width: int) -> MoeFfn:
    path, hidden = f"model.layers.{layer}.mlp", blocks.hidden
    return MoeFfn(
        router=blocks.matrix("router", f"{path}.router", routing[0], hidden),
        router_other_params=routing[0],
        experts=routing[0],
        top_k=routing[1],
        expert_matrices=(
            blocks.matrix("experts", f"{path}.experts.gate_up_proj", 2 * width, hidden),
            blocks.matrix("experts", f"{path}.experts.down_proj", hidden, width),
        ),
        expert_other_params=2 * width + hidden,
    )


def read_gpt_oss(blocks: Blocks) -> ModelSpec:
    """GPT-OSS 20B and 120B; without ``layer_types`` every second layer, the first included, has a window."""
    fields = blocks.fields
    fields.require(
        *FRAME,
        *GROUPED,
        "head_dim",
        "intermediate_size",
        "sliding_window",
        EXPERTS,
        TOP_K,
    )
    routing, width = blocks.routing(), fields.size("intermediate_size")
    bias = fields.flag("attention_bias", True)
    spans: list[Span] = ["full" if layer % 2 else "sliding" for layer in range(fields.layer_count())]
    layers = [
        Layer(
            blocks.grouped_attention(i, span, qkv_bias=bias, output_bias=bias, sinks=True),
            _mixture(blocks, i, routing, width),
            2 * blocks.hidden,
        )
        for i, span in enumerate(blocks.spans(spans))
    ]
    return blocks.model(layers, "gpt_oss")
