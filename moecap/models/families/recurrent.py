"""Layers that keep a state of fixed size in place of a cache: gated delta nets, Mamba 1 and Mamba 2.

Two states belong to a layer: the last inputs of its short convolution, one fewer than the kernel is wide, in the
dtype of the model, and the recurrent state, in the format of :meth:`Blocks.state_dtype`. Both are read in every step.

FLOPs of the recurrence count one multiplication and one addition for each element of the state that a product passes;
the element-wise decay is left out, as all element-wise work is:

==================  =============================================  ====================================================
gated delta net     6 * heads * key_dim * value_dim                S k (what is remembered), S + k d, S q
Mamba 2             4 * heads * head_dim * state_size              H + (dt x) B, H C
Mamba 1             4 * channels * state_size                      h + (dt x) B, h C
==================  =============================================  ====================================================

Sources: Gated Delta Networks (arXiv 2412.06464), equation 10; Mamba 2 (arXiv 2405.21060), equation 1 with a scalar
decay for each head; Mamba (arXiv 2312.00752), equation 2. The convolution is a matrix of one row a channel.
"""

from __future__ import annotations

import math

from moecap.dtypes import dtype_bytes
from moecap.models.families.blocks import Blocks
from moecap.models.spec import Attention, Matrix

__all__ = ["delta_net", "mamba1", "mamba2"]


def _recurrent(
    blocks: Blocks,
    matrices: list[Matrix],
    other_params: int,
    *,
    heads: int,
    dims: tuple[int, int],
    convolution: Matrix,
    products: int,
) -> Attention:
    """A layer whose state has ``heads`` matrices of ``dims``, passed by so many products a token."""
    elements = heads * dims[0] * dims[1]
    inputs = convolution.rows * (convolution.columns - 1) * dtype_bytes(blocks.weights.dtype)
    return Attention(
        span="state",
        window=0,
        heads=heads,
        kv_heads=heads,
        key_dim=dims[0],
        value_dim=dims[1],
        matrices=(*matrices, convolution),
        other_params=other_params,
        cached_elements=0,
        state_bytes=math.ceil(elements * dtype_bytes(blocks.state_dtype()) + inputs),
        state_flops=2 * products * elements,
    )


def delta_net(blocks: Blocks, layer: int, *, split: bool) -> Attention:
    """The gated delta net of Qwen3-Next and Qwen3.5.

    Args:
        blocks: The builder.
        layer: Number of the layer.
        split: Whether the four input projections are matrices of their own, as in Qwen3.5, in place of two.
    """
    fields, hidden = blocks.fields, blocks.hidden
    heads, key_heads = fields.size("linear_num_value_heads"), fields.size("linear_num_key_heads")
    key_dim, value_dim = fields.size("linear_key_head_dim"), fields.size("linear_value_head_dim")
    if heads % key_heads:
        raise fields.bad("linear_num_key_heads", key_heads, f"a divisor of linear_num_value_heads = {heads}")
    keys, values = key_heads * key_dim, heads * value_dim
    path = f"model.layers.{layer}.linear_attn."
    inputs = [("in_proj_qkvz", 2 * keys + 2 * values), ("in_proj_ba", 2 * heads)]
    if split:
        inputs = [("in_proj_qkv", 2 * keys + values), ("in_proj_z", values), ("in_proj_b", heads), ("in_proj_a", heads)]
    return _recurrent(
        blocks,
        [
            *(blocks.matrix("attention", path + name, rows, hidden) for name, rows in inputs),
            blocks.matrix("attention", path + "out_proj", hidden, values),
        ],
        2 * heads + value_dim,
        heads=heads,
        dims=(key_dim, value_dim),
        convolution=blocks.matrix(
            "convolution", path + "conv1d", 2 * keys + values, fields.size("linear_conv_kernel_dim")
        ),
        products=3,
    )


def mamba2(
    blocks: Blocks,
    path: str,
    *,
    heads: int,
    head_dim: int,
    state: int,
    groups: int,
    kernel: int,
    bias: bool,
    convolution_bias: bool,
) -> Attention:
    """The Mamba 2 mixer of Nemotron-H and Granite 4.

    Args:
        blocks: The builder.
        path: The mixer's path in the checkpoint.
        heads: Heads, each with a decay of its own.
        head_dim: Channels of one head.
        state: Elements of the state of one channel.
        groups: Groups of heads that share their input and output vectors B and C.
        kernel: Inputs that the convolution sees.
        bias: Whether the input and output projections have biases.
        convolution_bias: Whether the convolution has one.
    """
    hidden, inner = blocks.hidden, heads * head_dim
    channels = inner + 2 * groups * state
    projected = inner + channels + heads
    other = 3 * heads + inner + channels * convolution_bias + (projected + hidden) * bias
    return _recurrent(
        blocks,
        [
            blocks.matrix("attention", f"{path}.in_proj", projected, hidden),
            blocks.matrix("attention", f"{path}.out_proj", hidden, inner),
        ],
        other,
        heads=heads,
        dims=(head_dim, state),
        convolution=blocks.matrix("convolution", f"{path}.conv1d", channels, kernel),
        products=2,
    )


def mamba1(blocks: Blocks, layer: int) -> Attention:
    """The Mamba mixer of Jamba, with norms of the step size and of B and C; its decay is a matrix of other elements."""
    fields, hidden = blocks.fields, blocks.hidden
    state, inner = fields.size("mamba_d_state", default=16), hidden * fields.size("mamba_expand", default=2)
    automatic = fields.config.get("mamba_dt_rank") in (None, "auto")
    rank = math.ceil(hidden / 16) if automatic else fields.size("mamba_dt_rank")
    path = f"model.layers.{layer}.mamba."
    other = inner * state + 2 * inner + rank + 2 * state
    other += inner * fields.flag("mamba_conv_bias", True) + (2 * inner + hidden) * fields.flag("mamba_proj_bias")
    return _recurrent(
        blocks,
        [
            blocks.matrix("attention", path + "in_proj", 2 * inner, hidden),
            blocks.matrix("attention", path + "x_proj", rank + 2 * state, inner),
            blocks.matrix("attention", path + "dt_proj", inner, rank),
            blocks.matrix("attention", path + "out_proj", hidden, inner),
        ],
        other,
        heads=1,
        dims=(inner, state),
        convolution=blocks.matrix("convolution", path + "conv1d", inner, fields.size("mamba_d_conv", default=4)),
        products=2,
    )
