"""What a model is made of: the tensors of every layer, their number formats, and what a token caches.

A specification is built once from ``config.json`` by a reader of :mod:`moecap.models.families` and never changes.
Everything else (parameters, bytes, FLOPs) is derived from it.

A matrix is kept with its two axes, since block scales are counted on whole blocks of both. Vectors (biases, norms,
sinks, score-correction biases) are never quantised and are kept as numbers of elements.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from moecap.dtypes import canonical_dtype, dtype_bytes

__all__ = ["Attention", "DenseFfn", "Layer", "Matrix", "ModelSpec", "MoeFfn", "Reach", "Span", "WeightFormat"]

Span = Literal["full", "sliding", "chunked", "indexed", "state", "none"]
"""Which cached entries a query attends: all, the last W, those of its own chunk of C, the k that an index selects, a
state of fixed size in their place, or none at all (a layer without attention)."""

Reach = tuple[Span, int, int, int]
"""A span with its window, its block and its stride: all that decides how many entries a query attends."""


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """How the elements of a matrix are stored.

    Attributes:
        dtype: Number format of an element.
        block: Rows and columns that share one scale, 0 for a whole axis; ``None`` where there are no scales.
        scale_bytes: Bytes of the scale (and zero point) of one block.
        tensor_bytes: Bytes of what is kept once a matrix, such as a second-level scale.
        inputs: Number format to which the inputs are quantised before they are multiplied with it; ``None`` where they
            stay as they are and the elements are widened to their format (weight-only quantisation).
    """

    dtype: str
    block: tuple[int, int] | None = None
    scale_bytes: float = 0.0
    tensor_bytes: int = 0
    inputs: str | None = None

    def matrix_bytes(self, rows: int, columns: int) -> int:
        """Bytes of a matrix, scales on whole blocks included."""
        total = math.ceil(rows * columns * dtype_bytes(self.dtype)) + self.tensor_bytes
        if self.block is not None:
            blocks = math.ceil(rows / (self.block[0] or rows)) * math.ceil(columns / (self.block[1] or columns))
            total += math.ceil(blocks * self.scale_bytes)
        return total


@dataclass(frozen=True, slots=True)
class Matrix:
    """A weight matrix of ``rows`` outputs and ``columns`` inputs.

    Attributes:
        name: Its name in the checkpoint.
        rows: Outputs.
        columns: Inputs.
        format: How its elements are stored.
        kv_rows: Rows that make keys and values, which parallel ranks split by key and value heads; the others they
            split evenly.
        whole: Whether every parallel rank keeps all of it.
    """

    name: str
    rows: int
    columns: int
    format: WeightFormat
    kv_rows: int = 0
    whole: bool = False

    @property
    def params(self) -> int:
        """Elements of the matrix."""
        return self.rows * self.columns

    @property
    def bytes(self) -> int:
        """Bytes of the matrix, scales included."""
        return self.format.matrix_bytes(self.rows, self.columns)


@dataclass(frozen=True, slots=True)
class Attention:
    """The attention of one layer, or what stands in its place.

    Attributes:
        span: Which entries a query attends.
        window: W of a sliding window, C of chunked attention or k of indexed attention, in tokens; 0 otherwise.
        heads: Query heads.
        kv_heads: Key and value heads; of a recurrent state the key heads, or the groups that share B and C.
        key_dim: Elements of a key of one head, as the expanded form multiplies it.
        value_dim: Elements of a value of one head.
        latent_rank: Rank of the compressed keys and values of multi-head latent attention; 0 otherwise.
        rope_dim: Elements of the rotary part of a latent key, shared by the heads.
        matrices: The projections, by the names that they have in the checkpoint.
        block: Consecutive entries that an index selects together, the query's own block always among them.
        stride: Tokens that one cached entry stands for; more than one where the cache is compressed.
        other_params: Elements of biases, query and key norms and sinks.
        kv_params: Those of them that go with the key and value heads: biases of keys and values.
        whole_params: Those of them that every parallel rank keeps: norms, biases of whole matrices.
        cached_elements: Elements of one cached entry, those of an index left out.
        index_elements: Elements of one entry in the cache of an index, which every query scans whole.
        index_flops: FLOPs of scoring one cached entry for one query.
        state_bytes: Bytes of the recurrent state of one sequence, read in every step (``span`` "state").
        kv_state_bytes: Those of them that go with the groups that share B and C.
        state_flops: FLOPs a token of the recurrence (``span`` "state").
    """

    span: Span
    window: int
    heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    matrices: tuple[Matrix, ...]
    other_params: int
    cached_elements: int
    latent_rank: int = 0
    rope_dim: int = 0
    index_elements: int = 0
    index_flops: int = 0
    state_bytes: int = 0
    kv_state_bytes: int = 0
    state_flops: int = 0
    kv_params: int = 0
    whole_params: int = 0
    block: int = 1
    stride: int = 1

    @property
    def reach(self) -> Reach:
        """What decides how many entries a query attends."""
        return self.span, self.window, self.block, self.stride

    @property
    def kind(self) -> str:
        """``"mla"`` for latent attention, with its span where that is not full, else the span, with its stride."""
        if self.latent_rank:
            return "mla" if self.span == "full" else f"mla {self.span}"
        return self.span if self.stride == 1 else f"{self.span} 1/{self.stride}"

    @property
    def matrix_params(self) -> int:
        """Elements of the projections."""
        return sum(m.params for m in self.matrices)

    def pair_flops(self, absorbed: bool) -> int:
        """FLOPs of one (query, key) pair over all heads, 2·H·(dk + dv).

        Args:
            absorbed: Whether latent attention runs in its decode form, dk + dv = 2·kv_lora + rope, in place of
                the expanded one, nope + rope + v. Other attention has one form.
        """
        if absorbed and self.latent_rank:
            return 2 * self.heads * (2 * self.latent_rank + self.rope_dim)
        return 2 * self.heads * (self.key_dim + self.value_dim)


@dataclass(frozen=True, slots=True)
class DenseFfn:
    """A feed-forward network that every token passes."""

    matrices: tuple[Matrix, ...]
    other_params: int = 0

    @property
    def matrix_params(self) -> int:
        """Elements of the matrices."""
        return sum(m.params for m in self.matrices)


@dataclass(frozen=True, slots=True)
class MoeFfn:
    """A mixture of experts.

    Attributes:
        router: The matrix that scores the experts.
        router_other_params: Elements of the router's biases, a score-correction bias included.
        experts: N, the routed experts.
        top_k: Routed experts that one token selects.
        expert_matrices: The matrices of ONE routed expert.
        expert_other_params: Elements of the biases of ONE routed expert.
        shared_matrices: The matrices of all shared experts together, and those that every token passes on its way to
            and from routed experts of a narrower stream.
        shared_other_params: Elements of their biases.
        shared_whole_params: Those of them that every parallel rank keeps: biases of whole matrices.
        shared_gate: The matrix that weighs the shared experts, where there is one; every parallel rank keeps it.
        zero_experts: Further experts that a token can select and that pass it on unchanged, without weights or FLOPs.
    """

    router: Matrix
    router_other_params: int
    experts: int
    top_k: int
    expert_matrices: tuple[Matrix, ...]
    expert_other_params: int = 0
    shared_matrices: tuple[Matrix, ...] = ()
    shared_other_params: int = 0
    shared_whole_params: int = 0
    shared_gate: Matrix | None = None
    zero_experts: int = 0

    @property
    def used_experts(self) -> float:
        """Experts with weights that one token uses: top-k, or their mean k·N/(N + Z) where Z experts compute nothing.

        The mean is that of uniform routing over all N + Z.
        """
        return self.top_k * self.experts / (self.experts + self.zero_experts)

    @property
    def expert_matrix_params(self) -> int:
        """Elements of the matrices of one routed expert."""
        return sum(m.params for m in self.expert_matrices)

    @property
    def expert_params(self) -> int:
        """Elements of one routed expert, biases included."""
        return self.expert_matrix_params + self.expert_other_params

    @property
    def shared(self) -> tuple[Matrix, ...]:
        """The matrices of the shared experts and of their gate."""
        return self.shared_matrices if self.shared_gate is None else (*self.shared_matrices, self.shared_gate)


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer; ``norm_params`` are the elements of the norms around its halves.

    A layer without a network has a :class:`DenseFfn` without matrices, one without attention the span "none". What
    does not fit in one (a second attention, a mixture beside a dense network) stands as several.
    """

    attention: Attention
    ffn: DenseFfn | MoeFfn
    norm_params: int


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A causal language model.

    Attributes:
        name: The name under which it was asked for.
        architecture: The class that ``config.json`` names.
        reading: Which reading of ``config.json`` was used, with what it had to assume.
        layers: The decoder layers, in order.
        hidden_size: Elements of the residual stream.
        vocab_size: Rows of the embedding.
        max_context: The longest context in tokens.
        embedding: The input embedding.
        lm_head: The output projection; the embedding's elements where ``tied``.
        lm_head_other_params: Elements of the bias of the output projection.
        final_norm_params: Elements of the norm before the output projection.
        tied: Whether the output projection is the embedding.
        vector_dtype: Number format of norms, biases and sinks.
        kv_dtype: Number format of the KV cache.
        mtp_params: Parameters of multi-token-prediction layers, which are in no other count.
        groups: The distinct layers with the number of times each occurs, in order of first occurrence.
    """

    name: str
    architecture: str
    reading: str
    layers: tuple[Layer, ...]
    hidden_size: int
    vocab_size: int
    max_context: int
    embedding: Matrix
    lm_head: Matrix
    lm_head_other_params: int
    final_norm_params: int
    tied: bool
    vector_dtype: str
    kv_dtype: str
    mtp_params: int = 0
    groups: tuple[tuple[Layer, int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Group identical layers, so that sums run over kinds of layers and not over layers."""
        counts: dict[Layer, int] = {}
        for layer in self.layers:
            counts[layer] = counts.get(layer, 0) + 1
        object.__setattr__(self, "groups", tuple(counts.items()))

    @property
    def is_moe(self) -> bool:
        """Whether any layer has routed experts."""
        return any(isinstance(layer.ffn, MoeFfn) for layer, _ in self.groups)

    @property
    def moe_layers(self) -> tuple[MoeFfn, ...]:
        """The mixtures of experts in order, one a MoE layer."""
        return tuple(layer.ffn for layer in self.layers if isinstance(layer.ffn, MoeFfn))

    @property
    def weight_dtypes(self) -> dict[str, str]:
        """Number format of each class of tensors: one name, or several joined by ``+`` where layers differ."""
        found: dict[str, dict[str, None]] = {}

        def note(tensors: str, matrices: Iterable[Matrix]) -> None:
            for matrix in matrices:
                found.setdefault(tensors, {})[matrix.format.dtype] = None

        for layer, _ in self.groups:
            note("attention", layer.attention.matrices)
            if isinstance(layer.ffn, MoeFfn):
                note("router", (layer.ffn.router,))
                note("experts", layer.ffn.expert_matrices)
                note("shared", layer.ffn.shared)
            else:
                note("dense", layer.ffn.matrices)
        note("lm_head", (self.lm_head,))
        note("embedding", (self.embedding,))
        return {tensors: "+".join(names) for tensors, names in found.items()} | {"vectors": self.vector_dtype}

    @property
    def formats(self) -> str:
        """Number formats of all weights, that of most bytes first, joined by ``+``."""
        sizes: dict[str, int] = {}

        def add(matrices: Iterable[Matrix], times: int) -> None:
            for matrix in matrices:
                sizes[matrix.format.dtype] = sizes.get(matrix.format.dtype, 0) + times * matrix.bytes

        add((self.embedding, self.lm_head), 1)
        for layer, count in self.groups:
            add(layer.attention.matrices, count)
            if isinstance(layer.ffn, MoeFfn):
                add((layer.ffn.router, *layer.ffn.shared), count)
                add(layer.ffn.expert_matrices, count * layer.ffn.experts)
            else:
                add(layer.ffn.matrices, count)
        return "+".join(sorted(sizes, key=lambda name: -sizes[name]))

    def with_dtypes(self, weights: str | None = None, kv: str | None = None) -> ModelSpec:
        """The same model with every class of weights in one format without scales, or another KV cache.

        Args:
            weights: Number format of all weights; ``None`` leaves them as they are.
            kv: Number format of the KV cache; ``None`` leaves it as it is.

        Raises:
            UnknownNameError: If a format is not known.
        """
        spec = self if kv is None else replace(self, kv_dtype=canonical_dtype(kv))
        if weights is None:
            return spec
        plain = WeightFormat(canonical_dtype(weights))
        recast = {layer: _recast_layer(layer, plain) for layer, _ in self.groups}
        return replace(
            spec,
            layers=tuple(recast[layer] for layer in self.layers),
            embedding=replace(self.embedding, format=plain),
            lm_head=replace(self.lm_head, format=plain),
            vector_dtype=plain.dtype,
        )


def _recast(matrices: tuple[Matrix, ...], to: WeightFormat) -> tuple[Matrix, ...]:
    return tuple(replace(matrix, format=to) for matrix in matrices)


def _recast_layer(layer: Layer, to: WeightFormat) -> Layer:
    ffn = layer.ffn
    recast: DenseFfn | MoeFfn
    if isinstance(ffn, MoeFfn):
        recast = replace(
            ffn,
            router=replace(ffn.router, format=to),
            expert_matrices=_recast(ffn.expert_matrices, to),
            shared_matrices=_recast(ffn.shared_matrices, to),
            shared_gate=None if ffn.shared_gate is None else replace(ffn.shared_gate, format=to),
        )
    else:
        recast = replace(ffn, matrices=_recast(ffn.matrices, to))
    attention = replace(layer.attention, matrices=_recast(layer.attention.matrices, to))
    return replace(layer, attention=attention, ffn=recast)
