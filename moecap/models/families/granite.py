"""Granite mixtures: Granite 3 (with and without shared experts) and Granite 4, which mixes in Mamba 2."""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, RECURRENT_TYPES, TOP_K, Blocks
from moecap.models.families.recurrent import mamba2
from moecap.models.spec import Attention, DenseFfn, Layer, Matrix, ModelSpec, MoeFfn

__all__ = ["read_granitemoe", "read_granitemoehybrid"]


def _fused(blocks: Blocks, tensors: str, path: str, width: int) -> tuple[Matrix, Matrix]:
    """A gated network whose gate and up projections are one matrix."""
    first = blocks.matrix(tensors, f"{path}.input_linear", 2 * width, blocks.hidden)
    return first, blocks.matrix(tensors, f"{path}.output_linear", blocks.hidden, width)


def _mixture(blocks: Blocks, layer: int, shared_width: int) -> MoeFfn:
    path, routing = f"model.layers.{layer}.block_sparse_moe", blocks.routing()
    shared = _fused(blocks, "shared", f"model.layers.{layer}.shared_mlp", shared_width) if shared_width else ()
    return MoeFfn(
        router=blocks.matrix("router", f"{path}.router.layer", routing[0], blocks.hidden),
        router_other_params=0,
        experts=routing[0],
        top_k=routing[1],
        expert_matrices=_fused(blocks, "experts", path, blocks.fields.size("intermediate_size")),
        shared_matrices=shared,
    )


def _attention(blocks: Blocks, layer: int) -> Attention:
    bias = blocks.fields.flag("attention_bias")
    return blocks.grouped_attention(layer, ("full", 0), qkv_bias=bias, output_bias=bias)


def read_granitemoe(blocks: Blocks) -> ModelSpec:
    """Granite 3 mixtures; shared experts where ``shared_intermediate_size`` is given."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "intermediate_size", EXPERTS, TOP_K)
    shared = fields.count("shared_intermediate_size")
    layers = [
        Layer(_attention(blocks, i), _mixture(blocks, i, shared), 2 * blocks.hidden)
        for i in range(fields.layer_count())
    ]
    return blocks.model(layers, "granitemoeshared" if shared else "granitemoe")


def _mamba(blocks: Blocks, layer: int) -> Attention:
    fields = blocks.fields
    heads, inner = fields.size("mamba_n_heads"), blocks.hidden * fields.size("mamba_expand", default=2)
    automatic = fields.config.get("mamba_d_head") in (None, "auto")
    if inner % heads:
        raise fields.bad("mamba_n_heads", heads, f"a divisor of mamba_expand * hidden_size = {inner}")
    head_dim = inner // heads if automatic else fields.size("mamba_d_head")
    if head_dim * heads != inner:
        raise fields.bad("mamba_d_head", head_dim, f"{inner // heads}, the share of a head")
    return mamba2(
        blocks,
        f"model.layers.{layer}.mamba",
        heads=heads,
        head_dim=head_dim,
        state=fields.size("mamba_d_state"),
        groups=fields.size("mamba_n_groups", default=1),
        kernel=fields.size("mamba_d_conv", default=4),
        bias=fields.flag("mamba_proj_bias"),
        convolution_bias=fields.flag("mamba_conv_bias", True),
    )


def read_granitemoehybrid(blocks: Blocks) -> ModelSpec:
    """Granite 4: attention or Mamba 2 by ``layer_types``, a shared network in all layers, without experts alone."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "shared_intermediate_size", "mamba_n_heads", "mamba_d_state")
    fields.require(("layer_types", "layers_block_type"))
    width = fields.size("shared_intermediate_size")
    experts = fields.optional_size(*EXPERTS)
    if experts is not None:
        fields.require("intermediate_size", TOP_K)

    def ffn(layer: int) -> DenseFfn | MoeFfn:
        if experts is None:
            return DenseFfn(_fused(blocks, "dense", f"model.layers.{layer}.shared_mlp", width))
        return _mixture(blocks, layer, width)

    layers = [
        Layer(_mamba(blocks, i) if span == "state" else _attention(blocks, i), ffn(i), 2 * blocks.hidden)
        for i, (span, _) in enumerate(blocks.spans(kinds=RECURRENT_TYPES))
    ]
    return blocks.model(layers, "granitemoehybrid")
