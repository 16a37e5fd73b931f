"""Parameters, bytes and FLOPs of a model: one number each, from its specification.

A parameter is counted tensor by tensor: weights, biases, norms, sinks and score-correction biases. A tied output
projection is the embedding, so it counts once in totals and in checkpoints, and still as a multiplication.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moecap.dtypes import dtype_bytes
from moecap.models.parallelism import ONE_DEVICE, Parallelism
from moecap.models.spec import Attention, DenseFfn, Layer, ModelSpec, MoeFfn
from moecap.models.step import attention_flops, kv_read_bytes, linear_flops_per_token, lm_head_flops, step_weights

__all__ = [
    "DecodeFlops",
    "LayerParameters",
    "Parameters",
    "StepBytes",
    "cache_bytes",
    "checkpoint_bytes",
    "count_parameters",
    "decode_flops_per_token",
    "decode_step_bytes",
    "expected_distinct_experts",
    "kv_bytes",
    "kv_bytes_per_token",
    "layer_parameters",
    "state_bytes",
]


@dataclass(frozen=True, slots=True)
class LayerParameters:
    """Parameters of one layer by class; expert counts are those of ONE routed expert."""

    attention_matrix: int
    attention_other: int
    router_matrix: int
    router_other: int
    expert: int
    expert_matrix: int
    experts: int
    used_experts: float
    shared: int
    dense: int
    norms: int

    @property
    def total(self) -> int:
        """All parameters of the layer."""
        return self._with(self.experts)

    @property
    def active(self) -> int:
        """Parameters that one token uses, a mean where some of the experts that it can select have none."""
        return self._with(self.used_experts)

    def _with(self, experts: float) -> int:
        always = self.attention_matrix + self.attention_other + self.router_matrix + self.router_other
        return always + self.shared + self.dense + self.norms + round(experts * self.expert)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of a model; multi-token-prediction layers are in ``mtp`` only.

    Attributes:
        total: All tensors.
        active: What one token multiplies with: attention, router, top-k and shared experts, dense networks, norms
            and output projection; no embedding.
        active_with_embedding: The same and the whole embedding table, unless it is tied and so already counted.
        active_without_lm_head: The same as ``active`` without the output projection and its bias.
        expert: ONE routed expert of the first MoE layer, biases included; 0 for a dense model.
        experts: All routed experts of all layers.
        embedding: The input embedding.
        lm_head: The matrix of the output projection.
        norms: The norms of all layers and the last one.
        moe_layers: Layers with routed experts.
        dense_layers: Layers with a dense network.
        mtp: Multi-token-prediction layers.
    """

    total: int
    active: int
    active_with_embedding: int
    active_without_lm_head: int
    expert: int
    experts: int
    embedding: int
    lm_head: int
    norms: int
    moe_layers: int
    dense_layers: int
    mtp: int


@dataclass(frozen=True, slots=True)
class DecodeFlops:
    """FLOPs of one decoded token: ``linear`` includes the output projection, latent attention is absorbed."""

    linear: int
    attention: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.linear + self.attention


@dataclass(frozen=True, slots=True)
class StepBytes:
    """Bytes that one decode step reads; embedding rows are among the weights that are not experts."""

    non_expert_weights: int
    expert_weights: int
    kv_read: int

    @property
    def total(self) -> int:
        """All three together."""
        return self.non_expert_weights + self.expert_weights + self.kv_read


def layer_parameters(layer: Layer) -> LayerParameters:
    """Parameters of one layer by class."""
    ffn = layer.ffn
    moe = ffn if isinstance(ffn, MoeFfn) else None
    return LayerParameters(
        attention_matrix=layer.attention.matrix_params,
        attention_other=layer.attention.other_params,
        router_matrix=moe.router.params if moe else 0,
        router_other=moe.router_other_params if moe else 0,
        expert=moe.expert_params if moe else 0,
        expert_matrix=moe.expert_matrix_params if moe else 0,
        experts=moe.experts if moe else 0,
        used_experts=moe.used_experts if moe else 0,
        shared=sum(m.params for m in moe.shared) + moe.shared_other_params if moe else 0,
        dense=0 if isinstance(ffn, MoeFfn) else ffn.matrix_params + ffn.other_params,
        norms=layer.norm_params,
    )


def count_parameters(spec: ModelSpec) -> Parameters:
    """Parameters of a model, in the three conventions that vendors use for active ones."""
    groups = [(layer_parameters(layer), count) for layer, count in spec.groups]
    head = spec.lm_head.params + spec.lm_head_other_params
    without_head = sum(p.active * count for p, count in groups) + spec.final_norm_params
    embedding = spec.embedding.params
    moe = spec.moe_layers
    total = sum(p.total * count for p, count in groups) + spec.final_norm_params + embedding + head
    return Parameters(
        total=total - (spec.lm_head.params if spec.tied else 0),
        active=without_head + head,
        active_with_embedding=without_head + head + (0 if spec.tied else embedding),
        active_without_lm_head=without_head,
        expert=moe[0].expert_params if moe else 0,
        experts=sum(p.experts * p.expert * count for p, count in groups),
        embedding=embedding,
        lm_head=spec.lm_head.params,
        norms=sum(p.norms * count for p, count in groups) + spec.final_norm_params,
        moe_layers=len(moe),
        dense_layers=sum(isinstance(layer.ffn, DenseFfn) and bool(layer.ffn.matrices) for layer in spec.layers),
        mtp=spec.mtp_params,
    )


