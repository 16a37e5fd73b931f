"""How the experts of each step are known: measured by the engine, reconstructed from arrivals, or estimated.

An engine in our hands records its steps and the experts of each. One that only tells the experts of a request's tokens
leaves the steps to be reconstructed. Where nothing is told, a step of T tokens is counted with the experts that it
would select under uniform routing, N(1 - (1 - k/N)^T), between the fewest, k, and the most, min(T k, N).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from moecap.metrics.experts import ExpertShape, distinct_references
from moecap.metrics.reconstruction import ReconstructedSteps, reconstruct_steps
from moecap.metrics.value import Metric, absent, measured
from moecap.models.spec import ModelSpec
from moecap.observations.reader import Observations, Ragged, RequestRouting, Routing, Steps

__all__ = ["ExpertEstimate", "RoutingSource", "SeenSteps", "estimated_experts", "reconstruction_metrics", "seen_steps"]

RoutingSource = Literal["measured", "reconstructed", "estimated"]

LOCKSTEP = 0.95
"""Least share of tokens that must arrive in lockstep for reconstructed steps to be more than an estimate."""

BLOCK_CELLS = 20_000_000
"""Cells of (step, layer, expert) that are worked on at a time."""


@dataclass(frozen=True, slots=True)
class ExpertEstimate:
    """Distinct experts of each step and MoE layer where none were observed, each a list a step of the layers.

    Attributes:
        fewest: All tokens select the same ones.
        uniform: Expected where each selects at random.
        most: They overlap as little as they can.
    """

    fewest: Ragged
    uniform: Ragged
    most: Ragged


@dataclass(frozen=True, slots=True)
class SeenSteps:
    """The observations with the steps of the load, whoever told them, and the distinct experts of each.

    Attributes:
        observations: The observations; the steps of the load are recorded or reconstructed.
        source: How the experts of the load's steps are known; ``None`` for a dense model, or without steps.
        estimate: The range of the distinct experts where none were observed; the steps then hold the expectation.
        reconstructed: Whether the load's steps are reconstructed.
        lockstep: Share of the tokens that arrived in lockstep, where they are.
        left_out: Reconstructed steps that are left out, as a request in them has no routed experts.
        problem: Why the load has no steps; empty where it has.
    """

    observations: Observations
    source: RoutingSource | None = None
    estimate: ExpertEstimate | None = None
    reconstructed: bool = False
    lockstep: float | None = None
    left_out: int = 0
    problem: str = ""


def seen_steps(
    observations: Observations, spec: ModelSpec, most_tokens: int | None = None, *, projected: bool = False
) -> SeenSteps:
    """The steps of the load as they are recorded, else as they can be reconstructed.

    Args:
        observations: What the run observed.
        spec: The model.
        most_tokens: Tokens that the engine feeds in one step at most, where that is known.
        projected: Whether the steps are those of a projection, whose experts are those of its routing model.
    """
    steps = observations.steps
    if projected:
        known = bool((steps.stage == "load").any())
        source: RoutingSource | None = "estimated" if known and spec.is_moe else None
        return SeenSteps(observations, source, problem="" if known else "nothing was projected")
    if (steps.stage == "load").any():
        if steps.distinct_experts.lengths().any():
            return SeenSteps(observations, "measured")
        return _estimated(SeenSteps(observations), spec)
    requests = observations.requests[observations.requests["stage"] == "load"]
    if requests.empty:
        return SeenSteps(observations, problem="no request of the load was sent")
    found = reconstruct_steps(requests, observations.chunks, most_tokens)
    if isinstance(found, str):
        return SeenSteps(observations, problem=found)
    # what an engine recorded before it was lost, such as its warm-up, are no steps of the load, nor is their routing
    load = replace(observations, steps=found.steps, routing=None)
    seen = SeenSteps(load, reconstructed=True, lockstep=found.lockstep)
    told = observations.request_routing
    return _estimated(seen, spec) if told is None else _joined(seen, told, found, spec)


def _joined(seen: SeenSteps, told: RequestRouting, found: ReconstructedSteps, spec: ModelSpec) -> SeenSteps:
    """Reconstructed steps with the experts of the tokens that each fed; steps with a token of none are left out."""
    if not spec.moe_layers:
        return seen
    rows, token_step = _fed(told, found.steps)
    whole = np.bincount(token_step, minlength=len(found.steps)) == found.steps.tokens()
    if not whole.any():
        return _estimated(seen, spec)
    kept, chosen, number = found.steps.where(whole), whole[token_step], np.cumsum(whole) - 1
    routing = Routing(told.experts[rows[chosen]], number[token_step[chosen]].astype(np.int32), told.capture)
    kept = replace(kept, distinct_experts=_distinct(routing, len(kept), spec))
    return replace(
        seen,
        observations=replace(seen.observations, steps=kept, routing=routing),
        source="reconstructed" if found.lockstep >= LOCKSTEP else "estimated",
        left_out=int((~whole).sum()),
    )


def _estimated(seen: SeenSteps, spec: ModelSpec) -> SeenSteps:
    """The same with the experts that each step is expected to select; a dense model selects none."""
    if not spec.moe_layers:
        return seen
    steps = seen.observations.steps
    estimate = estimated_experts(spec, steps.tokens())
    told = replace(seen.observations, steps=replace(steps, distinct_experts=estimate.uniform))
    return replace(seen, observations=told, source="estimated", estimate=estimate)


def reconstruction_metrics(seen: SeenSteps) -> dict[str, Metric]:
    """How well the steps could be reconstructed: ``steps.lockstep`` and ``steps.left_out``."""
    if not seen.reconstructed or seen.lockstep is None:
        reason = seen.problem or "the engine recorded its steps"
        return {"steps.lockstep": absent("1", reason), "steps.left_out": absent("steps", reason)}
    n = len(seen.observations.steps)
    return {
        "steps.lockstep": measured(seen.lockstep, "1", n),
        "steps.left_out": measured(seen.left_out, "steps", n + seen.left_out),
    }


def estimated_experts(spec: ModelSpec, tokens: npt.NDArray[np.int64]) -> ExpertEstimate:
    """Expectation and bounds of the distinct experts with weights of each step.

    Args:
        spec: The model.
        tokens: Tokens of each step, [steps].
    """
    shapes = [ExpertShape.of(layer) for layer in spec.moe_layers]
    references = {shape: distinct_references(shape, tokens) for shape in set(shapes)}
    offsets = np.arange(len(tokens) + 1, dtype=np.int64) * len(shapes)

    def column(name: str) -> Ragged:
        counts = np.stack([getattr(references[shape], name) for shape in shapes], 1)
        return Ragged(np.maximum(counts, 1.0).reshape(-1), offsets)

    return ExpertEstimate(*map(column, ("lower", "uniform", "upper")))


def _fed(told: RequestRouting, steps: Steps) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the routed experts whose token was fed in a step, and that step, each [fed tokens]."""
    step = np.repeat(np.arange(len(steps)), steps.seq_new.lengths())
    width = int(max(told.token_position.max(initial=0), steps.seq_start.values.max())) + 1
    begins = steps.seq_request.values.astype(np.int64) * width + steps.seq_start.values
    order = np.argsort(begins)
    places = told.token_request.astype(np.int64) * width + told.token_position
    span = order[np.maximum(np.searchsorted(begins[order], places, side="right") - 1, 0)]
    behind = places - begins[span]
    own = steps.seq_request.values[span] == told.token_request
    fed = np.flatnonzero(own & (behind >= 0) & (behind < steps.seq_new.values[span]))
    return fed, step[span[fed]]


def _distinct(routing: Routing, steps: int, spec: ModelSpec) -> Ragged:
    """Distinct experts with weights of each step and MoE layer."""
    layers, experts = len(spec.moe_layers), max(layer.experts for layer in spec.moe_layers)
    order = np.argsort(routing.token_step, kind="stable")
    step, chosen = routing.token_step[order], routing.experts[order]
    counts = np.empty((steps, layers), np.int64)
    block = max(1, BLOCK_CELLS // (layers * experts))
    for begin in range(0, steps, block):
        end = min(begin + block, steps)
        part = slice(*np.searchsorted(step, [begin, end]))
        rows, ids = step[part] - begin, chosen[part]
        seen = np.zeros((end - begin, layers, experts), bool)
        cell = np.broadcast_to(rows[:, None, None], ids.shape), np.broadcast_to(np.arange(layers)[:, None], ids.shape)
        real = ids < experts  # the rest are experts without weights
        seen[cell[0][real], cell[1][real], ids[real]] = True
        counts[begin:end] = seen.sum(2)
    return Ragged(counts.reshape(-1), np.arange(steps + 1, dtype=np.int64) * layers)
