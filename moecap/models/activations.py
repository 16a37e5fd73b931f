"""The memory that one forward pass takes beside weights and caches: an estimate, before anything is loaded."""

from __future__ import annotations

import math

from moecap.dtypes import dtype_bytes
from moecap.models.spec import Layer, Matrix, ModelSpec, MoeFfn

__all__ = ["activation_bytes", "training_bytes"]

_FP32_BYTES = 4  # logits are compared and normalised in fp32


def activation_bytes(spec: ModelSpec, *, tokens: int, logits_rows: int, dtype: str) -> int:
    """Bytes of the activations of one pass.

    The rule: layers run one after the other and free what they made, so only the largest layer counts. In it, every
    token keeps the input row and the output row of each matrix that it passes: of the attention's projections, of the
    router, of its top-k and the shared experts or of the dense network. For an expert with matrices of h to I, h to I
    and I to h elements that is 3·(h + I) elements, top-k times: the gathered input, gate, up, their product, and the
    output before and after its weight. Two rows of h stand beside it for the residual stream and its norm. Attention
    scores are never stored (scaled dot-product attention). Each row of logits takes the vocabulary in fp32. For
    8,192 to 32,768 tokens of the embedded model (fp32, grouped experts) a process grew by 0.88 to 1.05 times this.

    Args:
        spec: The model.
        tokens: Tokens that the pass feeds, padding included.
        logits_rows: Rows that go through the language-model head.
        dtype: Number format of the activations.
    """
    elements = 2 * spec.hidden_size + max((_elements(layer) for layer, _ in spec.groups), default=0)
    return math.ceil(tokens * elements * dtype_bytes(dtype)) + logits_rows * spec.vocab_size * _FP32_BYTES


def training_bytes(spec: ModelSpec, *, tokens: int, logits_rows: int, layers: int, trained: int, dtype: str) -> int:
    """Bytes that a step of training adapters takes beside the weights.

    What a pass makes in the layers through which gradients run is kept until they have run: what ``activation_bytes``
    counts of one layer, of each of them, and in fp32 the residual stream before, in and after each of its two norms;
    all of it twice, since libraries keep copies that are cast, turned or gathered (on tiny models of three families
    what was kept was at most 1.7 times the single sum).
    Each row of logits is kept in fp32 before and after it is normalised, and has a gradient. A trained number has
    itself, its gradient and two moments of AdamW in fp32.

    Args:
        spec: The model.
        tokens: Tokens of a step, padding included.
        logits_rows: Rows that go through the language-model head.
        layers: Last layers through which gradients run.
        trained: Numbers that are trained.
        dtype: Number format of the activations.
    """
    norms = 6 * spec.hidden_size * _FP32_BYTES
    kept = sum(
        (2 * spec.hidden_size + _elements(layer)) * dtype_bytes(dtype) + norms for layer in spec.layers[-layers:]
    )
    return math.ceil(2 * tokens * kept) + 3 * logits_rows * spec.vocab_size * _FP32_BYTES + 4 * trained * _FP32_BYTES


def _elements(layer: Layer) -> int:
    """Elements that one token keeps while it is in a layer."""
    ffn = layer.ffn
    if isinstance(ffn, MoeFfn):
        passed = _rows((ffn.router, *ffn.shared)) + ffn.top_k * _rows(ffn.expert_matrices)
    else:
        passed = _rows(ffn.matrices)
    return _rows(layer.attention.matrices) + passed


def _rows(matrices: tuple[Matrix, ...]) -> int:
    """Elements of one input row and one output row of each matrix."""
    return sum(m.rows + m.columns for m in matrices)
