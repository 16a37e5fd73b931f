"""Multi-head latent attention: keys and values compressed to one latent vector a token (DeepSeek-V2, section 2.1).

With an index (DeepSeek-V3.2, sparse attention, section 2.1) every query first scores all cached entries with a few
narrow heads, 2 * heads * dim FLOPs an entry, and attends the k best alone. The index caches one key of ``dim``
elements a token, counted in the format of the cache.

Parallel ranks split the heads. The down-projections of queries, keys and values, their norms and the whole index are
no head's, so every rank keeps them, as vLLM and SGLang do (``ReplicatedLinear``).
"""

from __future__ import annotations

from dataclasses import replace

from moecap.models.families.blocks import Blocks
from moecap.models.spec import Attention

__all__ = ["INDEX", "LATENT", "indexed_attention", "latent_attention"]

LATENT = ("num_attention_heads", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
"""Keys that latent attention needs."""

_WHOLE = ("kv_a_proj_with_mqa", "q_a_proj")

INDEX = ("q_lora_rank", "index_n_heads", "index_head_dim", "index_topk")
"""Keys that its index needs besides."""


def latent_attention(blocks: Blocks, layer: int) -> Attention:
    """The latent attention of one layer; queries are compressed too where ``q_lora_rank`` is given."""
    fields, hidden = blocks.fields, blocks.hidden
    heads, latent = fields.size("num_attention_heads"), fields.size("kv_lora_rank")
    nope, rope, value = (fields.size(key) for key in LATENT[2:])
    query_rank = fields.optional_size("q_lora_rank")
    bias = fields.flag("attention_bias")
    path = f"model.layers.{layer}.self_attn."
    shapes = [
        ("kv_a_proj_with_mqa", latent + rope, hidden),
        ("kv_b_proj", heads * (nope + value), latent),
        ("o_proj", hidden, heads * value),
    ]
    whole = latent + (latent + rope) * bias
    if query_rank is None:
        shapes.insert(0, ("q_proj", heads * (nope + rope), hidden))
    else:
        shapes[:0] = [("q_a_proj", query_rank, hidden), ("q_b_proj", heads * (nope + rope), query_rank)]
        whole += query_rank + query_rank * bias
    return Attention(
        span="full",
        window=0,
        heads=heads,
        kv_heads=1,
        key_dim=nope + rope,
        value_dim=value,
        matrices=tuple(
            blocks.matrix("attention", path + name, rows, columns, whole=name in _WHOLE)
            for name, rows, columns in shapes
        ),
        other_params=whole + hidden * bias,
        whole_params=whole,
        cached_elements=latent + rope,
        latent_rank=latent,
        rope_dim=rope,
    )


def indexed_attention(blocks: Blocks, layer: int, *, own: bool = True) -> Attention:
    """Latent attention to the entries that an index selects.

    Args:
        blocks: The builder.
        layer: Number of the layer.
        own: Whether the layer has an index; else it uses the selection of a layer before it.
    """
    fields, plain = blocks.fields, latent_attention(blocks, layer)
    query_rank, heads, dim = fields.size("q_lora_rank"), fields.size("index_n_heads"), fields.size("index_head_dim")
    plain = replace(plain, span="indexed", window=fields.size("index_topk"))
    if not own:
        return plain
    path = f"model.layers.{layer}.self_attn.indexer."
    return replace(
        plain,
        matrices=(
            *plain.matrices,
            blocks.matrix("attention", path + "wq_b", heads * dim, query_rank, whole=True),
            blocks.matrix("attention", path + "wk", dim, blocks.hidden, whole=True),
            blocks.matrix("index", path + "weights_proj", heads, blocks.hidden, whole=True),
        ),
        other_params=plain.other_params + 2 * dim,
        whole_params=plain.whole_params + 2 * dim,
        index_elements=dim,
        index_flops=2 * heads * dim,
    )
