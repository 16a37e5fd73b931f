"""Hunyuan mixtures: a shared network beside the routed experts of every layer, sizes given once or for each layer."""

from __future__ import annotations

from moecap.errors import BadInputError
from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, Blocks
from moecap.models.spec import Layer, ModelSpec, MoeFfn

__all__ = ["read_hunyuan_v1_moe"]


def read_hunyuan_v1_moe(blocks: Blocks) -> ModelSpec:
    """Hunyuan-A13B; norms of queries and keys over one head.

    Raises:
        BadInputError: If layers share their keys and values (``use_cla``): such a cache is not counted here.
    """
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "intermediate_size", EXPERTS, ("moe_topk", "num_experts_per_tok"))
    if fields.flag("use_cla"):
        raise BadInputError(f"the config of {fields.name!r} has use_cla, which has no reader; use a model without it")
    layers, bias = fields.layer_count(), fields.flag("attention_bias")
    experts = fields.sizes(layers, *EXPERTS)
    top_k = fields.sizes(layers, "moe_topk", "num_experts_per_tok")
    width = fields.sizes(layers, "moe_intermediate_size", "intermediate_size")
    shared = fields.sizes(layers, "num_shared_expert", default=1)

    def mixture(layer: int) -> MoeFfn:
        if top_k[layer] > experts[layer]:
            raise fields.bad("moe_topk", top_k[layer], f"at most the number of experts, {experts[layer]}")
        path = f"model.layers.{layer}.mlp"
        return MoeFfn(
            router=blocks.matrix("router", f"{path}.gate.wg", experts[layer], blocks.hidden),
            router_other_params=0,
            experts=experts[layer],
            top_k=top_k[layer],
            expert_matrices=blocks.gated("experts", f"{path}.experts.0", width[layer]),
            shared_matrices=blocks.gated(
                "shared", f"{path}.shared_mlp", shared[layer] * fields.size("intermediate_size")
            ),
        )

    built = [
        Layer(
            blocks.grouped_attention(i, ("full", 0), qkv_bias=bias, output_bias=bias, norms="head"),
            mixture(i),
            2 * blocks.hidden,
        )
        for i in range(layers)
    ]
    return blocks.model(built, "hunyuan_v1_moe")
