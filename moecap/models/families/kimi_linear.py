"""Kimi-Linear: delta attention with latent attention between, then the mixtures of DeepSeek-V3."""

from __future__ import annotations

from moecap.errors import BadInputError
from moecap.models.families.blocks import EXPERTS, FRAME, RECURRENT_TYPES, TOP_K, Blocks
from moecap.models.families.deepseek import sparse_layers
from moecap.models.families.latent import LATENT, latent_attention
from moecap.models.families.recurrent import kimi_delta
from moecap.models.fields import ConfigFields
from moecap.models.spec import Layer, ModelSpec, Span

__all__ = ["read_kimi_linear"]

_NAMES = {
    "model_max_length": "max_position_embeddings",
    "num_experts_per_token": "num_experts_per_tok",
    "num_shared_experts": "n_shared_experts",
}
_KIMI_K3 = ("attn_res_block_size", "latent_moe_use_norm", "mla_use_output_gate", "routed_expert_hidden_size")


def _spans(blocks: Blocks, linear: ConfigFields) -> list[Span]:
    """The kind of every layer: by ``linear_attn_config``, whose layers are numbered from 1, else ``layer_types``.

    Raises:
        BadInputError: If a layer is in neither or in both lists.
    """
    layers = blocks.fields.layer_count()
    if not linear.has("full_attn_layers"):
        return [span for span, _ in blocks.spans(kinds=RECURRENT_TYPES)]
    full, delta = linear.indices("full_attn_layers"), linear.indices("kda_layers")
    if full & delta or full | delta != set(range(1, layers + 1)):
        raise linear.bad("full_attn_layers", sorted(full), f"with kda_layers all of 1 to {layers}, each once")
    return ["full" if layer + 1 in full else "state" for layer in range(layers)]


def read_kimi_linear(blocks: Blocks) -> ModelSpec:
    """Kimi-Linear-48B-A3B; its latent attention has no rotary part but keeps its elements.

    Raises:
        BadInputError: If keys are missing, or stand for what Kimi-K3 adds under the same ``model_type``.
    """
    blocks = blocks.renamed(_NAMES)
    fields = blocks.fields
    fields.require(*FRAME, *LATENT, "intermediate_size", "moe_intermediate_size", EXPERTS, TOP_K)
    fields.require(("linear_attn_config", "layer_types"))
    linear = ConfigFields(fields.table("linear_attn_config"), fields.name)
    strange = [*fields.unless(_KIMI_K3), *linear.unless(("use_full_rank_gate",))]
    if strange:
        raise BadInputError(
            f"the config of {fields.name!r} (model_type 'kimi_linear') has {', '.join(strange)}, which Kimi-Linear has "
            "not and no reader counts; use a model of a known architecture"
        )
    heads = linear.size("num_heads", default=fields.size("linear_num_heads", default=32))
    dim = linear.size("head_dim", default=fields.size("linear_head_dim", default=128))
    kernel = linear.size("short_conv_kernel_size", default=fields.size("linear_conv_kernel_dim", default=4))
    routing, width = blocks.routing(), fields.size("moe_intermediate_size")
    shared, sparse = width * fields.count("n_shared_experts"), sparse_layers(blocks, dense=1)
    layers = [
        Layer(
            kimi_delta(blocks, i, heads=heads, dim=dim, kernel=kernel)
            if span == "state"
            else latent_attention(blocks, i),
            blocks.mixture(i, routing, width, shared_width=shared, correction_bias=True, module="block_sparse_moe")
            if sparse[i]
            else blocks.dense(i, fields.size("intermediate_size")),
            2 * blocks.hidden,
        )
        for i, span in enumerate(_spans(blocks, linear))
    ]
    return blocks.model(layers, blocks.uncounted("kimi_linear"))
