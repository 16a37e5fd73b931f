"""What one device does in a step: bytes, seconds of computing at peak and messages, by class of work.

A step feeds one token to each of B sequences at a context C, and besides them P tokens of prompts. Everything is for
one device of the busiest stage, taken as an even share; arrays hold one entry a step, so that thousands of steps are
projected at once. No efficiency is in here: that is :mod:`moecap.projection.step_time`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from moecap.dtypes import dtype_bytes
from moecap.models.spec import DenseFfn, Matrix, MoeFfn, WeightFormat
from moecap.models.step import attention_flops, kv_read_bytes, step_weights
from moecap.projection.coefficients import calibrated
from moecap.projection.collectives import device_link, messages
from moecap.projection.deployment import Deployment
from moecap.projection.kernels import eager_kernels, launched_kernels, most_distinct, padded_rows, replayed_tokens
from moecap.projection.placement import PlacedWork, on_device, placed_work
from moecap.projection.rates import product_rate
from moecap.projection.routing import Popularity

__all__ = ["CLASSES", "StepShape", "StepWork", "WorkModel"]

Floats = npt.NDArray[np.float64]

CLASSES = ("attention", "scores", "prompt_scores", "experts", "network", "head")
"""Classes of work: projections of attention; scores and values of decode tokens and of prompts; routed experts;
routers, shared experts and dense networks; the output projection."""

_LOGIT_BYTES, _LOGIT_PASSES = 4, 3
_RESIDUAL_ROWS = 6
"""Rows of the hidden size that norms and residual additions of a layer read or write for a token."""


@dataclass(frozen=True, slots=True, eq=False)
class StepShape:
    """Steps to project, each field float64 [n].

    Attributes:
        sequences: B, sequences that decode one token.
        context: C, entries in the cache of each of them after the step.
        prompt_tokens: P, tokens of prompts in the step.
        prompts: Prompts that these tokens belong to.
        prompt_start: Entries in the cache of each of these prompts before the step.
    """

    sequences: Floats
    context: Floats
    prompt_tokens: Floats
    prompts: Floats
    prompt_start: Floats

    @classmethod
    def of(
        cls,
        sequences: npt.ArrayLike,
        context: npt.ArrayLike,
        prompt_tokens: npt.ArrayLike = 0.0,
        prompts: npt.ArrayLike = 1.0,
        prompt_start: npt.ArrayLike = 0.0,
    ) -> StepShape:
        """Shapes from numbers or arrays of one length."""
        given = (np.asarray(a, np.float64) for a in (sequences, context, prompt_tokens, prompts, prompt_start))
        return cls(*(np.atleast_1d(a) for a in np.broadcast_arrays(*given)))

    @classmethod
    def joined(cls, parts: Sequence[StepShape]) -> StepShape:
        """The steps of all parts, one part after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


@dataclass(frozen=True, slots=True, eq=False)
class StepWork:
    """The work of steps on one device.

    Attributes:
        bytes: Bytes from memory by class, float64 [n] each.
        compute: Seconds at peak by class and rate, float64 [n] each.
        activation_bytes: Bytes of activations that go through memory between products, float64 [n].
        calls: Collective operations, float64 [n].
        wire_bytes: Bytes that a device sends in them, float64 [n].
        ranks: Devices that take part in a collective.
        kernels: Kernels that a step runs on a device (:func:`launched_kernels`).
        eager: Kernels that the host launches one by one, float64 [n]; 0 where a step has no tokens of prompts.
        sequences: Rows of logits of one replica, float64 [n].
        tokens: Tokens, float64 [n].
        bandwidth: Peak of the memory in bytes/s.
        link: Peak of the link between devices in bytes/s and direction; 0 where there is one device.
        switched: Whether that link is one for devices (NVLink and the like), not the host's bus.
        placed: What the steps ask of memories and processors outside the devices; ``None`` where that is nothing.
    """

    bytes: Mapping[str, Floats]
    compute: Mapping[tuple[str, str], Floats]
    activation_bytes: Floats
    calls: Floats
    wire_bytes: Floats
    ranks: int
    kernels: int
    eager: Floats
    sequences: Floats
    tokens: Floats
    bandwidth: float
    link: float
    switched: bool
    placed: PlacedWork | None = None


