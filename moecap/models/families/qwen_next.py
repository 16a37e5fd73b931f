"""Qwen3-Next and Qwen3.5: three layers of gated delta nets for each one of gated attention, mixtures in all."""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, RECURRENT_TYPES, TOP_K, Blocks
from moecap.models.families.deepseek import mtp_params
from moecap.models.families.recurrent import delta_net
from moecap.models.spec import Attention, DenseFfn, Layer, ModelSpec, MoeFfn, Span

__all__ = ["read_qwen3_5", "read_qwen3_5_moe", "read_qwen3_next"]

_LINEAR = (
    "linear_num_value_heads",
    "linear_num_key_heads",
    "linear_key_head_dim",
    "linear_value_head_dim",
    "linear_conv_kernel_dim",
)
_MIXTURE = (EXPERTS, TOP_K, "moe_intermediate_size", "shared_expert_intermediate_size")


def _attentions(blocks: Blocks, *, split: bool) -> list[Attention]:
    """Without ``layer_types`` every n-th layer, n being ``full_attention_interval``, has full attention."""
    fields = blocks.fields
    interval, bias = fields.size("full_attention_interval", default=4), fields.flag("attention_bias")
    layers = fields.layer_count()
    default: list[Span] = ["state" if (layer + 1) % interval else "full" for layer in range(layers)]
    return [
        delta_net(blocks, i, split=split) if span[0] == "state" else _gated_attention(blocks, i, bias)
        for i, span in enumerate(blocks.spans(default, RECURRENT_TYPES))
    ]


def _gated_attention(blocks: Blocks, layer: int, bias: bool) -> Attention:
    return blocks.grouped_attention(layer, ("full", 0), qkv_bias=bias, output_bias=bias, norms="head", gate=True)


def _mixture(blocks: Blocks, layer: int) -> MoeFfn:
    fields = blocks.fields
    return blocks.mixture(
        layer,
        blocks.routing(),
        fields.size("moe_intermediate_size"),
        shared_width=fields.size("shared_expert_intermediate_size"),
        shared_path="shared_expert",
        shared_gate=True,
    )


def read_qwen3_next(blocks: Blocks) -> ModelSpec:
    """Qwen3-Next; layers that ``mlp_only_layers`` or ``decoder_sparse_step`` leave out are dense."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, *_LINEAR, *_MIXTURE)
    dense_only, step = fields.indices("mlp_only_layers"), fields.size("decoder_sparse_step", default=1)

    def ffn(layer: int) -> DenseFfn | MoeFfn:
        if layer in dense_only or (layer + 1) % step:
            return blocks.dense(layer, fields.size("intermediate_size"))
        return _mixture(blocks, layer)

    attentions = _attentions(blocks, split=False)
    layers = [Layer(attention, ffn(i), 2 * blocks.hidden) for i, attention in enumerate(attentions)]
    return blocks.model(layers, "qwen3_next")


def read_qwen3_5_moe(blocks: Blocks) -> ModelSpec:
    """Qwen3.5 mixtures: as Qwen3-Next, a mixture in every layer."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, *_LINEAR, *_MIXTURE)
    attentions = _attentions(blocks, split=True)
    layers = [Layer(attention, _mixture(blocks, i), 2 * blocks.hidden) for i, attention in enumerate(attentions)]
    last = len(layers)
    attention = _gated_attention(blocks, last, fields.flag("attention_bias"))
    return blocks.model(layers, "qwen3_5_moe", mtp_params=mtp_params(blocks, attention, _mixture(blocks, last)))


def read_qwen3_5(blocks: Blocks) -> ModelSpec:
    """Qwen3.5 without mixtures."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, *_LINEAR, "intermediate_size")
    width = fields.size("intermediate_size")
    attentions = _attentions(blocks, split=True)
    layers = [Layer(attention, blocks.dense(i, width), 2 * blocks.hidden) for i, attention in enumerate(attentions)]
    return blocks.model(layers, "qwen3_5")
