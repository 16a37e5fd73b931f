"""Step 3, whose queries come from one narrow stream; Step 3.5 and 3.7 Flash with windows and a gate for each head.

Step 3 (arXiv 2507.19427, multi-matrix factorization attention): all heads share one key and one value head, and their
queries are projected from one query of ``share_q_dim`` elements. Parallel ranks keep the projections to this query, key
and value whole, as vLLM's ``Step3TextAttention`` does.
"""

from __future__ import annotations

from dataclasses import replace

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.fields import ConfigFields
from moecap.models.spec import Attention, DenseFfn, Layer, ModelSpec, MoeFfn, Span

__all__ = ["read_step3", "read_step3p5"]

_NAMES = {"num_attention_groups": "num_key_value_heads", "share_expert_dims": "share_expert_dim"}
_STEP3_NAMES = {"num_attention_groups": "num_key_value_heads", "max_position_embedding": "max_position_embeddings"}
_PER_LAYER = ("layer_types", "mlp_layer_types")
_WINDOW_HEADS = ("num_sliding_attention_heads", "attention_other_setting", "per_layer_config")


def _sparse(blocks: Blocks) -> frozenset[int]:
    """The layers that are mixtures: by ``mlp_layer_types``, else ``moe_layers_enum``, numbers between commas.

    Raises:
        BadInputError: If these are neither.
    """
    fields = blocks.fields
    types = fields.texts("mlp_layer_types")
    if types:
        if len(types) != fields.layer_count() or set(types) - {"dense", "sparse"}:
            raise fields.bad("mlp_layer_types", len(types), f"{fields.layer_count()} of dense, sparse")
        return frozenset(i for i, kind in enumerate(types) if kind == "sparse")
    if isinstance(fields.config.get("moe_layers_enum"), list):
        return fields.indices("moe_layers_enum")
    numbers = [number.strip() for number in fields.text("moe_layers_enum").split(",") if number.strip()]
    if not all(number.isdecimal() for number in numbers):
        raise fields.bad("moe_layers_enum", fields.config["moe_layers_enum"], "layer numbers between commas")
    return frozenset(int(number) for number in numbers)


def _attention(blocks: Blocks, layer: int, span: tuple[Span, int]) -> Attention:
    """Grouped-query attention whose heads are each weighed by a number of the token."""
    fields, own = blocks.fields, blocks.at(layer)
    if span[0] == "sliding" and not fields.has("per_layer_config"):
        other = ConfigFields(fields.table("attention_other_setting"), fields.name)
        for key, usual in (("num_attention_groups", "num_key_value_heads"), ("head_dim", "head_dim")):
            if other.has(key) and other.size(key) != fields.size(usual):
                raise other.bad(key, other.size(key), f"{fields.size(usual)}, that of the layers without a window")
        default = other.size("num_attention_heads", default=fields.size("num_attention_heads"))
        own = blocks.over({"num_attention_heads": fields.size("num_sliding_attention_heads", default=default)})
    bias = fields.flag("attention_bias")
    plain = own.grouped_attention(layer, span, qkv_bias=bias, output_bias=bias, norms="head")
    gate = blocks.matrix("attention", f"model.layers.{layer}.self_attn.g_proj", plain.heads, blocks.hidden)
    return replace(plain, matrices=(*plain.matrices, gate))


def read_step3p5(blocks: Blocks) -> ModelSpec:
    """Step-3.5-Flash, and the language model of Step-3.7-Flash."""
    blocks = blocks.renamed(_NAMES)
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "num_key_value_heads", "head_dim", "intermediate_size", "layer_types")
    fields.require(EXPERTS, TOP_K, "moe_intermediate_size", "share_expert_dim", ("moe_layers_enum", "mlp_layer_types"))
    count, extra = fields.layer_count(), fields.count("num_nextn_predict_layers")
    lists = {key: fields.texts(key) for key in _PER_LAYER if fields.has(key)}
    # the checkpoint's lists go on with the multi-token-prediction layers
    blocks = blocks.over({key: list(kinds[:count]) for key, kinds in lists.items() if len(kinds) == count + extra})
    fields = blocks.fields
    if "sliding_attention" in fields.texts("layer_types"):
        fields.require(_WINDOW_HEADS)
    if not fields.flag("use_head_wise_attn_gate", True):
        raise fields.bad("use_head_wise_attn_gate", False, "true: attention without its gate has no reader")
    routing, sparse, bias = blocks.routing(), _sparse(blocks), fields.flag("mlp_bias")

    def ffn(layer: int) -> DenseFfn | MoeFfn:
        if layer not in sparse:
            return blocks.dense(layer, fields.size("intermediate_size"), bias)
        return blocks.mixture(
            layer,
            routing,
            fields.size("moe_intermediate_size"),
            shared_width=fields.size("share_expert_dim"),
            shared_bias=bias,
            correction_bias=fields.flag("use_moe_router_bias", True),
        )

    layers = [Layer(_attention(blocks, i, span), ffn(i), 2 * blocks.hidden) for i, span in enumerate(blocks.spans())]
    return blocks.model(layers, blocks.uncounted("step3p5"))


def _shared_query_attention(blocks: Blocks, layer: int) -> Attention:
    """Attention of one key and value head whose queries are projected twice, with a norm between."""
    fields, path = blocks.fields, f"model.layers.{layer}.self_attn."
    heads, dim, narrow = fields.size("num_attention_heads"), fields.size("head_dim"), fields.size("share_q_dim")
    return Attention(
        span="full",
        window=0,
        heads=heads,
        kv_heads=1,
        key_dim=dim,
        value_dim=dim,
        matrices=(
            blocks.matrix("attention", path + "q_proj", narrow, blocks.hidden, whole=True),
            blocks.matrix("attention", path + "k_proj", dim, blocks.hidden, kv_rows=dim, whole=True),
            blocks.matrix("attention", path + "v_proj", dim, blocks.hidden, kv_rows=dim, whole=True),
            blocks.matrix("attention", path + "wq", heads * dim, narrow),
            blocks.matrix("attention", path + "o_proj", blocks.hidden, heads * dim),
        ),
        other_params=narrow,
        whole_params=narrow,
        cached_elements=2 * dim,
    )


def read_step3(blocks: Blocks) -> ModelSpec:
    """Step-3 (321B), the language model.

    Raises:
        BadInputError: If it has several key and value heads.
    """
    blocks = blocks.renamed(_STEP3_NAMES)
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "head_dim", "share_q_dim", "intermediate_size", EXPERTS, TOP_K)
    fields.require("moe_intermediate_size", "share_expert_dim", "moe_layers_enum")
    groups = fields.size("num_key_value_heads", default=1)
    if groups != 1:
        raise fields.bad("num_attention_groups", groups, "1: several key and value heads have no reader")
    routing, sparse = blocks.routing(), _sparse(blocks)

    def ffn(layer: int) -> DenseFfn | MoeFfn:
        if layer not in sparse:
            return blocks.dense(layer, fields.size("intermediate_size"))
        width, shared = fields.size("moe_intermediate_size"), fields.size("share_expert_dim")
        return blocks.mixture(layer, routing, width, shared_width=shared, module="moe")

    layers = [Layer(_shared_query_attention(blocks, i), ffn(i), 2 * blocks.hidden) for i in range(fields.layer_count())]
    return blocks.model(layers, blocks.uncounted("step3"))
