"""DeepSeek-V2 and V3, Kimi-K2 and GLM-4.5: leading dense layers, then mixtures with shared experts."""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.families.latent import LATENT, latent_attention
from moecap.models.spec import Attention, Layer, ModelSpec, MoeFfn

__all__ = ["mtp_params", "read_deepseek_v2", "read_deepseek_v3", "read_glm4_moe"]

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
    return one * blocks.fields.count("num_nextn_predict_layers", "num_mtp_layers")


def _is_sparse(blocks: Blocks, layer: int) -> bool:
    fields = blocks.fields
    return layer >= fields.count("first_k_dense_replace") and layer % fields.size("moe_layer_freq", default=1) == 0


def _read(blocks: Blocks, reading: str, attentions: list[Attention], correction_bias: bool) -> ModelSpec:
    fields = blocks.fields
    routing, width = blocks.routing(), fields.size("moe_intermediate_size")
    shared = fields.count("n_shared_experts") * width
    dense_width, mlp_bias = fields.size("intermediate_size"), fields.flag("mlp_bias")

    def mixture(layer: int) -> MoeFfn:
        return blocks.mixture(
            layer, routing, width, shared_width=shared, shared_bias=mlp_bias, correction_bias=correction_bias
        )

    layers = [
        Layer(
            attention,
            mixture(i) if _is_sparse(blocks, i) else blocks.dense(i, dense_width, mlp_bias),
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
    """DeepSeek-V3, R1 and Kimi-K2: a sigmoid router with a score-correction bias."""
    return _read_latent(blocks, "deepseek_v3", blocks.fields.text("topk_method", "noaux_tc") == "noaux_tc")


def read_glm4_moe(blocks: Blocks) -> ModelSpec:
    """GLM-4.5 and 4.5-Air: the same mixtures behind grouped-query attention."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, *_MIXTURE)
    bias = fields.flag("attention_bias")
    norms = "head" if fields.flag("use_qk_norm") else "none"
    attentions = [
        blocks.grouped_attention(i, span, qkv_bias=bias, norms=norms) for i, span in enumerate(blocks.spans())
    ]
    return _read(blocks, "glm4_moe", attentions, correction_bias=True)
