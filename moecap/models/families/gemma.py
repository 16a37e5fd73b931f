"""Gemma 4: sliding windows with a full layer after every five, and one network beside the routed experts of a layer.

Layers of full attention have heads of their own size and number and, with ``attention_k_eq_v``, no projection of
values: keys before their norm and rotation serve as values, so that both are cached all the same.
"""

from __future__ import annotations

from dataclasses import replace

from moecap.models.families.blocks import FRAME, GROUPED, Blocks
from moecap.models.spec import Attention, DenseFfn, Layer, ModelSpec, MoeFfn, Span

__all__ = ["read_gemma4"]


def _attention(blocks: Blocks, layer: int, span: tuple[Span, int]) -> Attention:
    fields, full, own = blocks.fields, span[0] == "full", blocks.at(layer)
    shared, bias = full and fields.flag("attention_k_eq_v"), fields.flag("attention_bias")
    if full and not fields.has("per_layer_config"):
        own = blocks.over({"head_dim": fields.size("global_head_dim", default=512)})
        if shared and fields.has("num_global_key_value_heads"):
            own = own.over({"num_key_value_heads": fields.size("num_global_key_value_heads")})
    plain = own.grouped_attention(layer, span, qkv_bias=bias, output_bias=bias, norms="head")
    if not shared:
        return plain
    values = plain.matrices[2]
    return replace(
        plain,
        matrices=tuple(matrix for matrix in plain.matrices if matrix is not values),
        other_params=plain.other_params - values.rows * bias,
        kv_params=plain.kv_params - values.rows * bias,
    )


def _mixture(blocks: Blocks, layer: int) -> MoeFfn:
    """Routed experts; the network that every token passes stands for the shared expert of other families.

    The router scales its input by a vector, and each expert's weight by a number.
    """
    fields, path = blocks.fields, f"model.layers.{layer}"
    fields.require("num_experts", "top_k_experts", "moe_intermediate_size")
    experts, top_k = fields.size("num_experts"), fields.size("top_k_experts")
    if top_k > experts:
        raise fields.bad("top_k_experts", top_k, f"at most the number of experts, {experts}")
    return MoeFfn(
        router=blocks.matrix("router", f"{path}.router.proj", experts, blocks.hidden),
        router_other_params=blocks.hidden + experts,
        experts=experts,
        top_k=top_k,
        expert_matrices=blocks.gated("experts", f"{path}.experts.0", fields.size("moe_intermediate_size")),
        shared_matrices=blocks.gated("shared", f"{path}.mlp", fields.size("intermediate_size")),
    )


def read_gemma4(blocks: Blocks) -> ModelSpec:
    """Gemma 4 26B-A4B and 31B, the language model.

    Raises:
        BadInputError: If the model has embeddings for each layer or layers that share their cache (E2B, E4B).
    """
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "num_key_value_heads", "head_dim", "intermediate_size")
    fields.require("hidden_size_per_layer_input")
    if fields.has("num_experts"):
        fields.require("enable_moe_block")
    if fields.count("hidden_size_per_layer_input"):
        value = fields.config["hidden_size_per_layer_input"]
        raise fields.bad("hidden_size_per_layer_input", value, "0: embeddings for each layer have no reader")
    if fields.count("num_kv_shared_layers"):
        value = fields.config["num_kv_shared_layers"]
        raise fields.bad("num_kv_shared_layers", value, "0: layers that share their cache have no reader")
    if fields.text("use_bidirectional_attention") == "all":
        raise fields.bad("use_bidirectional_attention", "all", "null or vision: only causal models are read")
    layers, mixed, hidden = fields.layer_count(), fields.flag("enable_moe_block"), blocks.hidden
    default: list[Span] = ["sliding" if (layer + 1) % 6 else "full" for layer in range(layers)]
    if not fields.has("sliding_window"):
        blocks = blocks.over({"sliding_window": 512})
    # the last layer sees all whatever the configuration says, as in transformers
    spans: list[tuple[Span, int]] = [*blocks.spans(default)[:-1], ("full", 0)]

    def ffn(layer: int) -> DenseFfn | MoeFfn:
        return _mixture(blocks, layer) if mixed else blocks.dense(layer, fields.size("intermediate_size"))

    # four norms around the halves and three around the experts, and the number that scales the layer's output
    norms = (7 if mixed else 4) * hidden + 1
    built = [Layer(_attention(blocks, i, span), ffn(i), norms) for i, span in enumerate(spans)]
    return blocks.model(built, "gemma4", tied=True)
