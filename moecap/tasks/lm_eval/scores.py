"""What lm-eval's own scoring of one document gives, as the scores and values of a sample."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moecap.metrics.corpus_scores import AGGREGATIONS

__all__ = ["DocumentScores", "document_scores", "headline_of", "metric_names"]

SHARE = re.compile(r"acc|acc_\w+|\w+_acc|\w*accuracy|exact_match|em|f1|contains")
"""Metrics of the harness that are a share of right answers where their items are averaged."""

JOINED_BY = {"f1_score": "f1", "matthews_corrcoef": "matthews", "nanmean": "mean"}
"""Functions of the harness that moecap knows under another name."""

NO_FILTER = "none"


@dataclass(frozen=True, slots=True)
class DocumentScores:
    """Scores of one document.

    Attributes:
        shares: Each share of right answers by its name in the harness: 0, 1 or between.
        values: Each other metric: the function that joins the documents, and this document's value, which is ``None``
            where only the harness's function can join what it gives (texts for BLEU).
        filtered: What each filter left of the answers, by the filter's name.
    """

    shares: Mapping[str, float]
    values: Mapping[str, Mapping[str, Any]]
    filtered: Mapping[str, Any]


def document_scores(task: Any, doc: Any, requests: Sequence[Any]) -> DocumentScores:
    """Filter the answers to a document's requests and score them by the harness's own code.

    Args:
        task: The task of the harness.
        doc: The document.
        requests: Its requests with their ``resps``.
    """
    for ensemble in task._filters:
        ensemble.apply(requests)
    shares: dict[str, float] = {}
    values: dict[str, Mapping[str, Any]] = {}
    filters = [ensemble.name for ensemble in task._filters]
    for name in filters:
        found = task.process_results(doc, [request.filtered_resps[name] for request in requests])
        for metric, value in found.items():
            key = _key(metric, name)
            joined = _joined_by(task, metric)
            if _is_share(metric, joined):
                shares[key] = float(value)
            elif (plain := _plain(value)) is not None or joined not in AGGREGATIONS:
                values[key] = {"aggregation": joined, "value": plain}
    return DocumentScores(shares, values, {name: requests[0].filtered_resps[name] for name in filters})


def metric_names(task: Any) -> list[str]:
    """The task's metrics by their names in the harness, filter by filter."""
    return [_key(metric, ensemble.name) for ensemble in task._filters for metric in task.aggregation()]


def headline_of(shares: Mapping[str, float]) -> str | None:
    """The share that is the task's accuracy: the first that the task names; ``None`` where it has none."""
    return next(iter(shares), None)


def _key(metric: str, filter_name: str) -> str:
    return metric if filter_name == NO_FILTER else f"{metric},{filter_name}"


def _joined_by(task: Any, metric: str) -> str:
    """The name of the function that joins a metric's items; one of the task's own code with its module."""
    function = task.aggregation().get(metric)
    if function is None:  # the harness takes the mean
        return "mean"
    name = getattr(function, "__name__", str(function))
    if getattr(function, "__module__", "") != "lm_eval.api.metrics":
        return f"{getattr(function, '__module__', 'a task')}.{name}"
    return JOINED_BY.get(name, name)


def _is_share(metric: str, joined: str) -> bool:
    return joined == "mean" and SHARE.fullmatch(metric) is not None


def _plain(value: Any) -> float | list[float] | None:
    """A number or a list of numbers as JSON holds them; ``None`` for anything else, which no function here joins."""
    array = np.asarray(value) if not isinstance(value, str | bytes) else np.empty(0)
    if array.dtype.kind not in "biuf" or array.size == 0 or not np.isfinite(array.astype(float)).all():
        return None
    if array.ndim == 0:
        number = float(array)
        return int(number) if math.isclose(number, round(number)) and array.dtype.kind != "f" else number
    return [float(part) for part in array.ravel()] if array.ndim == 1 else None
