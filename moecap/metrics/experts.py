"""How a model used its experts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moecap.metrics.value import Metric, absent, measured
from moecap.models.accounting import expected_distinct_experts
from moecap.models.spec import MoeFfn
from moecap.observations.reader import Routing

__all__ = [
    "DistinctExperts",
    "ExpertLoad",
    "ExpertShape",
    "distinct_references",
    "expert_counts",
    "expert_load",
    "expert_metrics",
]

UNITS = {
    "experts.distinct_mean": "experts",
    "experts.distinct_expected_uniform": "experts",
    "experts.distinct_upper_bound": "experts",
    "experts.distinct_lower_bound": "experts",
    "experts.load_entropy": "1",
    "experts.load_gini": "1",
    "experts.load_max_over_mean": "1",
}


@dataclass(frozen=True, slots=True)
class ExpertShape:
    """Experts of one MoE layer: how many there are, how many a token selects, how many more have no weights."""

    experts: int
    top_k: int
    zero_experts: int = 0

    @classmethod
    def of(cls, layer: MoeFfn) -> ExpertShape:
        """The shape of a layer of a model."""
        return cls(layer.experts, layer.top_k, layer.zero_experts)


@dataclass(frozen=True, slots=True)
class DistinctExperts:
    """What stands beside the measured distinct experts of one MoE layer, each [steps].

    Attributes:
        uniform: Expected if tokens chose uniformly, N(1 - (1 - k/N)^T), among N + Z where Z experts have no weights.
        lower: k, if all tokens of a step chose the same; less up to Z that have no weights.
        upper: min(T k, N), if they overlapped as little as they can.
    """

    uniform: npt.NDArray[np.float64]
    lower: npt.NDArray[np.float64]
    upper: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ExpertLoad:
    """How evenly the selections of each MoE layer fall on its experts.

    Attributes:
        relative: Selections of each expert as a multiple of an even share, 0 where a layer has no such expert,
            [MoE layers, experts]; the heat map.
        entropy: Entropy of the load over ln N: 1 is even, 0 is one expert for all, [MoE layers].
        gini: Gini coefficient of the load, 0 is even, 1 - 1/N is one expert for all, [MoE layers].
        max_over_mean: The busiest expert as a multiple of an even share, 1 to N, [MoE layers].
    """

    relative: npt.NDArray[np.float64]
    entropy: npt.NDArray[np.float64]
    gini: npt.NDArray[np.float64]
    max_over_mean: npt.NDArray[np.float64]


def expert_counts(routing: Routing, steps: npt.NDArray[np.bool_], experts: int) -> npt.NDArray[np.int64]:
    """How often each expert with weights of each MoE layer was selected.

    Args:
        routing: Selected experts of each token.
        steps: Which steps count, [steps].
        experts: Experts of a layer.

    Returns:
        [MoE layers, experts].
    """
    chosen = routing.experts[steps[routing.token_step]].astype(np.int64)
    layers = chosen.shape[1]
    flat = (chosen + np.arange(layers)[None, :, None] * experts)[chosen < experts]
    return np.bincount(flat, minlength=layers * experts).reshape(layers, experts)


def expert_load(counts: npt.NDArray[np.int64], shapes: Sequence[ExpertShape]) -> ExpertLoad:
    """The evenness of the load of each layer.

    Args:
        counts: Selections of each expert, [MoE layers, experts of the largest layer]; some in every layer.
        shapes: Experts of each MoE layer.
    """
    experts = np.array([shape.experts for shape in shapes])
    share = counts / counts.sum(1, keepdims=True)
    logs = np.log(share, where=share > 0, out=np.zeros_like(share))
    # ln 1 = 0: the load of a single expert is even
    entropy = np.where(experts > 1, -(share * logs).sum(1) / np.log(np.maximum(experts, 2)), 1.0)
    # The mean difference of two experts over twice their mean, from ranks in order of load. Experts that a smaller
    # layer lacks have no load, stand first and shift the ranks of its own.
    width = counts.shape[1]
    rank = np.arange(1, width + 1)[None, :] - (width - experts)[:, None]
    gini = ((2 * rank - experts[:, None] - 1) * np.sort(share, axis=1)).sum(1) / experts
    relative = share * experts[:, None]
    return ExpertLoad(relative, entropy, gini, relative.max(1))


def distinct_references(shape: ExpertShape, tokens: npt.NDArray[np.int64]) -> DistinctExperts:
    """Expectation and bounds of the distinct experts of one layer in each step.

    Args:
        shape: Experts of the layer.
        tokens: Tokens of each step, [steps].
    """
    used = shape.top_k * shape.experts / (shape.experts + shape.zero_experts)
    return DistinctExperts(
        uniform=expected_distinct_experts(shape.experts, used, tokens),
        lower=np.full(len(tokens), float(max(shape.top_k - shape.zero_experts, 0))),
        upper=np.minimum(tokens * shape.top_k, shape.experts).astype(np.float64),
    )


def expert_metrics(
    distinct: npt.NDArray[np.integer[Any] | np.floating[Any]] | None,
    tokens: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64] | None,
    shapes: Sequence[ExpertShape],
) -> dict[str, Metric]:
    """Distinct experts a decode step and the evenness of the load, means over MoE layers.

    Args:
        distinct: Distinct experts, [decode steps, MoE layers]; ``None`` where they were not observed.
        tokens: Tokens of each decode step, [decode steps].
        counts: Selections of each expert over the load, [MoE layers, experts].
        shapes: Experts of each MoE layer; none for a dense model.
    """
    if not shapes:
        return {name: absent(unit, "the model is dense: it has no routed experts") for name, unit in UNITS.items()}
    values: dict[str, tuple[float, int]] = {}
    n = len(tokens)
    if distinct is not None and n:
        values["experts.distinct_mean"] = float(distinct.mean()), n
    if n:
        kinds = [(distinct_references(shape, tokens), count) for shape, count in Counter(shapes).items()]
        for name, part in (("expected_uniform", "uniform"), ("upper_bound", "upper"), ("lower_bound", "lower")):
            mean = sum(float(getattr(r, part).mean()) * count for r, count in kinds) / len(shapes)
            values[f"experts.distinct_{name}"] = mean, n
    if counts is not None and counts.sum():
        n, load = int(counts.sum()), expert_load(counts, shapes)
        values["experts.load_entropy"] = float(load.entropy.mean()), n
        values["experts.load_gini"] = float(load.gini.mean()), n
        values["experts.load_max_over_mean"] = float(load.max_over_mean.mean()), n
    return {
        name: measured(values[name][0], unit, values[name][1])
        if name in values
        else absent(unit, "no decode step with captured experts")
        for name, unit in UNITS.items()
    }
