"""How a model used its experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moecap.metrics.value import Metric, absent, measured
from moecap.models.accounting import expected_distinct_experts
from moecap.observations.reader import Routing

__all__ = ["ExpertShape", "expert_counts", "expert_metrics"]


@dataclass(frozen=True, slots=True)
class ExpertShape:
    """Experts of the MoE layers: how many there are and how many a token selects."""

    experts: int
    top_k: int


def expert_counts(routing: Routing, steps: npt.NDArray[np.bool_], experts: int) -> npt.NDArray[np.int64]:
    """How often each expert of each MoE layer was selected.

    Args:
        routing: Selected experts of each token.
        steps: Which steps count, [steps].
        experts: Experts of a layer.

    Returns:
        [MoE layers, experts].
    """
    chosen = routing.experts[steps[routing.token_step]].astype(np.int64)
    layers = chosen.shape[1]
    flat = (chosen + np.arange(layers)[None, :, None] * experts).ravel()
    return np.bincount(flat, minlength=layers * experts).reshape(layers, experts)


def expert_metrics(
    distinct: npt.NDArray[np.integer[Any]] | None,
    tokens: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64] | None,
    shape: ExpertShape | None,
) -> dict[str, Metric]:
    """Distinct experts a decode step and the evenness of the load.

    Args:
        distinct: Distinct experts, [decode steps, MoE layers].
        tokens: Tokens of each decode step, [decode steps].
        counts: Selections of each expert over the load, [MoE layers, experts].
        shape: Experts of the model; ``None`` for a dense one.
    """
    units = {
        "experts.distinct_mean": "experts",
        "experts.distinct_expected_uniform": "experts",
        "experts.distinct_upper_bound": "experts",
        "experts.distinct_lower_bound": "experts",
        "experts.load_entropy": "1",
        "experts.load_max_over_mean": "1",
    }
    if shape is None:
        return {name: absent(unit, "the model is dense: it has no routed experts") for name, unit in units.items()}
    result = {name: absent(unit, "no decode step with captured experts") for name, unit in units.items()}
    if distinct is not None and len(distinct):
        n = len(distinct)
        upper = np.minimum(tokens * shape.top_k, shape.experts)
        result["experts.distinct_mean"] = measured(distinct.mean(), "experts", n)
        uniform = expected_distinct_experts(shape.experts, shape.top_k, tokens)
        result["experts.distinct_expected_uniform"] = measured(uniform.mean(), "experts", n)
        result["experts.distinct_upper_bound"] = measured(upper.mean(), "experts", n)
        result["experts.distinct_lower_bound"] = measured(shape.top_k, "experts", n)
    if counts is not None and counts.sum():
        share = counts / counts.sum(1, keepdims=True)
        logs = np.log(share, where=share > 0, out=np.zeros_like(share))
        entropy = -(share * logs).sum(1) / np.log(shape.experts) if shape.experts > 1 else np.ones(len(share))
        n = int(counts.sum())
        result["experts.load_entropy"] = measured(entropy.mean(), "1", n)
        result["experts.load_max_over_mean"] = measured((share.max(1) * shape.experts).mean(), "1", n)
    return result
