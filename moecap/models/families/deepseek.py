"""DeepSeek-V2 to V3.2, Kimi-K2, GLM-4.5 to GLM-5 and dots.llm1: leading dense layers, then mixtures, shared experts."""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.families.latent import INDEX, LATENT, indexed_attention, latent_attention
from moecap.models.families.llama import trailing_windows
from moecap.models.spec import Attention, Layer, ModelSpec, MoeFfn

__all__ = [
    "mtp_params",
    "read_deepseek_v2",
    "read_deepseek_v3",
    "read_deepseek_v32",
    "read_dots1",
    "read_glm4_moe",
    "read_glm_moe_dsa",
    "sparse_layers",
]

_MIXTURE = ("intermediate_size", "moe_intermediate_size", EXPERTS, TOP_K)


def mtp_params(blocks: Blocks, attention: Attention, ffn: MoeFfn) -> int:
    """Parameters of the multi-token-prediction layers, each a decoder layer behind a projection and three norms.

    The embedding and the output projection that they share with the model are left out (DeepSeek-V3, section 2.2).
    """
    hidden = blocks.hidden
    one = attention.matrix_params + attention.other_params + 2 * hidden
    one += ffn.router.params + ffn.router_other_params + ffn.experts * ffn.expert_params
    one += sum(m.params for m in ffn.shared) + ffn.shared_other_params
    one += 2 * hidden * hidden + 3 * hidden
    return one * blocks.fields.count("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers")


def sparse_layers(blocks: Blocks, dense: int = 0) -> tuple[bool, ...]:
    """Which layers are mixtures.

    By ``mlp_layer_types``, else by a list ``moe_layer_freq`` of 0 and 1, else all but the first
    ``first_k_dense_replace`` whose number is a multiple of ``moe_layer_freq``.

    Args:
        blocks: The builder.
        dense: Leading dense layers where the configuration does not say.
    """
    fields, layers = blocks.fields, blocks.fields.layer_count()
    types = fields.texts("mlp_layer_types")
    if types:
        if len(types) != layers or set(types) - {"dense", "sparse"}:
            raise fields.bad("mlp_layer_types", len(types), f"{layers} of dense, sparse")
        return tuple(kind == "sparse" for kind in types)
    if isinstance(fields.config.get("moe_layer_freq"), list):
        return tuple(bool(mark) for mark in fields.sizes(layers, "moe_layer_freq", least=0))
    first, step = fields.count("first_k_dense_replace", default=dense), fields.size("moe_layer_freq", default=1)
    return tuple(layer >= first and layer % step == 0 for layer in range(layers))


def _read(blocks: Blocks, reading: str, attentions: list[Attention], correction_bias: bool) -> ModelSpec:
    fields = blocks.fields
    routing, width = blocks.routing(), fields.size("moe_intermediate_size")
    shared = fields.count("n_shared_experts") * width
    dense_width, mlp_bias = fields.size("intermediate_size"), fields.flag("mlp_bias")

    def mixture(layer: int) -> MoeFfn:
        return blocks.mixture(
            layer, routing, width, shared_width=shared, shared_bias=mlp_bias, correction_bias=correction_bias
        )

    sparse = sparse_layers(blocks)
    layers = [
        Layer(
            attention,
            mixture(i) if sparse[i] else blocks.dense(i, dense_width, mlp_bias),
            2 * blocks.hidden,
        )
        for i, attention in enumerate(attentions)
    ]
    extra = mtp_params(blocks, attentions[-1], mixture(len(layers)))
    return blocks.model(layers, reading, mtp_params=extra)


def _read_latent(blocks: Blocks, reading: str, correction_bias: bool) -> ModelSpec:
    blocks.fields.require(*FRAME, *LATENT, *_MIXTURE)
    attentions = [latent_attention(blocks, i) for i in range(blocks.fields.layer_count())]
    return _read(blocks, reading, attentions, correction_bias)


def read_deepseek_v2(blocks: Blocks) -> ModelSpec:
    """DeepSeek-V2 and V2-Lite: a softmax router without correction bias."""
    return _read_latent(blocks, "deepseek_v2", blocks.fields.text("topk_method") == "noaux_tc")


def read_deepseek_v3(blocks: Blocks) -> ModelSpec:
    """DeepSeek-V3, V3.1, R1 and Kimi-K2: a sigmoid router with a score-correction bias."""
    return _read_latent(blocks, "deepseek_v3", blocks.fields.text("topk_method", "noaux_tc") == "noaux_tc")


def read_deepseek_v32(blocks: Blocks) -> ModelSpec:
    """DeepSeek-V3.2: V3 whose queries attend the latents that an index selects."""
    blocks.fields.require(*FRAME, *LATENT, *INDEX, *_MIXTURE)
    attentions = [indexed_attention(blocks, i) for i in range(blocks.fields.layer_count())]
    return _read(blocks, "deepseek_v32", attentions, correction_bias=True)


def _own_index(blocks: Blocks) -> tuple[bool, ...]:
    """Which layers have an index of their own; the others take over the selection of the last one that has."""
    fields, layers = blocks.fields, blocks.fields.layer_count()
    pattern, types = fields.config.get("index_topk_pattern"), fields.texts("indexer_types")
    if not types and isinstance(pattern, str):
        types = tuple({"F": "full", "S": "shared"}.get(letter, letter) for letter in pattern)
    elif not types:
        types = fields.texts("index_topk_pattern")
    if types:
        if len(types) != layers or set(types) - {"full", "shared"} or types[0] != "full":
            raise fields.bad("indexer_types", len(types), f"{layers} of full, shared, the first one full")
        return tuple(kind == "full" for kind in types)
    step, offset = fields.size("index_topk_freq", default=1), fields.count("index_skip_topk_offset", default=2)
    return tuple(max(layer - offset + 1, 0) % step == 0 for layer in range(layers))


def read_glm_moe_dsa(blocks: Blocks) -> ModelSpec:
    """GLM-5: as DeepSeek-V3.2; some layers share the selection of the layer before (arXiv 2603.12201)."""
    blocks.fields.require(*FRAME, *LATENT, *INDEX, *_MIXTURE)
    attentions = [indexed_attention(blocks, i, own=own) for i, own in enumerate(_own_index(blocks))]
    return _read(blocks, "glm_moe_dsa", attentions, correction_bias=True)


def read_dots1(blocks: Blocks) -> ModelSpec:
    """dots.llm1: norms of queries and keys over one head, a router with a score-correction bias."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, *_MIXTURE)
    bias = fields.flag("attention_bias")
    windowed = fields.optional_size("sliding_window") is not None
    spans = trailing_windows(blocks, windowed, fields.layer_count())
    attentions = [
        blocks.grouped_attention(i, span, qkv_bias=bias, output_bias=bias, norms="head")
        for i, span in enumerate(blocks.spans(spans))
    ]
    return _read(blocks, "dots1", attentions, correction_bias=True)


def read_glm4_moe(blocks: Blocks) -> ModelSpec:
    """GLM-4.5, 4.5-Air, 4.6 and 4.7: the same mixtures behind grouped-query attention."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, *_MIXTURE)
    bias = fields.flag("attention_bias")
    norms = "head" if fields.flag("use_qk_norm") else "none"
    attentions = [
        blocks.grouped_attention(i, span, qkv_bias=bias, norms=norms) for i, span in enumerate(blocks.spans())
    ]
    return _read(blocks, "glm4_moe", attentions, correction_bias=True)
