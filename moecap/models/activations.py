"""The memory that one forward pass takes beside weights and caches: an estimate, before anything is loaded."""

from __future__ import annotations

import math

from moecap.dtypes import dtype_bytes
from moecap.models.spec import Layer, Matrix, ModelSpec, MoeFfn

__all__ = ["activation_bytes"]

_LOGIT_BYTES = 4  # logits are compared and normalised in fp32


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
    return math.ceil(tokens * elements * dtype_bytes(dtype)) + logits_rows * spec.vocab_size * _LOGIT_BYTES


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
