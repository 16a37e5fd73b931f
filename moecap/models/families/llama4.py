"""Llama 4: chunked attention in layers with rotary positions, full attention in the others, one shared expert."""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.spec import Layer, ModelSpec, MoeFfn, Span

__all__ = ["read_llama4"]


def _mixture(blocks: Blocks, layer: int) -> MoeFfn:
    width = blocks.fields.size("intermediate_size")
    path, experts = f"model.layers.{layer}.feed_forward", blocks.routing()
    return MoeFfn(
        router=blocks.matrix("router", f"{path}.router", experts[0], blocks.hidden),
        router_other_params=0,
        experts=experts[0],
        top_k=experts[1],
        expert_matrices=blocks.gated("experts", f"{path}.experts.0", width),
        shared_matrices=blocks.gated("shared", f"{path}.shared_expert", width),
    )


def _spans(blocks: Blocks) -> list[Span]:
    """Without ``layer_types`` the layers with rotary positions, 1 in ``no_rope_layers``, have chunked attention.

    Without that list it is all but every fourth (``no_rope_layer_interval``).
    """
    fields = blocks.fields
    layers, interval = fields.layer_count(), fields.size("no_rope_layer_interval", default=4)
    rotary = [bool((layer + 1) % interval) for layer in range(layers)]
    if fields.unless(["no_rope_layers"]):
        rotary = [bool(mark) for mark in fields.sizes(layers, "no_rope_layers", least=0)]
    chunked = fields.optional_size("attention_chunk_size") is not None
    return ["chunked" if chunked and mark else "full" for mark in rotary]


def read_llama4(blocks: Blocks) -> ModelSpec:
    """Llama 4 Scout and Maverick; ``moe_layers``, or every n-th layer by ``interleave_moe_layer_step``, are mixtures.

    Queries and keys are normed without weights.
    """
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "intermediate_size", EXPERTS, TOP_K)
    step = fields.size("interleave_moe_layer_step", default=1)
    bias = fields.flag("attention_bias")
    sparse = fields.indices("moe_layers")
    if not fields.has("moe_layers"):
        sparse = frozenset(range(step - 1, fields.layer_count(), step))
    spans = blocks.spans(_spans(blocks))
    layers = [
        Layer(
            blocks.grouped_attention(i, span, qkv_bias=bias, output_bias=bias),
            _mixture(blocks, i) if i in sparse else blocks.dense(i, fields.size("intermediate_size_mlp")),
            2 * blocks.hidden,
        )
        for i, span in enumerate(spans)
    ]
    return blocks.model(layers, "llama4")
