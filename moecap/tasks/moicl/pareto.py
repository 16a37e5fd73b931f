"""The chart of the method: accuracy against what a query costs in tokens, time and experts of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from moecap.metrics.value import Metric, absent
from moecap.report.figures import display, significant
from moecap.report.section import Chart

__all__ = ["NAMES", "front", "pareto_chart", "split_label"]

NAMES = {
    "concat": "all demonstrations in one prompt",
    "concat_train": "the same with the training items",
    "random_search": "random search",
    "lens": "LENS",
    "uniform": "uniform ensemble",
    "scalar": "MoICL, free weights",
    "nonnegative": "MoICL, weights from 0",
    "sparse": "MoICL, sparse",
    "hyper": "MoICL, hyper-network (ours)",
}
DRAWN = {
    "concat": "--orange",
    "concat_train": "--purple",
    "uniform": "--grey",
    "scalar": "--blue",
    "nonnegative": "--green",
}
SYMBOLS = {"concat": "square", "concat_train": "diamond", "uniform": "x", "scalar": "circle", "nonnegative": "cross"}
APART = 1.06
"""Factor between the places of two methods of the same cost, so that none hides another."""
NOTHING = absent("1", "not measured")


class Point(NamedTuple):
    """A method with a number of experts: what a query takes of new tokens, and how often its answer is right."""

    method: str
    experts: int
    tokens: float
    accuracy: Metric


def split_label(label: str) -> tuple[str, int]:
    """Method and number of experts; 1 of a method that is one prompt."""
    method, _, count = label.rpartition("_k")
    return (method, int(count)) if method else (label, 1)


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats: none is as cheap and better, or as good and cheaper; by ascending cost.

    Args:
        points: Cost and score of each.
    """
    best: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or score > best[-1][1]:
            best.append((cost, score))
    return best


def pareto_chart(metrics: Mapping[str, Metric], labels: Sequence[str]) -> Chart | None:
    """Accuracy against new tokens, with the costs of each number of experts below; ``None`` where none is known.

    Args:
        metrics: The method's metrics.
        labels: Ends of the names ``accuracy_X``.
    """
    points = [point for label in labels if (point := _point(metrics, label)) is not None]
    if not points:
        return None
    places = list(DRAWN)
    traces = []
    for number, method in enumerate(places):
        own = sorted((point for point in points if point.method == method), key=lambda point: point.tokens)
        if own:
            traces.append(_trace(method, own, APART ** (number - (len(places) - 1) / 2)))
    best = front([(point.tokens, point.accuracy.value or 0.0) for point in points])
    best.append((max(point.tokens for point in points), best[-1][1]))
    traces.insert(0, _front_trace(best))
    tokens = dict(sorted((point.experts, point.tokens) for point in points))
    layout = {
        "showlegend": True,
        "legend": {"y": 1.02},
        "xaxis": {
            "title": {"text": "experts k; a query's new tokens (log) of all;<br>its time alone; experts of the model"},
            "type": "log",
            "tickvals": list(tokens.values()),
            "ticktext": [_costs(metrics, experts) for experts in tokens],
            "tickangle": 0,
        },
        "yaxis": {"title": {"text": "accuracy"}, "nticks": 6},
    }
    return Chart("chart-moicl", traces, layout, 480, "Accuracy of mixtures of in-context learners against their costs")


def _point(metrics: Mapping[str, Metric], label: str) -> Point | None:
    method, experts = split_label(label)
    accuracy, tokens = metrics[f"accuracy_{label}"], metrics.get(f"new_tokens_per_query_k{experts}", NOTHING)
    known = method in DRAWN and accuracy.value is not None and tokens.value
    return Point(method, experts, tokens.value or 0.0, accuracy) if known else None


def _trace(method: str, own: Sequence[Point], shift: float) -> dict[str, Any]:
    values = [point.accuracy.value or 0.0 for point in own]
    ends = [(point.accuracy.low, point.accuracy.high) for point in own]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": NAMES[method],
        "x": [float(f"{point.tokens * shift:.5g}") for point in own],
        "y": values,
        "customdata": [[point.experts, significant(point.tokens)] for point in own],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [0.0 if high is None else high - value for value, (_, high) in zip(values, ends, strict=True)],
            "arrayminus": [0.0 if low is None else value - low for value, (low, _) in zip(values, ends, strict=True)],
            "thickness": 1,
        },
        "marker": {"color": DRAWN[method], "size": 9, "symbol": SYMBOLS[method]},
        "line": {"color": DRAWN[method]},
        "hovertemplate": "k = %{customdata[0]}: %{y:.3f} at %{customdata[1]} new tokens<extra></extra>",
    }


def _front_trace(best: Sequence[tuple[float, float]]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "front: nothing cheaper is as good",
        "x": [tokens for tokens, _ in best],
        "y": [score for _, score in best],
        "line": {"color": "--muted", "dash": "dot", "shape": "hv"},
        "hoverinfo": "skip",
    }


def _costs(metrics: Mapping[str, Metric], experts: int) -> str:
    """What a query costs with so many experts, in lines under the axis."""
    new, whole, time, activated = (
        metrics.get(f"{kind}_k{experts}", NOTHING)
        for kind in ("new_tokens_per_query", "prompt_tokens_per_query", "latency", "experts_activated")
    )
    of_all = f" of {significant(whole.value)}" if whole.value is not None else ""
    there = significant(activated.value) if activated.value is not None else display(activated)
    return "<br>".join((f"<b>k = {experts}</b>", f"{significant(new.value or 0.0)}{of_all}", display(time), there))
