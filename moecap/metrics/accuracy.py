"""Accuracy of the tasks' samples, with Wilson intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from moecap.errors import BadInputError
from moecap.metrics.value import Metric, measured

__all__ = ["accuracy_metrics", "wilson"]

Z95 = 1.959963984540054


def wilson(successes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson score interval of a proportion (E. B. Wilson, 1927).

    Args:
        successes: How many of n succeeded.
        n: How many were tried, at least 1.
        z: Quantile of the normal distribution; the default gives 95 %.
    """
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def accuracy_metrics(samples: Iterable[Mapping[str, Any]]) -> dict[str, Metric]:
    """``accuracy.TASK`` and the task's other scores, each the mean of its samples' 0/1 scores.

    Args:
        samples: Rows with ``task`` and ``scores`` (name → 0 or 1; the headline score is named ``accuracy``).
    """
    scores: dict[str, list[int]] = {}
    for sample in samples:
        for name, score in sample["scores"].items():
            key = f"accuracy.{sample['task']}" + ("" if name == "accuracy" else f"_{name}")
            if score not in (0, 1):
                raise BadInputError(f"samples.jsonl: a score of {score!r} for {sample['task']}; scores are 0 or 1")
            scores.setdefault(key, []).append(int(score))
    return {
        name: measured(sum(values) / len(values), "1", len(values), *wilson(sum(values), len(values)))
        for name, values in scores.items()
    }
