"""DBRX: its own key names, in the objects ``attn_config`` and ``ffn_config``."""

from __future__ import annotations

from dataclasses import replace

from moecap.errors import BadInputError
from moecap.models.families.blocks import Blocks
from moecap.models.fields import ConfigFields
from moecap.models.spec import Attention, Layer, ModelSpec, MoeFfn

__all__ = ["read_dbrx"]

_KEYS = {
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "max_seq_len": "max_position_embeddings",
}


def _attention(blocks: Blocks, layer: int, kv_heads: int) -> Attention:
    """Grouped-query attention whose three input projections are one matrix."""
    plain = blocks.grouped_attention(layer, ("full", 0), kv_heads=kv_heads)
    path = f"transformer.blocks.{layer}.norm_attn_norm.attn."
    rows = sum(matrix.rows for matrix in plain.matrices[:3])
    kv_rows = sum(matrix.kv_rows for matrix in plain.matrices)
    fused = blocks.matrix("attention", path + "Wqkv", rows, blocks.hidden, kv_rows=kv_rows)
    return replace(
        plain, matrices=(fused, blocks.matrix("attention", path + "out_proj", blocks.hidden, plain.matrices[3].columns))
    )


def read_dbrx(blocks: Blocks) -> ModelSpec:
    """DBRX base and instruct; layer norms without biases."""
    given = blocks.fields
    given.require(*_KEYS, "vocab_size", "attn_config", "ffn_config")
    renamed = {_KEYS.get(key, key): value for key, value in given.config.items()}
    blocks = replace(blocks, fields=ConfigFields(renamed, given.name))
    attn = ConfigFields(given.table("attn_config"), given.name)
    ffn = ConfigFields(given.table("ffn_config"), given.name)
    attn.require("kv_n_heads")
    ffn.require("ffn_hidden_size", "moe_num_experts", "moe_top_k")
    experts, top_k, width = ffn.size("moe_num_experts"), ffn.size("moe_top_k"), ffn.size("ffn_hidden_size")
    if top_k > experts:
        raise ffn.bad("moe_top_k", top_k, f"at most the number of experts, {experts}")
    if given.flag("tie_word_embeddings"):
        raise BadInputError(f"the config of {given.name!r} ties the embeddings, which DBRX cannot; give DBRX's own")

    def mixture(layer: int) -> MoeFfn:
        path = f"transformer.blocks.{layer}.ffn"
        return MoeFfn(
            router=blocks.matrix("router", f"{path}.router.layer", experts, blocks.hidden),
            router_other_params=0,
            experts=experts,
            top_k=top_k,
            expert_matrices=blocks.gated("experts", f"{path}.experts.mlp", width, ("w1", "v1", "w2")),
        )

    layers = [
        Layer(_attention(blocks, i, attn.size("kv_n_heads")), mixture(i), 2 * blocks.hidden)
        for i in range(blocks.fields.layer_count())
    ]
    return blocks.model(layers, "dbrx")
