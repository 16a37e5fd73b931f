"""MiniMax-M2 and M3: mixtures with a score-correction bias.

M2 norms queries and keys over all heads together. M3 norms each head, adds a shared expert, and in most layers its
queries attend the blocks of entries that an index selects for each key and value head: one key of ``index_head_dim`` a
token, scored by as many index queries as there are key and value heads.
"""

from __future__ import annotations

from dataclasses import replace

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.families.deepseek import sparse_layers
from moecap.models.fields import ConfigFields
from moecap.models.spec import Attention, DenseFfn, Layer, ModelSpec, MoeFfn, Span

__all__ = ["read_minimax_m2", "read_minimax_m3"]

_TYPES: dict[str, Span] = {"full_attention": "full", "minimax_m3_sparse": "indexed"}
_INDEX = {
    "sparse_num_index_heads": "index_n_heads",
    "sparse_index_dim": "index_head_dim",
    "sparse_block_size": "index_block_size",
    "sparse_topk_blocks": "index_topk_blocks",
    "sparse_local_block": "index_local_blocks",
}


def read_minimax_m2(blocks: Blocks) -> ModelSpec:
    """MiniMax-M2 to M2.7; ``intermediate_size`` is the width of one expert."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "intermediate_size", EXPERTS, TOP_K)
    if fields.has("sparse_attention_config"):
        raise fields.bad("sparse_attention_config", "...", "absent from a MiniMax-M2; MiniMax-M3 is minimax_m3_vl_text")
    routing, width = blocks.routing(), fields.size("intermediate_size")
    layers = [
        Layer(
            blocks.grouped_attention(i, span, norms="own"),
            blocks.mixture(
                i, routing, width, correction_bias=True, module="block_sparse_moe", names=("w1", "w3", "w2")
            ),
            2 * blocks.hidden,
        )
        for i, span in enumerate(blocks.spans())
    ]
    return blocks.model(layers, "minimax_m2")


def _indexed(blocks: Blocks, layer: int, plain: Attention) -> Attention:
    """The attention of a layer with an index; every parallel rank keeps the whole index."""
    fields = blocks.fields
    fields.require("index_n_heads", "index_head_dim", "index_block_size", "index_topk_blocks")
    heads, dim, block = fields.size("index_n_heads"), fields.size("index_head_dim"), fields.size("index_block_size")
    if heads != plain.kv_heads:
        raise fields.bad("index_n_heads", heads, f"{plain.kv_heads}, one a key and value head")
    path = f"model.layers.{layer}.self_attn.index_"
    return replace(
        plain,
        window=fields.size("index_topk_blocks") * block,
        block=block,
        matrices=(
            *plain.matrices,
            blocks.matrix("attention", path + "q_proj", heads * dim, blocks.hidden, whole=True),
            blocks.matrix("attention", path + "k_proj", dim, blocks.hidden, whole=True),
        ),
        other_params=plain.other_params + 2 * dim,
        whole_params=plain.whole_params + 2 * dim,
        index_elements=dim,
        index_flops=2 * heads * dim,
    )


def _m3_spans(fields: ConfigFields, sparse: ConfigFields) -> list[Span]:
    """The kind of every layer where ``layer_types`` does not give it.

    Raises:
        BadInputError: If an index has values of its own, or selects in a way that is not counted.
    """
    layers = fields.layer_count()
    marks = sparse.sizes(layers, "sparse_attention_freq", default=0, least=0)
    keyed = sparse.sizes(layers, "sparse_disable_index_value", default=1, least=0)
    if any(mark and not key for mark, key in zip(marks, keyed, strict=True)):
        raise sparse.bad("sparse_disable_index_value", 0, "1 in every layer with an index, whose values have no reader")
    if sparse.count("sparse_init_block"):
        raise sparse.bad("sparse_init_block", sparse.count("sparse_init_block"), "0: blocks fixed at the start")
    return ["indexed" if mark else "full" for mark in marks]


def read_minimax_m3(blocks: Blocks) -> ModelSpec:
    """MiniMax-M3, the language model; ``intermediate_size`` is the width of one expert."""
    given = blocks.fields
    sparse = ConfigFields(given.table("sparse_attention_config"), given.name)
    blocks = blocks.over({usual: sparse.config[own] for own, usual in _INDEX.items() if sparse.has(own)})
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "head_dim", "intermediate_size", "shared_intermediate_size", EXPERTS, TOP_K)
    for key, usual in (("attention_output_gate", False), ("use_qk_norm", True)):
        if fields.flag(key, usual) != usual:
            raise fields.bad(key, not usual, f"{str(usual).lower()} in a MiniMax-M3")
    if fields.count("n_shared_experts", default=1) != 1:
        raise fields.bad("n_shared_experts", fields.count("n_shared_experts"), "1 in a MiniMax-M3")
    if not fields.count("index_local_blocks", default=1):
        raise fields.bad("index_local_blocks", 0, "1 or more: a query always attends its own block")
    routing, mixed = blocks.routing(), sparse_layers(blocks)

    def ffn(layer: int) -> DenseFfn | MoeFfn:
        if not mixed[layer]:
            fields.require("dense_intermediate_size")
            return blocks.dense(layer, fields.size("dense_intermediate_size"))
        return blocks.mixture(
            layer,
            routing,
            fields.size("intermediate_size"),
            shared_width=fields.size("shared_intermediate_size"),
            correction_bias=fields.flag("use_routing_bias", True),
            module="block_sparse_moe",
            names=("w1", "w3", "w2"),
        )

    layers: list[Layer] = []
    for i, span in enumerate(blocks.spans(_m3_spans(fields, sparse), _TYPES)):
        attention = blocks.grouped_attention(i, span, norms="head")
        attention = _indexed(blocks, i, attention) if span[0] == "indexed" else attention
        layers.append(Layer(attention, ffn(i), 2 * blocks.hidden))
    return blocks.model(layers, blocks.uncounted("minimax_m3"))
