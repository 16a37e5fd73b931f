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

Where one entry stands for s tokens, floor((p + 1) / s) entries take the place of p + 1, those whose tokens have all
been seen. An index that selects blocks of B entries has the query's own block always among its k / B; that block ends
at the query, so that at a context c over k it selects k - B + (c - 1) mod B + 1 entries. What an index selects depends
on the data: for several queries of one sequence, the union is counted at its largest, their own blocks and k - B more
entries for each, which is min(start + new, k * new) where B is 1. The index itself is scanned whole, as under full
attention. A recurrent state (linear attention, state-space layers) is read whole once a step.

Bytes are those that all devices together read: where a model is split over several, what they keep copies of counts
once a copy (:mod:`moecap.models.parallelism`). FLOPs are the useful ones, which no split changes.

Source: MoE-CAP (arXiv 2412.07067), S-MBU and S-MFU, with the definitions of the project's design page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moecap.dtypes import dtype_bytes
from moecap.models.parallelism import ONE_DEVICE, Parallelism
from moecap.models.products import linear_products
from moecap.models.spec import Attention, Matrix, ModelSpec, MoeFfn, Reach

__all__ = [
    "StepWeights",
    "attention_flops",
    "dense_linear_flops_per_token",
    "kv_read_bytes",
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
    """Bytes of weights, over all devices, by what makes a step read them.

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


def step_weights(spec: ModelSpec, parallelism: Parallelism = ONE_DEVICE) -> StepWeights:
    """Bytes of every tensor that a step may read.

    Args:
        spec: The model.
        parallelism: How it is split over devices.

    Raises:
        BadInputError: If the model does not allow this split.
        NotAvailableError: If it is not known how a layer is split.
    """
    parallelism.check(spec)
    width = dtype_bytes(spec.vector_dtype)
    attention = router = shared_and_dense = norms = 0.0
    for layer, count in spec.groups:
        a, ffn = layer.attention, layer.ffn
        kv, whole = (parallelism.kv_copies(a) - 1) * a.kv_params, (parallelism.tensor - 1) * a.whole_params
        attention += count * (_attention_bytes(a, parallelism) + (a.other_params + kv + whole) * width)
        norms += count * layer.norm_params * width
        if isinstance(ffn, MoeFfn):
            router += count * (ffn.router.bytes + ffn.router_other_params * width)
            copies, whole = parallelism.network_copies, parallelism.whole_copies * ffn.shared_whole_params
            split = copies * (ffn.shared_other_params - ffn.shared_whole_params)
            shared_and_dense += count * (_shared_bytes(ffn, parallelism) + (split + whole) * width)
        else:
            shared_and_dense += count * parallelism.network_copies * (_bytes(ffn.matrices) + ffn.other_params * width)
    return StepWeights(
        attention=round(parallelism.data * attention),
        router=round(parallelism.whole_copies * router),
        shared_and_dense=round(shared_and_dense),
        norms=round(parallelism.whole_copies * (norms + spec.final_norm_params * width)),
        lm_head=round(parallelism.network_copies * (spec.lm_head.bytes + spec.lm_head_other_params * width)),
        embedding_row=spec.embedding.format.matrix_bytes(1, spec.embedding.columns),
        expert=_per_moe_layer(spec, lambda ffn: _bytes(ffn.expert_matrices) + ffn.expert_other_params * width),
        experts=_per_moe_layer(spec, lambda ffn: ffn.experts).astype(np.int64),
        top_k=_per_moe_layer(spec, lambda ffn: ffn.top_k).astype(np.int64),
    )


def paper_step_weights(spec: ModelSpec, parallelism: Parallelism = ONE_DEVICE) -> StepWeights:
    """The bytes of equation 4 of the paper: matrices and scales of attention, experts and dense networks only.

    Router, norms, output projection, embedding, biases and sinks are 0. The paper says nothing of several devices;
    here copies count for these tensors as they do in :func:`step_weights`.

    Args:
        spec: The model.
        parallelism: How it is split over devices.

    Raises:
        BadInputError: If the model does not allow this split.
        NotAvailableError: If it is not known how a layer is split.
    """
    parallelism.check(spec)
    attention = shared_and_dense = 0.0
    for layer, count in spec.groups:
        ffn = layer.ffn
        attention += count * _attention_bytes(layer.attention, parallelism)
        if isinstance(ffn, MoeFfn):
            shared_and_dense += count * _shared_bytes(ffn, parallelism)
        else:
            shared_and_dense += count * parallelism.network_copies * _bytes(ffn.matrices)
    return StepWeights(
        attention=round(parallelism.data * attention),
        router=0,
        shared_and_dense=round(shared_and_dense),
        norms=0,
        lm_head=0,
        embedding_row=0,
        expert=_per_moe_layer(spec, lambda ffn: _bytes(ffn.expert_matrices)),
        experts=_per_moe_layer(spec, lambda ffn: ffn.experts).astype(np.int64),
        top_k=_per_moe_layer(spec, lambda ffn: ffn.top_k).astype(np.int64),
    )


def kv_read_bytes(spec: ModelSpec, start: Ints, new: Ints, parallelism: Parallelism = ONE_DEVICE) -> Floats:
    """Bytes of cache that the queries of each sequence attend, over all layers and devices.

    An entry that several queries of one sequence attend counts once. A recurrent state counts whole in every step
    that feeds the sequence a token.

    Args:
        spec: The model.
        start: Entries in the cache before the step, int64 [S].
        new: Tokens fed in the step, int64 [S]; a sequence fed nothing reads nothing.
        parallelism: How the model is split over devices; each rank reads its own copy of what it keeps one of.

    Returns:
        Bytes, float64 [S].

    Raises:
        BadInputError: If the model does not allow this split.
        NotAvailableError: If it is not known how a layer is split.
    """
    parallelism.check(spec)
    start, new = _columns(start, new)
    entry: dict[Reach, float] = {}
    width = dtype_bytes(spec.kv_dtype)
    state = 0
    for layer, count in spec.groups:
        a = layer.attention
        copies = parallelism.kv_copies(a)
        entry[a.reach] = entry.get(a.reach, 0.0) + count * copies * a.cached_elements * width
        scanned = count * parallelism.tensor * a.index_elements * width
        entry[_all(a)] = entry.get(_all(a), 0.0) + scanned
        state += count * (a.state_bytes + (copies - 1) * a.kv_state_bytes)
    total = np.where(new > 0, float(state), 0.0)
    for reach, size in entry.items():
        total += _entries(reach, start, new) * size
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
    pair: dict[Reach, tuple[int, int]] = {}
    recurrent = 0
    for layer, count in spec.groups:
        a = layer.attention
        expanded, decode = pair.get(a.reach, (0, 0))
        pair[a.reach] = (expanded + count * _pair(a, False), decode + count * _pair(a, True))
        scanned = count * a.index_flops
        expanded, decode = pair.get(_all(a), (0, 0))
        pair[_all(a)] = (expanded + scanned, decode + scanned)
        recurrent += count * a.state_flops
    total = new.astype(np.float64) * recurrent
    for reach, (expanded, decode) in pair.items():
        pairs = _pairs_before(reach, start + new) - _pairs_before(reach, start)
        total += pairs * np.where(absorbed, float(decode), float(expanded))
    return total


def linear_flops_per_token(spec: ModelSpec) -> int:
    """2·(attention + router + (top-k + shared)·expert + dense FFN) of one token, without the output projection."""
    return sum(round(2 * times * matrix.params) for _, matrix, times in linear_products(spec))


def dense_linear_flops_per_token(spec: ModelSpec) -> int:
    """The same with all N routed experts in place of top-k: what a model without sparsity would compute."""
    spare = sum((ffn.experts - ffn.used_experts) * ffn.expert_matrix_params for ffn in spec.moe_layers)
    return linear_flops_per_token(spec) + round(2 * spare)


def lm_head_flops(spec: ModelSpec) -> int:
    """2·lm_head: FLOPs of the logits of one token."""
    return 2 * spec.lm_head.params


def _bytes(matrices: Iterable[Matrix]) -> int:
    return sum(matrix.bytes for matrix in matrices)


def _attention_bytes(attention: Attention, parallelism: Parallelism) -> float:
    """Bytes of the projections over the ranks of one replica."""
    return sum(matrix.bytes * parallelism.matrix_copies(matrix, attention) for matrix in attention.matrices)


def _shared_bytes(ffn: MoeFfn, parallelism: Parallelism) -> int:
    """Bytes of the shared experts and their gate over the devices of a stage."""
    gate = 0 if ffn.shared_gate is None else ffn.shared_gate.bytes
    whole = sum(matrix.bytes for matrix in ffn.shared_matrices if matrix.whole)
    split = sum(matrix.bytes for matrix in ffn.shared_matrices if not matrix.whole)
    return parallelism.network_copies * split + parallelism.whole_copies * (whole + gate)


def _per_moe_layer(spec: ModelSpec, measure: Callable[[MoeFfn], float]) -> Floats:
    return np.array([measure(ffn) for ffn in spec.moe_layers], dtype=np.float64)


def _columns(start: Ints, new: Ints) -> tuple[Ints, Ints]:
    return np.asarray(start, dtype=np.int64), np.asarray(new, dtype=np.int64)


def _pair(attention: Attention, absorbed: bool) -> int:
    return 0 if attention.span in _NO_ENTRIES else attention.pair_flops(absorbed)


def _all(attention: Attention) -> Reach:
    """The reach of an index, which scans every entry of its attention."""
    return "full", 0, 1, attention.stride


def _entries(reach: Reach, start: Ints, new: Ints) -> Ints:
    """Entries in the union of what the queries attend, int64 [S]; the union is one run that ends at the last query."""
    span, window, block, stride = reach
    if span in _NO_ENTRIES:
        return np.zeros_like(start)
    last: Ints = (start + new) // stride
    first: Ints = np.zeros_like(start)
    if span == "indexed":
        # The blocks of the queries themselves, and as many before them as all queries can select besides.
        own = last - new
        first = np.maximum(0, own - own % block - (window - block) * new)
    elif span == "sliding":
        first = np.maximum(0, start - window + 1)
    elif span == "chunked":
        first = start - start % window
    return (last - first) * (new > 0)


def _pairs_before(reach: Reach, end: Ints) -> Ints:
    """(query, key) pairs of the queries at positions 0 .. end - 1, int64 [S]."""
    span, window, block, stride = reach
    if span in _NO_ENTRIES:
        return np.zeros_like(end)
    if span == "sliding":
        rising: Ints = np.minimum(end, window)
        return rising * (rising + 1) // 2 + (end - rising) * window
    if span == "chunked":
        return _sawtooth(end, window)
    if span == "indexed":
        # The first queries attend all; from `window` entries on, each adds the full blocks and the part of its own.
        rising = np.minimum(end, (window + 1) * stride - 1)
        later = end - rising
        return _stairs(rising, stride) + later * (window - block) + _sawtooth(later, block)
    return _stairs(end, stride)


def _stairs(end: Ints, stride: int) -> Ints:
    """Sum of floor(c / stride) over the contexts c = 1 .. end, int64 [S]."""
    whole, rest = end // stride, end % stride
    return stride * (whole * (whole - 1) // 2) + whole * (rest + 1)


def _sawtooth(end: Ints, size: int) -> Ints:
    """Sum of (c - 1) mod size + 1 over the contexts c = 1 .. end, int64 [S]."""
    whole, rest = end // size, end % size
    return whole * (size * (size + 1) // 2) + rest * (rest + 1) // 2
