"""Jamba: attention in one layer of a period, Mamba in the others; a mixture in some layers by another period."""

from __future__ import annotations

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.families.recurrent import mamba1
from moecap.models.spec import DenseFfn, Layer, ModelSpec, MoeFfn

__all__ = ["read_jamba"]


def _places(blocks: Blocks, kind: str, period: int, offset: int) -> tuple[int, int]:
    fields = blocks.fields
    period, offset = fields.size(f"{kind}_period", default=period), fields.count(f"{kind}_offset", default=offset)
    if offset >= period:
        raise fields.bad(f"{kind}_offset", offset, f"smaller than {kind}_period = {period}")
    return period, offset


def read_jamba(blocks: Blocks) -> ModelSpec:
    """Jamba 1.5 and 1.6; one expert makes a dense network."""
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "intermediate_size", EXPERTS, TOP_K)
    width, experts = fields.size("intermediate_size"), fields.size(*EXPERTS)
    attention, mixture = _places(blocks, "attn_layer", 8, 4), _places(blocks, "expert_layer", 2, 1)

    def ffn(layer: int) -> DenseFfn | MoeFfn:
        if experts == 1 or layer % mixture[0] != mixture[1]:
            return DenseFfn(blocks.gated("dense", f"model.layers.{layer}.feed_forward", width))
        return blocks.mixture(layer, blocks.routing(), width, module="feed_forward")

    layers = [
        Layer(
            blocks.grouped_attention(i, ("full", 0)) if i % attention[0] == attention[1] else mamba1(blocks, i),
            ffn(i),
            2 * blocks.hidden,
        )
        for i in range(fields.layer_count())
    ]
    return blocks.model(layers, "jamba")
