"""Layers that keep a state of fixed size in place of a cache: delta nets, Mamba 1, Mamba 2, short convolutions.

Two states belong to a layer: the last inputs of its short convolution, one fewer than the kernel is wide, in the
dtype of the model, and the recurrent state, in the format of :meth:`Blocks.state_dtype`. Both are read in every step.
LFM2's short convolutions have the first alone.

FLOPs of the recurrence count one multiplication and one addition for each element of the state that a product passes;
the element-wise decay is left out, as all element-wise work is:

==================  =============================================  ====================================================
delta nets          6 * heads * key_dim * value_dim                S k (what is remembered), S + k d, S q
Mamba 2             4 * heads * head_dim * state_size              H + (dt x) B, H C
Mamba 1             4 * channels * state_size                      h + (dt x) B, h C
==================  =============================================  ====================================================

Parallel ranks split the heads, with their part of convolution, state, biases and decays (Mamba 1 has channels for
heads). Where there are fewer groups than ranks, each group's B and C are kept by all ranks that hold its heads, and a
norm over one head, or over what ranks share, is kept by every rank: so vLLM does (``MambaMixer2``, ``MambaMixer``,
``Qwen3NextGatedDeltaNet``, ``KimiDeltaAttention``, ``ShortConv``).

Sources: Gated Delta Networks (arXiv 2412.06464), equation 10; Kimi Linear (arXiv 2510.26692), which decays each channel
by itself; Mamba 2 (arXiv 2405.21060), equation 1 with a scalar decay for each head; Mamba (arXiv 2312.00752), equation
2. The convolution is a matrix of one row a channel.
"""

from __future__ import annotations

import math

from moecap.dtypes import dtype_bytes
from moecap.models.families.blocks import Blocks
from moecap.models.spec import Attention, Matrix

__all__ = ["delta_net", "kimi_delta", "mamba1", "mamba2", "short_convolution"]


def _recurrent(
    blocks: Blocks,
    matrices: list[Matrix],
    other_params: int,
    *,
    heads: int,
    groups: int,
    dims: tuple[int, int],
    convolution: Matrix,
    products: int,
    kv_params: int = 0,
    whole_params: int = 0,
) -> Attention:
    """A layer whose state has ``heads`` matrices of ``dims``, passed by so many products a token."""
    elements = heads * dims[0] * dims[1]
    kept = (convolution.columns - 1) * dtype_bytes(blocks.weights.dtype)
    inputs = convolution.rows * kept
    return Attention(
        span="state",
        window=0,
        heads=heads,
        kv_heads=groups,
        key_dim=dims[0],
        value_dim=dims[1],
        matrices=(*matrices, convolution),
        other_params=other_params,
        cached_elements=0,
        state_bytes=math.ceil(elements * dtype_bytes(blocks.state_dtype()) + inputs),
        kv_state_bytes=math.ceil(convolution.kv_rows * kept),
        state_flops=2 * products * elements,
        kv_params=kv_params,
        whole_params=whole_params,
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
        whole_params=value_dim,
        heads=heads,
        groups=key_heads,
        dims=(key_dim, value_dim),
        convolution=blocks.matrix(
            "convolution", path + "conv1d", 2 * keys + values, fields.size("linear_conv_kernel_dim")
        ),
        products=3,
    )


def kimi_delta(blocks: Blocks, layer: int, *, heads: int, dim: int, kernel: int) -> Attention:
    """The delta attention of Kimi-Linear: heads of equal keys and values, gates through a rank of one head.

    Args:
        blocks: The builder.
        layer: Number of the layer.
        heads: Heads, each with a state of ``dim`` times ``dim``.
        dim: Elements of a key and of a value of one head.
        kernel: Inputs that the convolutions of queries, keys and values see.
    """
    hidden, inner = blocks.hidden, heads * dim
    path = f"model.layers.{layer}.self_attn."
    inputs = [(name, inner, hidden) for name in ("q_proj", "k_proj", "v_proj")]
    inputs += [("b_proj", heads, hidden), ("f_b_proj", inner, dim), ("g_b_proj", inner, dim), ("o_proj", hidden, inner)]
    ranks = [blocks.matrix("attention", path + name, dim, hidden, whole=True) for name in ("f_a_proj", "g_a_proj")]
    return _recurrent(
        blocks,
        [*(blocks.matrix("attention", path + name, rows, columns) for name, rows, columns in inputs), *ranks],
        inner + heads + dim,
        whole_params=dim,
        heads=heads,
        groups=heads,
        dims=(dim, dim),
        convolution=blocks.matrix("convolution", path + "conv1d", 3 * inner, kernel),
        products=3,
    )


def short_convolution(blocks: Blocks, layer: int, *, kernel: int, bias: bool) -> Attention:
    """The gated convolution of LFM2: three projections of the stream, one convolution a channel, no recurrence.

    Args:
        blocks: The builder.
        layer: Number of the layer.
        kernel: Inputs that the convolution sees.
        bias: Whether the projections and the convolution have biases.
    """
    hidden = blocks.hidden
    path = f"model.layers.{layer}.conv."
    return _recurrent(
        blocks,
        [
            blocks.matrix("attention", path + "in_proj", 3 * hidden, hidden),
            blocks.matrix("attention", path + "out_proj", hidden, hidden),
        ],
        5 * hidden * bias,
        heads=hidden,
        groups=hidden,
        dims=(0, 0),
        convolution=blocks.matrix("convolution", path + "conv", hidden, kernel),
        products=0,
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
    shared = 2 * groups * state
    channels = inner + shared
    projected = inner + channels + heads
    other = 3 * heads + inner + channels * convolution_bias + (projected + hidden) * bias
    return _recurrent(
        blocks,
        [
            blocks.matrix("attention", f"{path}.in_proj", projected, hidden, kv_rows=shared),
            blocks.matrix("attention", f"{path}.out_proj", hidden, inner),
        ],
        other,
        kv_params=shared * (convolution_bias + bias),
        heads=heads,
        groups=groups,
        dims=(head_dim, state),
        convolution=blocks.matrix("convolution", f"{path}.conv1d", channels, kernel, kv_rows=shared),
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
        whole_params=rank + 2 * state,
        heads=inner,
        groups=inner,
        dims=(1, state),
        convolution=blocks.matrix("convolution", path + "conv1d", inner, fields.size("mamba_d_conv", default=4)),
        products=2,
    )
