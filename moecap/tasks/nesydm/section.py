"""The method's part of the report: confidence against what is right, and the measures of every predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moecap.metrics.value import Metric
from moecap.report.figures import NO_VALUE
from moecap.report.markup import Child, Html, data_table, join, paragraph
from moecap.report.section import Chart, Section, chart_figure, how_to_read, metric_value
from moecap.tasks.method import Tables
from moecap.tasks.nesydm.answered import Answered, answered
from moecap.tasks.nesydm.calibration import reliability
from moecap.tasks.nesydm.votes import STRATEGIES, marginals

__all__ = ["nesydm_section"]

NAME, HEADING = "nesydm", "Neurosymbolic diffusion: what is learnt of concepts from labels alone"
COLOURS = {"nesydm": "--blue", "nesydm_conditional": "--green", "independent": "--orange", "semantic_loss": "--purple"}
TITLES = {
    "nesydm": "diffusion",
    "nesydm_conditional": "diffusion, entropy by label",
    "independent": "independent concepts",
    "semantic_loss": "independent concepts, semantic loss",
}
SPLITS = {"id": "shown", "ood": "others"}
QUESTIONS = {
    "addition": "sums of handwritten numbers",
    "xor": "whether two digits differ",
    "half": "sums of two digits, of whose pairs training shows some",
    "even_odd": "sums of two even or two odd digits, of whose pairs training shows some",
    "shortest_path": "shortest paths on maps",
    "driving": "what a car may do",
    "driving_released": "what a car may do, by the rules of the released code",
}
"""What is asked in each experiment."""
HOW = (
    "Training showed inputs and labels, and never a concept. Each mark is a group of concepts that a predictor "
    "holds with about equal confidence: to the right it is surer, above more of them are right, and its size is "
    "their number. On the diagonal a predictor is as sure as it should be; far below it, it is sure of a "
    "shortcut, that is of concepts which explain the labels and are not the true ones. The calibration error is "
    "the mean distance from the diagonal. Shown are questions with combinations of concepts that training had, others "
    "those with new ones."
)


def nesydm_section(tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
    """A chart for each experiment with its table; ``None`` where nothing was drawn."""
    found = [one for one in answered(tables) if one.concepts is not None]
    if not found:
        return None
    parts: list[Html] = []
    charts = []
    for experiment in dict.fromkeys(one.experiment for one in found):
        of_experiment = [one for one in found if one.experiment == experiment]
        chart = _chart(experiment, of_experiment)
        charts.append(chart)
        parts.append(chart_figure(chart, _title(experiment), _sentence(experiment, metrics), how_to_read(HOW)))
        parts.append(_table(experiment, of_experiment, metrics))
    seeds = len({one.seed for one in found})
    parts.append(
        paragraph(
            "The samples vote for a label: by the most frequent whole label (PTM) or value of each output (PMM) of "
            "what the program makes of them, or by what it makes of their most frequent whole concepts (TMP) or "
            "value of each concept (MMP). Concepts: share of single ones that are right in the most frequent whole "
            "of them. "
            f"{'Means over ' + str(seeds) + ' seeds.' if seeds > 1 else 'One seed, so that seeds may differ by more.'}",
            class_="faint",
        )
    )
    return Section(NAME, HEADING, join(*parts), tuple(charts))


def _title(experiment: str) -> str:
    name = experiment.replace("_", " ")
    return f"{name}: {QUESTIONS[experiment]}" if experiment in QUESTIONS else name


def _chart(experiment: str, found: Sequence[Answered]) -> Chart:
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [0, 1],
            "y": [0, 1],
            "showlegend": False,
            "hoverinfo": "skip",
            "line": {"color": "--grey", "dash": "dot", "width": 1},
        }
    ]
    for predictor, split in dict.fromkeys((one.predictor, one.split) for one in found):
        same = [one for one in found if (one.predictor, one.split) == (predictor, split)]
        confidence, right, n = _reliability(same)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"{TITLES.get(predictor, predictor)}, {SPLITS.get(split, split)}",
                "x": np.round(confidence, 4).tolist(),
                "y": np.round(right, 4).tolist(),
                "customdata": n.tolist(),
                "line": {
                    "color": COLOURS.get(predictor, "--grey"),
                    "dash": "solid" if split == "id" else "dash",
                    "width": 1,
                },
                "marker": {
                    "color": COLOURS.get(predictor, "--grey"),
                    "symbol": "circle" if split == "id" else "diamond",
                    "size": np.round(5 + 15 * np.sqrt(n / n.sum()), 1).tolist(),
                },
                "hovertemplate": "%{y:.3f} right at %{x:.3f}, n = %{customdata:,}<extra>%{fullData.name}</extra>",
            }
        )
    layout = {
        "xaxis": {"title": {"text": "confidence in a concept"}, "range": [0, 1.03]},
        "yaxis": {"title": {"text": "share right"}, "range": [-0.03, 1.03]},
        "showlegend": True,
        "legend": {"itemsizing": "constant"},
    }
    return Chart(
        f"nesydm-{experiment}", traces, layout, 420, f"Confidence in concepts against the share right, {experiment}"
    )


def _reliability(same: Sequence[Answered]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bins that hold something, over all concepts and seeds."""
    parts = [
        reliability(marginals(one.ballot, one.ballot.concepts, one.program.values), one.concepts)
        for one in same
        if one.concepts is not None
    ]
    n = sum(part[2].sum(0) for part in parts)
    sure, right = (sum((part[i] * part[2]).sum(0) for part in parts) for i in (0, 1))
    some = np.flatnonzero(n)
    return sure[some] / n[some], right[some] / n[some], n[some]


def _sentence(experiment: str, metrics: Mapping[str, Metric]) -> str:
    told = []
    for predictor, title in TITLES.items():
        label, error = (metrics.get(f"{experiment}_{predictor}_{measure}") for measure in ("acc_y", "ece_c"))
        if label and error and label.value is not None and error.value is not None:
            told.append(f"{title}: labels {label.value:.3f} right, calibration error of concepts {error.value:.3f}")
    return "; ".join(told) + "." * bool(told)


def _table(experiment: str, found: Sequence[Answered], metrics: Mapping[str, Metric]) -> Html:
    columns = {
        "acc_y": "Label (PTM)",
        **{f"acc_y_{s}": f"Label ({s.upper()})" for s in STRATEGIES if s != "ptm"},
        "acc_c": "Concepts",
        "ece_c": "Calibration error",
        "mf1_y": "Macro F1 of actions",
        "mf1_c": "Macro F1 of concepts",
    }
    splits = {(one.predictor, one.split): "" if one.split == "id" else f"_{one.split}" for one in found}
    asked = [m for m in columns if any(f"{experiment}_{p}{s}_{m}" in metrics for (p, _), s in splits.items())]
    rows: list[tuple[Child, ...]] = []
    for (predictor, split), infix in splits.items():
        cells = [_cell(f"{experiment}_{predictor}{infix}_{measure}", metrics) for measure in asked]
        rows.append((f"{TITLES.get(predictor, predictor)}, {SPLITS.get(split, split)}", *cells))
    heads = ("Predictor", *(columns[measure] for measure in asked))
    return data_table(f"Measures of {experiment.replace('_', ' ')}", heads, rows, numeric=range(1, len(heads)))


def _cell(name: str, metrics: Mapping[str, Metric]) -> Child:
    metric = metrics.get(name)
    if metric is None:
        return NO_VALUE
    value = metric_value(f"task.nesydm_{name}", metric)
    if metric.low is None or metric.high is None:
        return value
    return join(value, f" ({metric.low:.3f} to {metric.high:.3f})")
