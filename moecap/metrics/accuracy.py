"""Accuracy of the tasks' samples: means with standard errors and 95 % intervals, and what became of the questions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from moecap.errors import BadInputError
from moecap.metrics.bootstrap import interval
from moecap.metrics.value import Metric, absent, measured

__all__ = ["JUDGE_FAILED", "UNRIGHT", "Z95", "accuracy_metrics", "graded", "is_score", "mean_metric", "wilson"]

Z95 = 1.959963984540054

UNRIGHT = ("unanswered", "truncated", "failed")
"""What can become of a question that is to be answered by generation, beside an answer; all of it counts as wrong."""


JUDGE_FAILED = "judge_failed"
"""Share of the questions on which a judge gave no verdict; they have no score."""


def wilson(successes: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Wilson score interval of a proportion (E. B. Wilson, 1927).

    Args:
        successes: How many of n succeeded; a mean over repetitions need not be whole.
        n: How many were tried, above 0; of items that are alike as many as would be independent.
        z: Quantile of the normal distribution; the default gives 95 %.
    """
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def is_score(name: str) -> bool:
    """Whether a metric ``accuracy.*`` is a score, and not its standard error or the share of what has none."""
    return not name.endswith(("_stderr", *(f"_{what}" for what in (*UNRIGHT, JUDGE_FAILED))))


def graded(tasks: Iterable[str], metrics: Iterable[str]) -> tuple[str, ...]:
    """The tasks that give an accuracy, or would have: not a method that gives other numbers alone.

    Args:
        tasks: Names of tasks.
        metrics: Names of the metrics of the result.
    """
    names = tuple(metrics)
    others = {t for t in tasks if f"accuracy.{t}" not in names and any(n.startswith(f"task.{t}_") for n in names)}
    return tuple(task for task in tasks if task not in others)


def accuracy_metrics(samples: Iterable[Mapping[str, Any]]) -> dict[str, Metric]:
    """``accuracy.TASK`` and the task's other scores, each the mean over its samples, with ``*_stderr`` beside it.

    The interval of scores that are all 0 or 1 is Wilson's; that of shares between them is by bootstrap. Where answers
    are generated, the shares of those that are ``_unanswered``, ``_truncated`` and ``_failed`` follow.

    Args:
        samples: Rows with ``task`` and ``scores`` (name → 0 to 1; the headline score is named ``accuracy``), and
            ``outcome`` where answers are generated.

    Raises:
        BadInputError: If a score or an outcome is none.
    """
    scores: dict[str, list[float]] = {}
    for sample in samples:
        task = f"accuracy.{sample['task']}"
        for name, score in sample["scores"].items():
            if not isinstance(score, int | float) or not 0 <= score <= 1:
                raise BadInputError(f"samples.jsonl: a score of {score!r} for {sample['task']}; scores are 0 to 1")
            scores.setdefault(task if name == "accuracy" else f"{task}_{name}", []).append(float(score))
        if (outcome := sample.get("outcome")) is not None:
            if outcome not in ("answered", *UNRIGHT):
                raise BadInputError(f"samples.jsonl: an outcome {outcome!r} for {sample['task']}; it is none")
            for name in UNRIGHT:
                scores.setdefault(f"{task}_{name}", []).append(float(outcome == name))
    metrics: dict[str, Metric] = {}
    for name in scores:
        if (task := name.removesuffix(f"_{JUDGE_FAILED}")) not in (name, *scores):
            metrics[task] = absent("1", "the judge gave no verdict on any question")
    for name, values in scores.items():
        metrics[name] = mean_metric(values)
        if is_score(name):
            metrics[f"{name}_stderr"] = _standard_error(values)
    return metrics


def mean_metric(values: Sequence[float]) -> Metric:
    """The mean of numbers with its 95 % interval: Wilson's where all are 0 or 1, by bootstrap else."""
    n, total = len(values), math.fsum(values)
    if all(value in (0, 1) for value in values):
        return measured(total / n, "1", n, *wilson(round(total), n))
    return measured(total / n, "1", n, *interval(np.array(values), lambda drawn: np.asarray(drawn.mean(-1))))


def _standard_error(values: list[float]) -> Metric:
    """Standard error of the mean, from the spread of the sample."""
    n = len(values)
    if n < 2:
        return absent("1", "one item has no spread", n)
    mean = math.fsum(values) / n
    return measured(math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n), "1", n)
