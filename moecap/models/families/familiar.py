"""Architectures without a reader of their own, read by the keys that most configurations share.

The reading says that it is one. Keys that are known to change what a layer is, and that no reader here understands,
end in a refusal: a silent wrong number is worse than none.
"""

from __future__ import annotations

from moecap.errors import BadInputError
from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.families.deepseek import sparse_layers
from moecap.models.families.latent import LATENT, latent_attention
from moecap.models.spec import Attention, DenseFfn, Layer, ModelSpec, MoeFfn, Span

__all__ = ["read_familiar"]

_STRUCTURAL = (
    "attention_chunk_size",
    "attention_k_eq_v",
    "attention_output_gate",
    "attn_config",
    "attn_res_block_size",
    "attn_layer_period",
    "attn_type_list",
    "block_configs",
    "block_sparse",
    "compress_ratios",
    "conv_L_cache",
    "expert_layer_period",
    "ffn_config",
    "emb_neighbor_num",
    "full_attention_interval",
    "global_head_dim",
    "hc_mult",
    "hidden_size_per_layer_input",
    "hybrid_layer_pattern",
    "hybrid_override_pattern",
    "index_topk",
    "interleave_moe_layer_step",
    "intermediate_size_mlp",
    "kv_channels",
    "layer_group_size",
    "layers_block_type",
    "linear_attn_config",
    "linear_conv_kernel_dim",
    "linear_num_key_heads",
    "mamba_d_state",
    "mamba_n_heads",
    "moe_latent_size",
    "moe_layers",
    "num_kv_shared_layers",
    "o_groups",
    "per_layer_config",
    "routed_expert_hidden_size",
    "share_expert_dim",
    "share_q_dim",
    "sparse_attention_config",
    "ssm_cfg",
    "ssm_state_size",
    "swa_num_key_value_heads",
    "use_cla",
    "zero_expert_num",
)


def _ffn(blocks: Blocks, layer: int, sparse: bool) -> DenseFfn | MoeFfn:
    fields = blocks.fields
    dense = (
        not fields.optional_size(*EXPERTS)
        or not sparse
        or layer in fields.indices("mlp_only_layers")
        or (layer + 1) % fields.size("decoder_sparse_step", default=1)
    )
    if dense:
        return blocks.dense(layer, fields.size("intermediate_size"), fields.flag("mlp_bias"))
    width = fields.size("moe_intermediate_size", "intermediate_size")
    shared = fields.count("shared_expert_intermediate_size", "shared_intermediate_size")
    shared = shared or width * fields.count("n_shared_experts", "num_shared_experts")
    bias = fields.text("topk_method") == "noaux_tc" or fields.flag("use_routing_bias")
    return blocks.mixture(layer, blocks.routing(), width, shared_width=shared, correction_bias=bias)


def read_familiar(blocks: Blocks) -> ModelSpec:
    """A decoder by its keys: grouped-query or latent attention, gated dense networks, gated experts.

    Raises:
        BadInputError: If keys are missing, or one stands for a structure that is not counted here.
    """
    fields = blocks.fields
    model_type = fields.text("model_type", "none")
    strange = fields.unless(_STRUCTURAL)
    if strange:
        raise BadInputError(
            f"the config of {fields.name!r} (model_type {model_type!r}) has {', '.join(strange)}, a structure "
            "without a reader; use a model of a known architecture"
        )
    experts = (TOP_K,) if fields.optional_size(*EXPERTS) else ()
    attention_keys = LATENT if fields.has("kv_lora_rank") else GROUPED
    fields.require(*FRAME, *attention_keys, ("intermediate_size", "moe_intermediate_size"), *experts)
    latent, bias = fields.has("kv_lora_rank"), fields.flag("attention_bias")
    windowed = fields.optional_size("sliding_window") and fields.flag("use_sliding_window", True)

    def attention(layer: int, span: tuple[Span, int]) -> Attention:
        if latent:
            return latent_attention(blocks, layer)
        return blocks.grouped_attention(
            layer,
            span,
            qkv_bias=bias or fields.flag("qkv_bias"),
            output_bias=bias,
            norms="head" if fields.flag("use_qk_norm") else "none",
        )

    spans = blocks.spans("sliding" if windowed else "full")
    sparse = sparse_layers(blocks)
    layers = [Layer(attention(i, span), _ffn(blocks, i, sparse[i]), 2 * blocks.hidden) for i, span in enumerate(spans)]
    reading = f"familiar keys: no reader for model_type {model_type!r}, biases and norms may differ"
    return blocks.model(layers, reading)
