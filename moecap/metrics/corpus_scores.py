"""Scores of a task that are no share of right answers: F1 and correlation over all its answers, perplexities.

A sample holds what one item gives to such a score and the name of the function that joins the items, so that anyone
computes the score again. Intervals are by bootstrap over the items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from moecap.errors import BadInputError
from moecap.metrics.accuracy import mean_metric
from moecap.metrics.bootstrap import interval
from moecap.metrics.value import Metric, absent, measured

__all__ = ["AGGREGATIONS", "corpus_metrics"]

Array = npt.NDArray[np.float64]


def _mean(values: Array) -> Array:
    return np.asarray(values.mean(-1))


def _median(values: Array) -> Array:
    """The upper of the two middle values where their number is even, as the harness takes it."""
    return np.asarray(np.sort(values, -1)[..., values.shape[-1] // 2])


def _perplexity(values: Array) -> Array:
    """Exponential of the negative mean log-likelihood, in nats."""
    return np.asarray(np.exp(-values.mean(-1)))


def _nats(values: Array) -> Array:
    """Negative log-likelihood for each unit (word or byte), of items (log-likelihood, units)."""
    return np.asarray(-values[..., 0].sum(-1) / values[..., 1].sum(-1))


def _weighted_perplexity(values: Array) -> Array:
    return np.asarray(np.exp(_nats(values)))


def _bits_per_byte(values: Array) -> Array:
    return _nats(values) / math.log(2)


def _ratio(values: Array) -> Array:
    """Sum of the points over the sum of what there was to win, of items (points, most points)."""
    return np.asarray(values[..., 0].sum(-1) / values[..., 1].sum(-1))


def _f1(values: Array) -> Array:
    """F1 of class 1, of items (right class, chosen class); 0 where neither names it."""
    gold, chosen = values[..., 0] == 1, values[..., 1] == 1
    both, either = (gold & chosen).sum(-1), gold.sum(-1) + chosen.sum(-1)
    return np.asarray(2 * both / np.maximum(either, 1))


def _matthews(values: Array) -> Array:
    """Matthews' correlation coefficient for any number of classes (Gorodkin 2004); 0 where one side is constant."""
    gold, chosen = values[..., 0], values[..., 1]
    n, right = values.shape[-2], (gold == chosen).sum(-1)
    classes = np.unique(values)
    has, says = (np.stack([(side == c).sum(-1) for c in classes], -1).astype(float) for side in (gold, chosen))
    over = right * n - (has * says).sum(-1)
    under = np.sqrt((n**2 - (says**2).sum(-1)) * (n**2 - (has**2).sum(-1)))
    return np.asarray(np.where(under > 0, over / np.where(under > 0, under, 1), 0.0))


AGGREGATIONS: Mapping[str, tuple[Callable[[Array], Array], int]] = {
    "mean": (_mean, 1),
    "median": (_median, 1),
    "perplexity": (_perplexity, 1),
    "weighted_perplexity": (_weighted_perplexity, 2),
    "bits_per_byte": (_bits_per_byte, 2),
    "ratio": (_ratio, 2),
    "f1": (_f1, 2),
    "matthews": (_matthews, 2),
}
"""Functions from items, [..., n] or [..., n, 2], to a score, and how many numbers an item has."""


def corpus_metrics(samples: Iterable[Mapping[str, Any]]) -> dict[str, Metric]:
    """``task.TASK_NAME`` for each of the samples' ``values``.

    Args:
        samples: Rows with ``task`` and, for such scores, ``values``: name → ``aggregation`` and the item's ``value``, a
            number or a pair of numbers.

    Raises:
        BadInputError: If a value is none of its function's.
    """
    found: dict[str, tuple[str, list[Any]]] = {}
    for sample in samples:
        for name, entry in sample.get("values", {}).items():
            key = f"task.{sample['task']}_{name}"
            aggregation, items = found.setdefault(key, (entry["aggregation"], []))
            if aggregation != entry["aggregation"]:
                raise BadInputError(f"samples.jsonl: {key} is joined by {aggregation} and by {entry['aggregation']}")
            items.append(entry["value"])
    return {key: _metric(key, *of) for key, of in found.items()}


def _metric(key: str, aggregation: str, items: list[Any]) -> Metric:
    if aggregation not in AGGREGATIONS:
        return absent("1", f"moecap cannot join the items again as the task does ({aggregation})", len(items))
    function, width = AGGREGATIONS[aggregation]
    try:
        values = np.array(items, np.float64)
    except (ValueError, TypeError):
        values = np.empty(0)
    wanted = "a number" if width == 1 else "a pair of numbers"
    if values.shape != ((len(items),) if width == 1 else (len(items), width)) or not np.isfinite(values).all():
        raise BadInputError(f"samples.jsonl: a value of {key} is not {wanted}")
    if aggregation == "mean":
        return mean_metric(items)
    return measured(function(values), "1", len(items), *interval(values, function))
