"""Nemotron-H and Nemotron 3: every layer is one block, of attention, Mamba 2, a dense network or a mixture."""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, GROUPED, NO_ATTENTION, TOP_K, Blocks
from moecap.models.families.recurrent import mamba2
from moecap.models.spec import DenseFfn, Layer, Matrix, ModelSpec, MoeFfn

__all__ = ["read_nemotron_h"]

_PATTERN = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}
_KINDS = {kind: kind for kind in _PATTERN.values()} | {"linear_attention": "mamba", "full_attention": "attention"}
_MAMBA = ("mamba_num_heads", "mamba_head_dim", "ssm_state_size", "n_groups", "conv_kernel")


def _kinds(blocks: Blocks) -> list[str]:
    """The kind of every layer: one letter each in ``hybrid_override_pattern``, or a list of words."""
    fields = blocks.fields
    fields.require(("hybrid_override_pattern", "layers_block_type", "layer_types"))
    pattern = fields.text("hybrid_override_pattern")
    if pattern:
        if set(pattern) - _PATTERN.keys():
            raise fields.bad("hybrid_override_pattern", pattern, f"made of {' '.join(_PATTERN)}")
        return [_PATTERN[letter] for letter in pattern]
    key = "layers_block_type" if fields.has("layers_block_type") else "layer_types"
    kinds = fields.texts(key)
    if set(kinds) - _KINDS.keys():
        raise fields.bad(key, sorted(set(kinds) - _KINDS.keys()), f"made of {', '.join(_KINDS)}")
    return [_KINDS[kind] for kind in kinds]


def _two(blocks: Blocks, tensors: str, path: str, width: int, stream: int) -> tuple[Matrix, Matrix]:
    """A network without a gate: up and down."""
    up = blocks.matrix(tensors, f"{path}.up_proj", width, stream)
    return up, blocks.matrix(tensors, f"{path}.down_proj", stream, width)


def _mixture(blocks: Blocks, path: str) -> MoeFfn:
    """Experts of a narrower stream where ``moe_latent_size`` is given, between two projections that all tokens pass."""
    fields, hidden = blocks.fields, blocks.hidden
    fields.require(EXPERTS, TOP_K, "moe_intermediate_size", "moe_shared_expert_intermediate_size")
    experts, top_k = blocks.routing()
    width, shared_width = fields.size("moe_intermediate_size"), fields.size("moe_shared_expert_intermediate_size")
    latent, bias = fields.optional_size("moe_latent_size"), fields.flag("mlp_bias")
    shared: tuple[Matrix, ...] = _two(blocks, "shared", f"{path}.shared_experts", shared_width, hidden)
    whole = 0
    if latent is not None:
        down = blocks.matrix("shared", f"{path}.fc1_latent_proj", latent, hidden, whole=True)
        shared = (*shared, down, blocks.matrix("shared", f"{path}.fc2_latent_proj", hidden, latent, whole=True))
        whole = (latent + hidden) * bias
    return MoeFfn(
        router=blocks.matrix("router", f"{path}.gate", experts, hidden),
        router_other_params=experts,
        experts=experts,
        top_k=top_k,
        expert_matrices=_two(blocks, "experts", f"{path}.experts.0", width, latent or hidden),
        shared_matrices=shared,
        shared_other_params=(shared_width + hidden) * bias + whole,
        shared_whole_params=whole,
    )


def _layer(blocks: Blocks, layer: int, kind: str) -> Layer:
    fields, hidden = blocks.fields, blocks.hidden
    path = f"backbone.layers.{layer}.mixer"
    attention, ffn = NO_ATTENTION, DenseFfn(())
    if kind == "moe":
        return Layer(attention, _mixture(blocks, path), hidden)
    if kind == "attention":
        fields.require(*GROUPED)
        attention = blocks.grouped_attention(layer, ("full", 0), path=f"{path}.")
    elif kind == "mamba":
        fields.require(*_MAMBA)
        attention = mamba2(
            blocks,
            path,
            heads=fields.size("mamba_num_heads"),
            head_dim=fields.size("mamba_head_dim"),
            state=fields.size("ssm_state_size"),
            groups=fields.size("n_groups"),
            kernel=fields.size("conv_kernel"),
            bias=fields.flag("use_bias"),
            convolution_bias=fields.flag("use_conv_bias", True),
        )
    else:
        fields.require("intermediate_size")
        width = fields.size("intermediate_size")
        ffn = DenseFfn(_two(blocks, "dense", path, width, hidden), (width + hidden) * fields.flag("mlp_bias"))
    return Layer(attention, ffn, hidden)


def read_nemotron_h(blocks: Blocks) -> ModelSpec:
    """Nemotron-H and Nemotron 3 Nano, Super and Ultra; the layers are counted in the pattern, not by their key."""
    fields = blocks.fields
    fields.require("hidden_size", "vocab_size", "max_position_embeddings")
    layers = [_layer(blocks, i, kind) for i, kind in enumerate(_kinds(blocks))]
    return blocks.model(layers, blocks.uncounted("nemotron_h"))
