"""What one engine step reads and computes: the arithmetic under S-MBU and S-MFU, on whole columns of steps.

All functions take NumPy arrays with one entry a sequence of a step and loop over distinct kinds of layers only.
For a sequence with ``start`` cached entries that is fed ``new`` tokens, the queries stand at the positions
``start .. start + new - 1`` (from 0), and the query at position p attends the entries

=================  ==================================
full               0 .. p
sliding window W   max(0, p - W + 1) .. p
chunked C          C * (p // C) .. p
indexed k          min(k, p + 1) of 0 .. p
=================  ==================================

The k entries that an index selects depend on the data: for several queries of one sequence, their union is counted at
its largest, min(start + new, k * new). The index itself is scanned whole, as under full attention. A recurrent state
(linear attention, state-space layers) is read whole once a step.

Source: MoE-CAP (arXiv 2412.07067), S-MBU and S-MFU, with the definitions of the project's design page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moecap.dtypes import dtype_bytes
from moecap.models.spec import Attention, Matrix, ModelSpec, MoeFfn, Span

__all__ = [
    "StepWeights",
    "attention_flops",
    "dense_linear_flops_per_token",
    "kv_read_bytes",
    "linear_flops_by_dtype",
    "linear_flops_per_token",
    "lm_head_flops",
    "paper_step_weights",
    "step_weights",
]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_NO_ENTRIES = ("state", "none")


@dataclass(frozen=True, slots=True, eq=False)
class StepWeights:
    """Bytes of weights by what makes a step read them.

    Attributes:
        attention: Attention of all layers, once a step.
        router: Routers of all MoE layers, once a step.
        shared_and_dense: Shared experts with their gates and dense feed-forward networks, once a step.
        norms: Norms of all layers and the last one, once a step.
        lm_head: The output projection, once a step that needs logits.
        embedding_row: One row of the embedding, once a token.
        expert: Bytes of one routed expert in each MoE layer, scales and biases included, float64 [moe_layers].
        experts: N of each MoE layer, int64 [moe_layers].
        top_k: k of each MoE layer, int64 [moe_layers].
    """

    attention: int
    router: int
    shared_and_dense: int
    norms: int
    lm_head: int
    embedding_row: int
    expert: Floats
    experts: Ints
    top_k: Ints


def step_weights(spec: ModelSpec) -> StepWeights:
    """Bytes of every tensor that a step may read."""
    width = dtype_bytes(spec.vector_dtype)
    attention = router = shared_and_dense = norms = 0.0
    for layer, count in spec.groups:
        ffn = layer.ffn
        attention += count * (_bytes(layer.attention.matrices) + layer.attention.other_params * width)
        norms += count * layer.norm_params * width
        if isinstance(ffn, MoeFfn):
            router += count * (ffn.router.bytes + ffn.router_other_params * width)
            shared_and_dense += count * (_bytes(ffn.shared) + ffn.shared_other_params * width)
        else:
            shared_and_dense += count * (_bytes(ffn.matrices) + ffn.other_params * width)
    return StepWeights(
        attention=round(attention),
        router=round(router),
        shared_and_dense=round(shared_and_dense),
        norms=round(norms + spec.final_norm_params * width),
        lm_head=round(spec.lm_head.bytes + spec.lm_head_other_params * width),
        embedding_row=spec.embedding.format.matrix_bytes(1, spec.embedding.columns),
        expert=_per_moe_layer(spec, lambda ffn: _bytes(ffn.expert_matrices) + ffn.expert_other_params * width),
        experts=_per_moe_layer(spec, lambda ffn: ffn.experts).astype(np.int64),
        top_k=_per_moe_layer(spec, lambda ffn: ffn.top_k).astype(np.int64),
    )


def paper_step_weights(spec: ModelSpec) -> StepWeights:
    """The bytes of equation 4 of the paper: matrices and scales of attention, experts and dense networks only.

    Router, norms, output projection, embedding, biases and sinks are 0.
    """
    attention = shared_and_dense = 0
    for layer, count in spec.groups:
        attention += count * _bytes(layer.attention.matrices)
        shared_and_dense += count * _bytes(layer.ffn.shared if isinstance(layer.ffn, MoeFfn) else layer.ffn.matrices)
    return StepWeights(
        attention=attention,
        router=0,
        shared_and_dense=shared_and_dense,
        norms=0,
        lm_head=0,
        embedding_row=0,
        expert=_per_moe_layer(spec, lambda ffn: _bytes(ffn.expert_matrices)),
        experts=_per_moe_layer(spec, lambda ffn: ffn.experts).astype(np.int64),
        top_k=_per_moe_layer(spec, lambda ffn: ffn.top_k).astype(np.int64),
    )


def kv_read_bytes(spec: ModelSpec, start: Ints, new: Ints) -> Floats:
    """Bytes of cache that the queries of each sequence attend, over all layers.

    An entry that several queries of one sequence attend counts once. A recurrent state counts whole in every step
    that feeds the sequence a token.

    Args:
        spec: The model.
        start: Entries in the cache before the step, int64 [S].
        new: Tokens fed in the step, int64 [S]; a sequence fed nothing reads nothing.

    Returns:
        Bytes, float64 [S].
    """
    start, new = _columns(start, new)
    entry: dict[tuple[Span, int], float] = {}
    width = dtype_bytes(spec.kv_dtype)
    state = 0
    for layer, count in spec.groups:
        a = layer.attention
        key = (a.span, a.window)
        entry[key] = entry.get(key, 0.0) + count * a.cached_elements * width
        entry["full", 0] = entry.get(("full", 0), 0.0) + count * a.index_elements * width
        state += count * a.state_bytes
    total = np.where(new > 0, float(state), 0.0)
    for (span, window), size in entry.items():
        total += _entries(span, window, start, new) * size
    return total


def attention_flops(spec: ModelSpec, start: Ints, new: Ints, absorbed: npt.NDArray[np.bool_]) -> Floats:
    """FLOPs of attention scores and weighted values, over all layers: 2·H·(dk + dv) for each (query, key) pair.

    Besides them the scores of an index, for every pair, and the recurrence of a state, for every token.

    Args:
        spec: The model.
        start: Entries in the cache before the step, int64 [S].
        new: Tokens fed in the step, int64 [S].
        absorbed: Whether latent attention runs in its decode form, bool [S]; other attention has one form.

    Returns:
        FLOPs, float64 [S].
    """
    start, new = _columns(start, new)
    pair: dict[tuple[Span, int], tuple[int, int]] = {}
    recurrent = 0
    for layer, count in spec.groups:
        a = layer.attention
        expanded, decode = pair.get((a.span, a.window), (0, 0))
        pair[a.span, a.window] = (expanded + count * _pair(a, False), decode + count * _pair(a, True))
        scanned = count * a.index_flops
        expanded, decode = pair.get(("full", 0), (0, 0))
        pair["full", 0] = (expanded + scanned, decode + scanned)
        recurrent += count * a.state_flops
    total = new.astype(np.float64) * recurrent
    for (span, window), (expanded, decode) in pair.items():
        pairs = _pairs_before(span, window, start + new) - _pairs_before(span, window, start)
        total += pairs * np.where(absorbed, float(decode), float(expanded))
    return total


def linear_flops_per_token(spec: ModelSpec) -> int:
    """2·(attention + router + (top-k + shared)·expert + dense FFN) of one token, without the output projection."""
    return sum(linear_flops_by_dtype(spec).values())


def dense_linear_flops_per_token(spec: ModelSpec) -> int:
    """The same with all N routed experts in place of top-k: what a model without sparsity would compute."""
    spare = sum((ffn.experts - ffn.top_k) * ffn.expert_matrix_params for ffn in spec.moe_layers)
    return linear_flops_per_token(spec) + 2 * spare


def linear_flops_by_dtype(spec: ModelSpec) -> dict[str, int]:
    """:func:`linear_flops_per_token` split by the number format of the weights, for Σ FLOPs_f / peak_f."""
    flops: dict[str, int] = {}

    def add(matrices: Iterable[Matrix], times: int) -> None:
        for matrix in matrices:
            dtype = matrix.format.dtype
            flops[dtype] = flops.get(dtype, 0) + 2 * times * matrix.params

    for layer, count in spec.groups:
        add(layer.attention.matrices, count)
        if isinstance(layer.ffn, MoeFfn):
            add((layer.ffn.router,), count)
            add(layer.ffn.expert_matrices, count * layer.ffn.top_k)
            add(layer.ffn.shared, count)
        else:
            add(layer.ffn.matrices, count)
    return flops


def lm_head_flops(spec: ModelSpec) -> int:
    """2·lm_head: FLOPs of the logits of one token."""
    return 2 * spec.lm_head.params


def _bytes(matrices: Iterable[Matrix]) -> int:
    return sum(matrix.bytes for matrix in matrices)


def _per_moe_layer(spec: ModelSpec, measure: Callable[[MoeFfn], float]) -> Floats:
    return np.array([measure(ffn) for ffn in spec.moe_layers], dtype=np.float64)


def _columns(start: Ints, new: Ints) -> tuple[Ints, Ints]:
    return np.asarray(start, dtype=np.int64), np.asarray(new, dtype=np.int64)


def _pair(attention: Attention, absorbed: bool) -> int:
    return 0 if attention.span in _NO_ENTRIES else attention.pair_flops(absorbed)


def _entries(span: Span, window: int, start: Ints, new: Ints) -> Ints:
    """Entries in the union of what the queries attend, int64 [S]; the union is one run that ends at the last query."""
    if span in _NO_ENTRIES:
        return np.zeros_like(start)
    first: Ints = np.zeros_like(start)
    if span == "indexed":
        first = start + new - np.minimum(start + new, window * new)
    elif span == "sliding":
        first = np.maximum(0, start - window + 1)
    elif span == "chunked":
        first = start - start % window
    return (start + new - first) * (new > 0)


def _pairs_before(span: Span, window: int, end: Ints) -> Ints:
    """(query, key) pairs of the queries at positions 0 .. end - 1, int64 [S]."""
    if span in _NO_ENTRIES:
        return np.zeros_like(end)
    if span in ("sliding", "indexed"):
        rising: Ints = np.minimum(end, window)
        return rising * (rising + 1) // 2 + (end - rising) * window
    if span == "chunked":
        chunks, rest = end // window, end % window
        return chunks * (window * (window + 1) // 2) + rest * (rest + 1) // 2
    return end * (end + 1) // 2
