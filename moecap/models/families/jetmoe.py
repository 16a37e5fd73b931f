"""JetMoE: mixtures of attention heads and of networks.

A head's projections of queries and outputs are an expert that a router of the attention selects; keys and values are
shared by all. A layer of the checkpoint stands here as two, each with a mixture: the attention with its experts, and
the network. Of a step's distinct experts, those of the attention therefore come before those of the network.
"""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, FRAME, NO_ATTENTION, TOP_K, Blocks
from moecap.models.spec import Attention, Layer, ModelSpec, MoeFfn

__all__ = ["read_jetmoe"]


def _mixture(blocks: Blocks, path: str, inner: int, width: int) -> MoeFfn:
    """Experts of two matrices, and one bias that is added after their sum.

    Args:
        blocks: The builder.
        path: Their path in the checkpoint.
        inner: Outputs of the first matrix.
        width: Inputs of the second.
    """
    (experts, top_k), hidden = blocks.routing(), blocks.hidden
    return MoeFfn(
        router=blocks.matrix("router", f"{path}.router.layer", experts, hidden),
        router_other_params=0,
        experts=experts,
        top_k=top_k,
        expert_matrices=(
            blocks.matrix("experts", f"{path}.input_linear", inner, hidden),
            blocks.matrix("experts", f"{path}.output_linear", hidden, width),
        ),
        shared_other_params=hidden,
    )


def read_jetmoe(blocks: Blocks) -> ModelSpec:
    """JetMoE-8B; each of the k experts of the attention has ``num_key_value_heads`` query heads."""
    fields = blocks.fields
    fields.require(*FRAME, "num_key_value_heads", ("kv_channels", "head_dim"), "intermediate_size", EXPERTS, TOP_K)
    heads, dim = fields.size("num_key_value_heads"), fields.size("kv_channels", "head_dim")
    inner, width, hidden = heads * dim, fields.size("intermediate_size"), blocks.hidden
    layers: list[Layer] = []
    for i in range(fields.layer_count()):
        path = f"model.layers.{i}"
        attention = Attention(
            span="full",
            window=0,
            heads=heads * blocks.routing()[1],
            kv_heads=heads,
            key_dim=dim,
            value_dim=dim,
            matrices=(
                blocks.matrix("attention", f"{path}.self_attention.kv_proj", 2 * inner, hidden, kv_rows=2 * inner),
            ),
            other_params=0,
            cached_elements=2 * inner,
        )
        layers += [
            Layer(attention, _mixture(blocks, f"{path}.self_attention.experts", inner, inner), hidden),
            Layer(NO_ATTENTION, _mixture(blocks, f"{path}.mlp", 2 * width, width), hidden),
        ]
    reading = "jetmoe; attention and network of a layer are a mixture each, counted as two MoE layers"
    return blocks.model(layers, reading, tied=True)
