"""LongCat-Flash: two latent attentions and two dense networks a layer, and a mixture that takes a shortcut past them.

A layer of the checkpoint stands here as three: attention with the mixture, the first dense network alone, attention
with the second. Besides its experts a mixture has some that compute nothing (``zero_expert_num``): a token that selects
them passes on unchanged, so that they cost neither bytes nor FLOPs, and how many experts a token computes varies. It is
counted at its mean under uniform routing, k·N/(N + Z); at most it is k, at least 0 (LongCat-Flash, arXiv 2509.01322,
section 2.1, where a bias of the router holds the mean there).
"""

from __future__ import annotations

from dataclasses import replace

from moecap.models.families.blocks import EXPERTS, FRAME, NO_ATTENTION, TOP_K, Blocks
from moecap.models.families.latent import LATENT, latent_attention
from moecap.models.spec import DenseFfn, Layer, ModelSpec, MoeFfn

__all__ = ["read_longcat_flash"]

_NAMES = {
    "num_layers": "num_hidden_layers",
    "ffn_hidden_size": "intermediate_size",
    "expert_ffn_hidden_size": "moe_intermediate_size",
    "moe_topk": "num_experts_per_tok",
}


def _mixture(blocks: Blocks, layer: int) -> MoeFfn:
    """A mixture whose router also scores the experts that compute nothing."""
    fields = blocks.fields
    zero, routing = fields.count("zero_expert_num"), blocks.routing()
    plain = blocks.mixture(layer, routing, fields.size("moe_intermediate_size"))
    scored = routing[0] + zero
    router = blocks.matrix("router", f"model.layers.{layer}.mlp.router.classifier", scored, blocks.hidden)
    biases = scored * (1 + fields.flag("router_bias"))
    return replace(plain, router=router, router_other_params=biases, zero_experts=zero)


def read_longcat_flash(blocks: Blocks) -> ModelSpec:
    """LongCat-Flash; ``num_layers`` counts pairs of attentions."""
    fields = blocks.fields
    if fields.has("num_layers"):
        # transformers writes num_hidden_layers as the number of attentions, twice that of layers
        blocks = blocks.over({"num_hidden_layers": fields.config["num_layers"]})
    blocks = blocks.renamed(_NAMES)
    fields = blocks.fields
    fields.require(*FRAME, *LATENT, "q_lora_rank", "intermediate_size", "moe_intermediate_size", EXPERTS, TOP_K)
    kind = fields.text("zero_expert_type", "identity")
    if kind != "identity":
        raise fields.bad("zero_expert_type", kind, "identity, experts that compute nothing")
    hidden, width = blocks.hidden, fields.size("intermediate_size")
    layers: list[Layer] = []
    for i in range(fields.layer_count()):
        first, second = (DenseFfn(blocks.gated("dense", f"model.layers.{i}.mlps.{j}", width)) for j in (0, 1))
        attention = latent_attention(blocks, i)
        layers += [
            Layer(attention, _mixture(blocks, i), 2 * hidden),
            Layer(NO_ATTENTION, first, 0),
            Layer(attention, second, 2 * hidden),
        ]
    reading = blocks.uncounted("longcat_flash")
    mixture = _mixture(blocks, 0)
    if mixture.zero_experts:
        reading += (
            f"; a token computes 0 to {mixture.top_k} experts, counted as {mixture.used_experts:g}, the mean under "
            "uniform routing"
        )
    return blocks.model(layers, reading)