def checkpoint_bytes(spec: ModelSpec, parallelism: Parallelism = ONE_DEVICE) -> int:
    """Bytes of all weights, scales included, a tied output projection once, multi-token prediction left out.

    Args:
        spec: The model.
        parallelism: How it is split over devices: then the bytes that all of them hold, what they keep copies of once
            a copy; the first and the last of several pipeline stages each hold a tied embedding.

    Raises:
        BadInputError: If the model does not allow this split.
        NotAvailableError: If it is not known how a layer is split.
    """
    weights = step_weights(spec, parallelism)
    experts = int(np.sum(weights.expert * weights.experts))
    head_bias = round(spec.lm_head_other_params * dtype_bytes(spec.vector_dtype))
    head = head_bias if spec.tied else weights.lm_head
    always = weights.attention + weights.router + weights.shared_and_dense + weights.norms
    tables = 2 if spec.tied and parallelism.pipeline > 1 else 1
    return always + experts + head + tables * parallelism.network_copies * spec.embedding.bytes


def kv_bytes_per_token(spec: ModelSpec) -> int:
    """Bytes that one token adds to the cache over all layers, no window applied; recurrent states do not grow.

    A token adds its share of an entry that stands for several.
    """
    elements = sum((a.cached_elements + a.index_elements) * n / a.stride for a, n in _attentions(spec))
    return math.ceil(elements * dtype_bytes(spec.kv_dtype))


def state_bytes(spec: ModelSpec) -> int:
    """Bytes of the recurrent states of one sequence over all layers, whatever its length."""
    return sum(attention.state_bytes * count for attention, count in _attentions(spec))


def _attentions(spec: ModelSpec) -> list[tuple[Attention, int]]:
    return [(layer.attention, count) for layer, count in spec.groups]


def kv_bytes(spec: ModelSpec, context: int, parallelism: Parallelism = ONE_DEVICE) -> int:
    """Bytes of cache that one query reads, over all devices, at a context of so many entries, its own included.

    Windows are applied; the scanned index and the recurrent states are in it.
    """
    return round(float(kv_read_bytes(spec, np.array([context - 1]), np.array([1]), parallelism)[0]))


def cache_bytes(spec: ModelSpec, context: int, parallelism: Parallelism = ONE_DEVICE) -> int:
    """Bytes of memory that one sequence holds at a context of so many entries, its recurrent states included.

    Sliding windows and chunks hold no more than their entries; what an index does not select is held all the same.

    Args:
        spec: The model.
        context: Entries.
        parallelism: How the model is split over devices: then the bytes over all of them, copies once a copy.

    Raises:
        BadInputError: If the model does not allow this split.
        NotAvailableError: If it is not known how a layer is split.
    """
    parallelism.check(spec)
    held = states = 0
    for attention, count in _attentions(spec):
        copies = parallelism.kv_copies(attention)
        windowed = attention.span in ("sliding", "chunked")
        whole = context // attention.stride
        entries = min(context, attention.window) if windowed else whole
        indexed = parallelism.tensor * whole * attention.index_elements
        held += count * (copies * entries * attention.cached_elements + indexed)
        states += count * (attention.state_bytes + (copies - 1) * attention.kv_state_bytes)
    return math.ceil(held * dtype_bytes(spec.kv_dtype)) + states


def decode_flops_per_token(spec: ModelSpec, context: int) -> DecodeFlops:
    """FLOPs of one decoded token at a context of so many entries, its own included."""
    attention = attention_flops(spec, np.array([context - 1]), np.array([1]), np.array([True]))
    return DecodeFlops(linear_flops_per_token(spec) + lm_head_flops(spec), round(float(attention[0])))


def decode_step_bytes(
    spec: ModelSpec, *, batch: int, context: int, experts: float, parallelism: Parallelism = ONE_DEVICE
) -> StepBytes:
    """Bytes of one decode step over all devices.

    Args:
        spec: The model.
        batch: Sequences in the step.
        context: Entries in each sequence's cache after the step.
        experts: Distinct routed experts that the step uses in each MoE layer.
        parallelism: How the model is split over devices.

    Raises:
        BadInputError: If the model does not allow this split.
        NotAvailableError: If it is not known how a layer is split.
    """
    weights = step_weights(spec, parallelism)
    always = weights.attention + weights.router + weights.shared_and_dense + weights.norms + weights.lm_head
    return StepBytes(
        non_expert_weights=always + batch * weights.embedding_row,
        expert_weights=round(float(np.sum(weights.expert)) * experts),
        kv_read=batch * kv_bytes(spec, context, parallelism),
    )


def expected_distinct_experts(experts: int, top_k: float, tokens: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Distinct experts that so many tokens use under uniform routing, N·(1 - (1 - k/N)^T), in the shape of tokens."""
    return np.asarray(experts * (1.0 - (1.0 - top_k / experts) ** np.asarray(tokens, np.float64)), np.float64)
