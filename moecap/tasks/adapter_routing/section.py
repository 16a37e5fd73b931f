"""The method's part of the report: accuracy on new tasks against the parameters that learn them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from moecap.metrics.value import Metric
from moecap.report.markup import Child, Html, data_table, join, paragraph
from moecap.report.section import Chart, Section, chart_figure, how_to_read, metric_value
from moecap.tasks.adapter_routing.tables import NO_ADAPTER
from moecap.tasks.adapter_routing.variants import ADAPTATIONS, VARIANTS
from moecap.tasks.method import Tables

__all__ = ["adapter_section"]

NAME, HEADING = "adapter_routing", "Adapter routing: what a few shots of a new task need"
COLOURS = {"lora": "--grey", "private": "--orange", "mu": "--purple", "poly": "--green", "mhr": "--blue"}
SYMBOLS = {"full": "circle", "mu": "square", "z": "diamond"}
HOW = (
    "Each mark is a variant adapted in one way: a circle in full, a square by its mean (mu), a diamond by its routing "
    "alone (z). To the left few parameters learn from the shots, to the right many; above more of the held-out tasks' "
    "test examples are right. The bar spans the seeds, from the worst to the best. "
    "Marks whose bars overlap are not told apart by this run. Adapters share one frozen model; private adapters begin "
    "anew for each held-out task, all others begin with what was trained on the training tasks."
)


def adapter_section(tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
    """The chart with its tables; ``None`` where nothing was adapted."""
    points = list(_points(tables, metrics))
    if not points:
        return None
    chart = Chart(
        "adapter-routing-chart",
        [
            _trace(variant, [p for p in points if p["variant"] == variant])
            for variant in dict.fromkeys(p["variant"] for p in points)
        ],
        {
            "xaxis": {"title": {"text": "parameters that learn from the shots"}, "type": "log"},
            "yaxis": {"title": {"text": "share right on held-out tasks"}},
        },
        420,
        "Accuracy on held-out tasks against trained parameters",
    )
    figure = chart_figure(chart, "Accuracy against trained parameters", _sentence(points), how_to_read(HOW))
    parts: list[Html] = [figure, _accuracy_table(metrics), _variant_table(metrics)]
    return Section(NAME, HEADING, join(*parts), (chart,))


def _sentence(points: Sequence[Mapping[str, Any]]) -> str:
    """Which setting is highest, and how many others its seeds do not tell it from."""
    best = max(points, key=lambda point: float(point["mean"]))
    told = f"Highest on the mean: {best['label']} with {best['mean']:.3f}"
    if best["seeds"] == 1:
        return f"{told}; one seed does not say how far chance moves it."
    rivals = [p for p in points if p is not best and p["high"] >= best["low"]]
    others = (
        f"{len(rivals)} of the other {len(points) - 1} settings overlap with these" if rivals else "no other overlaps"
    )
    return f"{told} over {best['seeds']} seeds ({best['low']:.3f} to {best['high']:.3f}); {others}."


def _points(tables: Tables, metrics: Mapping[str, Metric]) -> Iterator[dict[str, Any]]:
    few = tables["scores"][tables["scores"]["stage"] == "few_shot"]
    for (variant, adaptation), rows in _by_setting(few):
        learned = metrics.get(f"trained_parameters_{variant}_{adaptation}")
        sums = rows.groupby("seed")[["right", "n"]].sum()
        shares = sums["right"] / sums["n"]
        if learned is None or not learned.value or variant not in VARIANTS:
            continue
        yield {
            "variant": variant,
            "adaptation": adaptation,
            "label": f"{VARIANTS[variant].title}, {adaptation}",
            "parameters": learned.value,
            "mean": float(shares.mean()),
            "low": float(shares.min()),
            "high": float(shares.max()),
            "seeds": len(shares),
        }


def _by_setting(scores: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    for (variant, adaptation), rows in scores.groupby(["variant", "adaptation"], sort=False):
        yield (str(variant), str(adaptation)), rows


def _trace(variant: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": VARIANTS[variant].title,
        "x": [p["parameters"] for p in points],
        "y": [round(p["mean"], 6) for p in points],
        "text": [p["adaptation"] for p in points],
        "marker": {
            "size": 11,
            "color": COLOURS[variant],
            "symbol": [SYMBOLS.get(p["adaptation"], "circle") for p in points],
        },
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [round(p["high"] - p["mean"], 6) for p in points],
            "arrayminus": [round(p["mean"] - p["low"], 6) for p in points],
            "color": COLOURS[variant],
        },
        "hovertemplate": "%{text}: %{y:.3f} with %{x:,} parameters<extra>%{fullData.name}</extra>",
    }


def _accuracy_table(metrics: Mapping[str, Metric]) -> Html:
    heads = ("Variant", "Training tasks", *(f"New tasks, {name}" for name in ADAPTATIONS))
    rows: list[tuple[Child, ...]] = []
    for variant, known in VARIANTS.items():
        names = [f"multitask_accuracy_{variant}"] + [
            f"zero_shot_accuracy_{variant}" if a == "zero" else f"few_shot_accuracy_{variant}_{a}" for a in ADAPTATIONS
        ]
        if any(name in metrics for name in names):
            rows.append((known.title, *(_with_interval(name, metrics) for name in names)))
    words = "; ".join(f"{name}: {about}" for name, about in ADAPTATIONS.items())
    table = data_table("Share right, mean over the seeds with 95 % interval", heads, rows, numeric=range(1, len(heads)))
    return join(table, paragraph(f"{words}.", class_="faint"))


def _variant_table(metrics: Mapping[str, Metric]) -> Html:
    columns = {
        "adapter_parameters": "Adapter parameters",
        "active_adapter_parameters": "Active of them",
        "adapter_bytes": "Bytes",
        "routing_entropy": "Routing entropy",
        "task_cosine": "Cosine of tasks",
        "gradient_alignment": "Gradient alignment",
        "forward_overhead": "Added to a pass",
    }
    rows: list[tuple[Child, ...]] = []
    for variant, known in VARIANTS.items():
        if f"adapter_parameters_{variant}" in metrics:
            rows.append((known.title, *(_value(f"{name}_{variant}", metrics) for name in columns)))
    caption = (
        "What the adapters are made of and how tasks share them; a task's pass multiplies by the active ones alone"
    )
    table = data_table(caption, ("Variant", *columns.values()), rows, numeric=range(1, 1 + len(columns)))
    plain = metrics.get(f"forward_seconds_{NO_ADAPTER}")
    note = None
    if plain is not None:
        note = paragraph(
            "A pass of the frozen model alone takes ", metric_value(f"forward_seconds_{NO_ADAPTER}", plain), "."
        )
    return join(table, note)


def _value(name: str, metrics: Mapping[str, Metric]) -> Child:
    return metric_value(f"task.{NAME}_{name}", metrics[name], reason=False) if name in metrics else ""


def _with_interval(name: str, metrics: Mapping[str, Metric]) -> Child:
    metric = metrics.get(name)
    if metric is None:
        return ""
    value = metric_value(f"task.{NAME}_{name}", metric)
    return value if metric.low is None else join(value, f" ({metric.low:.3f} to {metric.high:.3f})")