class WorkModel:
    """The work of a deployment's steps; what does not depend on the step is counted once.

    Args:
        deployment: The model, the devices and the split.

    Raises:
        BadInputError: If the model does not allow the split.
        NotAvailableError: If the profile lacks a rate or a bandwidth.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        spec, split = deployment.spec, deployment.parallelism
        self._stage = split.tensor * split.data
        self._popularity = deployment.popularity or Popularity(calibrated().shared.popularity)
        self._weights = step_weights(spec, split)
        self._width = dtype_bytes(deployment.activations)
        self._moe = [(ffn, count) for ffn, count in _ffns(deployment) if isinstance(ffn, MoeFfn)]
        self._flops: dict[tuple[str, str], float] = {}
        self._count_products()
        self._kernels, self._eager = launched_kernels(spec), eager_kernels(spec)
        self._moved = self._activation_elements() * self._width
        profile = deployment.hardware
        bandwidth = profile.peak_bandwidth
        assert bandwidth is not None
        self._bandwidth = bandwidth.value
        self._link, self._switched = device_link(deployment)

    def work(self, shape: StepShape) -> StepWork:
        """The work of steps of these shapes."""
        deployment, weights = self.deployment, self._weights
        spec, split, stage = deployment.spec, deployment.parallelism, self._stage
        tokens = shape.sequences + shape.prompt_tokens
        logits = shape.sequences + np.where(shape.prompt_tokens > 0, shape.prompts, 0.0)
        compute: dict[tuple[str, str], Floats] = {}
        for (name, rate), seconds in self._flops.items():
            compute[name, rate] = seconds * (logits if name == "head" else tokens)
        expert_bytes = np.zeros_like(tokens)
        for ffn, count in self._moe:
            distinct = self._popularity.distinct(ffn.experts, ffn.used_experts, tokens)
            busiest = self._popularity.heaviest_share(ffn.experts, ffn.used_experts, split.expert, tokens)
            rows = padded_rows(tokens * ffn.used_experts, distinct)
            one = sum(m.bytes for m in ffn.expert_matrices) + ffn.expert_other_params * dtype_bytes(spec.vector_dtype)
            expert_bytes += count * most_distinct(distinct, ffn.experts, split.expert) * split.expert * one / stage
            for matrix in ffn.expert_matrices:
                rate, peak = product_rate(matrix.format, deployment.activations, deployment.hardware)
                padded = count * busiest * rows * 2.0 * matrix.params / stage / peak
                compute["experts", rate] = compute.get(("experts", rate), np.zeros_like(tokens)) + padded
        rate, peak = self._score_rate()
        context = np.maximum(np.rint(shape.context), 1).astype(np.int64)
        one_token = np.ones_like(context)
        absorbed = np.ones_like(context, dtype=np.bool_)
        decode = np.where(shape.sequences > 0, shape.sequences, 0.0)
        kv = decode * kv_read_bytes(spec, context - 1, one_token, split) / stage
        scores = decode * attention_flops(spec, context - 1, one_token, absorbed) / stage / peak
        prompts = np.maximum(shape.prompts, 1e-9)
        fed = np.rint(shape.prompt_tokens / prompts).astype(np.int64)
        start = np.rint(shape.prompt_start).astype(np.int64)
        prompt_kv = prompts * kv_read_bytes(spec, start, fed, split) / stage
        prompt_scores = prompts * attention_flops(spec, start, fed, ~absorbed) / stage / peak
        compute["scores", rate] = scores
        compute["prompt_scores", rate] = prompt_scores
        placed = self._place(shape.prompt_tokens > 0, tokens, expert_bytes, compute)
        calls, wire_bytes = messages(deployment, tokens, switched=self._switched)
        most = replayed_tokens(deployment.engine, deployment.replayed_tokens)
        eager = np.where(tokens / split.data <= most, *map(float, self._eager))
        logit_bytes = logits * spec.vocab_size * _LOGIT_BYTES * _LOGIT_PASSES / stage
        return StepWork(
            bytes={
                "attention": np.full_like(tokens, (weights.attention + weights.norms) / stage),
                "scores": kv,
                "prompt_scores": prompt_kv,
                "experts": expert_bytes,
                "network": np.full_like(tokens, (weights.router + weights.shared_and_dense) / stage),
                "head": np.where(logits > 0, weights.lm_head / stage, 0.0),
            },
            compute=compute,
            activation_bytes=self._moved * tokens + logit_bytes,
            calls=np.full_like(tokens, calls),
            wire_bytes=wire_bytes,
            ranks=stage,
            kernels=self._kernels,
            eager=np.where(shape.prompt_tokens > 0, eager, 0.0),
            sequences=logits / split.data,
            tokens=tokens,
            bandwidth=self._bandwidth,
            link=self._link,
            switched=self._switched,
            placed=placed,
        )

    def _place(
        self,
        prompt: npt.NDArray[np.bool_],
        tokens: Floats,
        expert_bytes: Floats,
        compute: dict[tuple[str, str], Floats],
    ) -> PlacedWork | None:
        """What a placement asks of the host; leaves to the devices what they do of the experts (in place)."""
        placement, weights, stage = self.deployment.placement, self._weights, self._stage
        if placement is None or not placement.layout.spread:
            return None
        flops = tokens * sum(2.0 * n * f.used_experts * sum(m.params for m in f.expert_matrices) for f, n in self._moe)
        always = weights.attention + weights.norms + weights.router + weights.shared_and_dense + weights.lm_head
        placed = placed_work(
            placement,
            self.deployment.hardware,
            weights=always,
            experts=expert_bytes * stage,
            flops=flops,
            prompt=prompt,
        )
        own = on_device(placement, prompt)
        expert_bytes *= own
        compute |= {key: seconds * own for key, seconds in compute.items() if key[0] == "experts"}
        return placed

    def _count_products(self) -> None:
        split = self.deployment.parallelism
        for layer, count in self.deployment.spec.groups:
            for matrix in layer.attention.matrices:
                self._add("attention", matrix, count * split.matrix_copies(matrix, layer.attention))
            if isinstance(layer.ffn, DenseFfn):
                for matrix in layer.ffn.matrices:
                    self._add("network", matrix, count)
            else:
                for matrix in (layer.ffn.router, *layer.ffn.shared):
                    whole = matrix.whole or matrix in (layer.ffn.router, layer.ffn.shared_gate)
                    self._add("network", matrix, count * (split.tensor if whole else 1))
        self._add("head", self.deployment.spec.lm_head, 1)

    def _add(self, name: str, matrix: Matrix, times: float) -> None:
        """Add the seconds at peak that one token takes on one device, its share over the devices of a stage."""
        rate, peak = product_rate(matrix.format, self.deployment.activations, self.deployment.hardware)
        seconds = 2.0 * matrix.params * times / self._stage / peak
        self._flops[name, rate] = self._flops.get((name, rate), 0.0) + seconds

    def _score_rate(self) -> tuple[str, float]:
        activations = self.deployment.activations
        return product_rate(WeightFormat(activations), activations, self.deployment.hardware)

    def _activation_elements(self) -> float:
        """Elements that a token moves through the memory of one device between products, over all layers."""
        spec, split = self.deployment.spec, self.deployment.parallelism
        hidden, total = spec.hidden_size, 0.0
        ranks, share = (split.tensor, split.data) if split.whole_replicas else (self._stage, 1)
        for layer, count in spec.groups:
            elements = float(_RESIDUAL_ROWS * hidden) / split.data
            elements += sum(_moved(m, hidden, split.tensor) for m in layer.attention.matrices) / split.data
            if isinstance(layer.ffn, DenseFfn):
                elements += sum(_moved(m, hidden, ranks) for m in layer.ffn.matrices) / share
            else:
                used = layer.ffn.used_experts
                width = self._stage / split.expert
                experts = sum(_moved(m, hidden, width) for m in layer.ffn.expert_matrices)
                elements += used * experts / split.expert
                elements += sum(_moved(m, hidden, ranks) for m in layer.ffn.shared) / share
            total += count * elements
        return total


def _ffns(deployment: Deployment) -> list[tuple[DenseFfn | MoeFfn, int]]:
    counts: dict[DenseFfn | MoeFfn, int] = {}
    for layer, count in deployment.spec.groups:
        counts[layer.ffn] = counts.get(layer.ffn, 0) + count
    return list(counts.items())


def _moved(matrix: Matrix, hidden: int, ranks: float) -> float:
    """Elements of an input and an output row of a matrix on one device: what is as wide as the stream is not split."""
    if matrix.whole:
        return matrix.rows + matrix.columns
    whole = hidden if hidden in (matrix.rows, matrix.columns) else 0
    return whole + (matrix.rows + matrix.columns - whole) / ranks
