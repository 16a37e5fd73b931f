"""What each engine step had to read and compute: bytes and floating-point operations, by class.

The counts follow MoE-CAP (arXiv 2412.07067, section 4): a step reads the experts that at least one of its tokens
selected, and computes with the experts that each token selected. Unlike the paper's eq. 4 the router, norms,
language-model head and embedding rows are counted too; ``paper_bytes`` keeps to eq. 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from moecap.errors import BadInputError
from moecap.models.parallelism import ONE_DEVICE, Parallelism
from moecap.models.products import dense_linear_flops, format_names, head_format, linear_flops, score_format
from moecap.models.spec import ModelSpec
from moecap.models.step import (
    StepWeights,
    attention_flops,
    kv_read_bytes,
    lm_head_flops,
    paper_step_weights,
    step_weights,
)
from moecap.observations.reader import Ragged, Steps
from moecap.observations.schema import Phase

__all__ = ["StepBytes", "StepWork", "step_work"]

FloatArray = npt.NDArray[np.float64]

BLOCK = 32_768
"""Steps that are worked on at a time."""


@dataclass(frozen=True, slots=True)
class StepBytes:
    """Bytes that all devices together must read from memory in each step, by class, each [steps]."""

    attention: FloatArray
    router: FloatArray
    experts: FloatArray
    shared_and_dense: FloatArray
    norms: FloatArray
    lm_head: FloatArray
    embedding: FloatArray
    kv: FloatArray

    def total(self) -> FloatArray:
        """Sum of the classes, [steps]."""
        total = np.zeros_like(self.kv)
        for field in fields(self):
            total += getattr(self, field.name)
        return total

    def sums(self, mask: npt.NDArray[np.bool_]) -> dict[str, float]:
        """Bytes of each class over the masked steps."""
        return {f.name: float(getattr(self, f.name)[mask].sum()) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class StepWork:
    """Work of each step, each [steps].

    Attributes:
        bytes: Bytes by class, with the experts that were selected; ``None`` where routing is unknown.
        paper_bytes: Bytes by the paper's eq. 4 alone; ``None`` where routing is unknown.
        dense_bytes: The same as ``bytes.total()`` with all experts read.
        flops_by_format: Useful floating-point operations (multiply and add are two) in each number format.
        dense_flops_by_format: The same with all experts computed for every token.
        tokens: Tokens fed.
        prefill: Steps that only prefill.
        decode: Steps that only decode.
        mixed: Steps that do both.
        score: Steps that score given answers.
    """

    bytes: StepBytes | None
    paper_bytes: FloatArray | None
    dense_bytes: FloatArray
    flops_by_format: Mapping[str, FloatArray]
    dense_flops_by_format: Mapping[str, FloatArray]
    tokens: npt.NDArray[np.int64]
    prefill: npt.NDArray[np.bool_]
    decode: npt.NDArray[np.bool_]
    mixed: npt.NDArray[np.bool_]
    score: npt.NDArray[np.bool_]

    @property
    def flops(self) -> FloatArray:
        """Useful floating-point operations of each step in all formats together, [steps]."""
        return _sum(self.flops_by_format)

    @property
    def dense_flops(self) -> FloatArray:
        """The same with all experts computed for every token, [steps]."""
        return _sum(self.dense_flops_by_format)


def step_work(
    spec: ModelSpec, steps: Steps, parallelism: Parallelism = ONE_DEVICE, activations: str | None = None
) -> StepWork:
    """Bytes and FLOPs of every step.

    Args:
        spec: The model, with the number formats that the engine really held in memory.
        steps: The step records; the layer axis of ``distinct_experts`` counts MoE layers only.
        parallelism: How the model is split over devices. A step is one pass of all of them together, with the
            sequences of all replicas and the experts that any of their tokens selected.
        activations: Number format in which everything is computed whose inputs are not quantised; by default that of
            the model's vectors.

    Raises:
        BadInputError: If a step has more distinct experts than exist, or another number of MoE layers than the model,
            or the model does not allow this split.
        NotAvailableError: If it is not known how a layer is split.
    """
    n = len(steps)
    weights, paper = step_weights(spec, parallelism), paper_step_weights(spec, parallelism)
    tokens, kv, attention, first, last = _sequence_sums(spec, steps, parallelism)
    has_logits = steps.logits_tokens > 0

    def fixed(amount: float) -> FloatArray:
        return np.full(n, float(amount))

    experts_read, paper_experts = _expert_bytes(weights, paper, steps.distinct_experts, has_logits)
    all_experts = float((weights.experts * weights.expert).sum())
    parts = StepBytes(
        attention=fixed(weights.attention),
        router=fixed(weights.router),
        experts=fixed(all_experts) if experts_read is None else experts_read,
        shared_and_dense=fixed(weights.shared_and_dense),
        norms=fixed(weights.norms),
        lm_head=np.where(has_logits, float(weights.lm_head), 0.0),
        embedding=tokens * weights.embedding_row,
        kv=kv,
    )
    paper_bytes = None if paper_experts is None else paper.attention + paper.shared_and_dense + paper_experts + kv
    head = (steps.logits_tokens * float(lm_head_flops(spec))).astype(np.float64)
    computed = activations or spec.vector_dtype
    names, beside = (
        format_names(spec, computed),
        ((score_format(spec, computed), attention), (head_format(spec, computed), head)),
    )
    linear, dense = linear_flops(spec, computed), dense_linear_flops(spec, computed)
    return StepWork(
        bytes=None if experts_read is None else parts,
        paper_bytes=paper_bytes,
        dense_bytes=parts.total() - parts.experts + all_experts,
        flops_by_format={name: _flops(name, tokens, linear, beside) for name in names},
        dense_flops_by_format={name: _flops(name, tokens, dense, beside) for name in names},
        tokens=tokens.astype(np.int64),
        prefill=last == Phase.PREFILL,
        decode=(first == Phase.DECODE) & (last == Phase.DECODE),
        mixed=(first == Phase.PREFILL) & (last == Phase.DECODE),
        score=last == Phase.SCORE,
    )


def _flops(
    name: str, tokens: FloatArray, linear: Mapping[str, int], beside: tuple[tuple[str, FloatArray], ...]
) -> FloatArray:
    """FLOPs of each step in one format: those of every token, and the parts beside them that are in it, [steps]."""
    flops = tokens * linear.get(name, 0)
    for computed, amount in beside:
        if computed == name:
            flops = flops + amount
    return flops


def _sum(by_format: Mapping[str, FloatArray]) -> FloatArray:
    first, *others = by_format.values()
    return sum(others, first)


def _sequence_sums(
    spec: ModelSpec, steps: Steps, parallelism: Parallelism
) -> tuple[FloatArray, FloatArray, FloatArray, npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """Tokens, KV bytes and attention FLOPs of each step, and the lowest and highest phase of its sequences.

    Goes over blocks of steps, so that the temporaries of a long run stay small.
    """
    n = len(steps)
    tokens, kv, attention = np.zeros(n), np.zeros(n), np.zeros(n)
    lowest, highest = np.zeros(n, np.int8), np.zeros(n, np.int8)
    for begin in range(0, n, BLOCK):
        end = min(begin + BLOCK, n)
        offsets = steps.seq_new.offsets[begin:end]
        part = slice(int(offsets[0]), int(steps.seq_new.offsets[end]))
        rows = offsets - offsets[0]
        start = steps.seq_start.values[part].astype(np.int64)
        new = steps.seq_new.values[part].astype(np.int64)
        phase = steps.seq_phase.values[part]
        tokens[begin:end] = np.add.reduceat(new, rows)
        kv[begin:end] = np.add.reduceat(kv_read_bytes(spec, start, new, parallelism), rows)
        attention[begin:end] = np.add.reduceat(attention_flops(spec, start, new, phase == Phase.DECODE), rows)
        lowest[begin:end] = np.minimum.reduceat(phase, rows)
        highest[begin:end] = np.maximum.reduceat(phase, rows)
    return tokens, kv, attention, lowest, highest


def _expert_bytes(
    weights: StepWeights, paper: StepWeights, distinct: Ragged, has_logits: npt.NDArray[np.bool_]
) -> tuple[FloatArray | None, FloatArray | None]:
    """Bytes of the experts that were read in each step, ours and the paper's; ``None`` where routing is unknown.

    Where no logits are asked for, an engine may leave the last layer out, which then reads none.
    """
    layers, n = len(weights.expert), len(has_logits)
    if layers == 0:
        return np.zeros(n), np.zeros(n)
    lengths = distinct.lengths()
    if not lengths.any():
        return None, None
    if (lengths != layers).any():
        found = sorted({int(x) for x in lengths})
        raise BadInputError(
            f"steps.parquet: distinct_experts has {found} layers a step, the model has {layers} MoE layers"
        )
    counts = distinct.values.reshape(n, layers)
    none = np.flatnonzero(counts.min(1) < 1)
    left_out = ~has_logits[none] & (counts[none, :-1].min(1, initial=1) > 0)
    if not left_out.all() or (counts.max(0) > weights.experts).any():
        raise BadInputError(
            f"steps.parquet: {int(counts.max())} distinct experts in a layer that has {int(weights.experts.max())}; "
            "a layer selects between 1 and all of its experts"
        )
    ours, papers = np.zeros(n), np.zeros(n)
    for begin in range(0, n, BLOCK):
        block = counts[begin : begin + BLOCK].astype(np.float64)
        ours[begin : begin + BLOCK] = block @ weights.expert
        papers[begin : begin + BLOCK] = block @ paper.expert
    return ours, papers
