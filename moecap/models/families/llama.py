"""Dense decoders with gated networks: Llama, Mistral, Qwen2 and Qwen3."""

from __future__ import annotations

from moecap.models.families.blocks import FRAME, GROUPED, Blocks
from moecap.models.spec import Layer, ModelSpec, Span

__all__ = ["read_llama", "read_mistral", "read_qwen2", "read_qwen3", "trailing_windows"]


def trailing_windows(blocks: Blocks, window: bool | None = None, first: int = 28) -> list[Span]:
    """Qwen's rule: with ``use_sliding_window``, the layers from ``max_window_layers`` on have a sliding window.

    Args:
        blocks: The builder.
        window: Whether there are windows, where another key says so.
        first: The first layer with a window where the configuration does not say.
    """
    fields = blocks.fields
    if window is None:
        window = fields.flag("use_sliding_window") and fields.optional_size("sliding_window") is not None
    first = fields.count("max_window_layers", default=first)
    return ["sliding" if window and layer >= first else "full" for layer in range(fields.layer_count())]


def _read_dense(
    blocks: Blocks,
    reading: str,
    spans: list[Span] | Span,
    *,
    qkv_bias: bool = False,
    output_bias: bool = False,
    norms: str = "none",
    mlp_bias: bool = False,
) -> ModelSpec:
    fields = blocks.fields
    fields.require(*FRAME, *GROUPED, "intermediate_size")
    width = fields.size("intermediate_size")
    layers = [
        Layer(
            blocks.grouped_attention(i, span, qkv_bias=qkv_bias, output_bias=output_bias, norms=norms),
            blocks.dense(i, width, mlp_bias),
            2 * blocks.hidden,
        )
        for i, span in enumerate(blocks.spans(spans))
    ]
    return blocks.model(layers, reading)


def read_llama(blocks: Blocks) -> ModelSpec:
    """Llama 2 and 3: full attention, optional biases."""
    bias = blocks.fields.flag("attention_bias")
    mlp_bias = blocks.fields.flag("mlp_bias")
    return _read_dense(blocks, "llama", "full", qkv_bias=bias, output_bias=bias, mlp_bias=mlp_bias)


def read_mistral(blocks: Blocks) -> ModelSpec:
    """Mistral: the same, with a sliding window in all layers where the configuration gives one."""
    return _read_dense(blocks, "mistral", "sliding" if blocks.fields.optional_size("sliding_window") else "full")


def read_qwen2(blocks: Blocks) -> ModelSpec:
    """Qwen2 and Qwen2.5: biases on queries, keys and values."""
    blocks.fields.require("num_hidden_layers")
    return _read_dense(blocks, "qwen2", trailing_windows(blocks), qkv_bias=True)


def read_qwen3(blocks: Blocks) -> ModelSpec:
    """Qwen3: norms of queries and keys over one head."""
    blocks.fields.require("num_hidden_layers")
    bias = blocks.fields.flag("attention_bias")
    return _read_dense(blocks, "qwen3", trailing_windows(blocks), qkv_bias=bias, output_bias=bias, norms="head")
