"""The method in the report: accuracy against what a query costs, and every variant beside its baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moecap.metrics.value import Metric, absent
from moecap.report.figures import NO_VALUE, display
from moecap.report.markup import Html, data_table, join, paragraph
from moecap.report.section import Chart, Section, chart_figure, how_to_read, metric_value

__all__ = ["moicl_section"]

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
DRAWN = {"uniform": "--grey", "scalar": "--blue", "nonnegative": "--green", "concat": "--orange"}
NOTHING = absent("1", "not measured")
HOW = (
    "Each point is one way to lay out the same demonstrations: up and to the left is better. A query is sent to every "
    "expert, so more experts take more tokens; those of the demonstrations are new only once where the engine caches "
    "them. The label is the number of experts; a pointer shows the time of a query alone and the experts of the model. "
    "Learned weights have seen the training items, which neither the uniform ensemble nor one prompt of the "
    "demonstrations has; the prompt with the training items has. Bars are 95 % intervals over the test items."
)


def moicl_section(metrics: Mapping[str, Metric]) -> Section | None:
    """The part of the report; nothing where no method was scored."""
    labels = [name.removeprefix("accuracy_") for name in metrics if name.startswith("accuracy_")]
    labels = [label for label in labels if not label.startswith("spread_")]
    if not labels:
        return None
    chart = _chart(metrics, labels)
    title = "Mixtures of in-context learners"
    figure = chart_figure(chart, "Accuracy against the tokens of a query", _sentence(metrics, labels), how_to_read(HOW))
    return Section("moicl", title, join(figure, _methods(metrics, labels), _costs(metrics)), (chart,))


def _split(label: str) -> tuple[str, int]:
    """Method and number of experts; 1 of a method that is one prompt."""
    method, _, count = label.rpartition("_k")
    return (method, int(count)) if method else (label, 1)


def _sentence(metrics: Mapping[str, Metric], labels: list[str]) -> str:
    learned = max(
        (label for label in labels if label.startswith("scalar_k")), key=lambda label: _split(label)[1], default=""
    )
    gain = metrics.get(f"gain_{learned}")
    if gain is None or gain.value is None or gain.low is None or gain.high is None:
        return "Accuracy of each way to use the same demonstrations."
    apart = "the interval holds 0: no difference was shown" if gain.low <= 0 <= gain.high else "a difference"
    return (
        f"Free weights for {_split(learned)[1]} experts against one prompt: {gain.value:+.3f} "
        f"({gain.low:+.3f} to {gain.high:+.3f}, n = {gain.n}), {apart}."
    )


def _chart(metrics: Mapping[str, Metric], labels: list[str]) -> Chart:
    traces: list[dict[str, Any]] = []
    for method, colour in DRAWN.items():
        points = sorted((_split(label)[1], label) for label in labels if _split(label)[0] == method)
        costs = [metrics.get(f"new_tokens_per_query_k{count}", NOTHING) for count, _ in points]
        scores = [metrics[f"accuracy_{label}"] for _, label in points]
        shown = [
            (c.value, s, k)
            for c, s, (k, _) in zip(costs, scores, points, strict=True)
            if c.value and s.value is not None
        ]
        if not shown:
            continue
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers+text",
                "name": NAMES[method],
                "x": [round(tokens, 1) for tokens, _, _ in shown],
                "y": [score.value for _, score, _ in shown],
                "text": [f"k = {count}" for _, _, count in shown],
                "textposition": "top left",
                "customdata": [_beside(metrics, count) for _, _, count in shown],
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [(score.high or score.value or 0) - (score.value or 0) for _, score, _ in shown],
                    "arrayminus": [(score.value or 0) - (score.low or 0) for _, score, _ in shown],
                    "thickness": 1,
                },
                "marker": {"color": colour, "size": 9},
                "line": {"color": colour},
                "hovertemplate": "%{text}: %{y:.3f} at %{x:.0f} tokens<br>%{customdata[0]}, %{customdata[1]} of the "
                "model in a layer<extra></extra>",
            }
        )
    layout = {
        "showlegend": True,
        "legend": {"y": 1.16},
        "xaxis": {"title": {"text": "new tokens of a query, demonstrations cached"}, "type": "log"},
        "yaxis": {"title": {"text": "accuracy"}},
    }
    return Chart("chart-moicl", traces, layout, 340, "Accuracy of mixtures of in-context learners against tokens")


def _beside(metrics: Mapping[str, Metric], count: int) -> list[str]:
    """Time and activated experts of a query with so many experts, as text."""
    return [display(metrics.get(f"{kind}_k{count}", NOTHING)) for kind in ("latency", "experts_activated")]


def _methods(metrics: Mapping[str, Metric], labels: list[str]) -> Html:
    rows = []
    for label in labels:
        method, count = _split(label)
        cells = [_cell(metrics, f"{kind}_{label}") for kind in ("accuracy", "gain", "nll", "train_nll")]
        interval = metrics[f"accuracy_{label}"]
        ends = NO_VALUE if interval.low is None else f"{interval.low:.3f} to {interval.high:.3f}"
        rows.append((NAMES.get(method, method), str(count), cells[0], ends, *cells[1:]))
    heads = ("Method", "Experts", "Accuracy", "95 % interval", "Against one prompt", "Loss, test", "Loss, training")
    return data_table("Every way to use the demonstrations", heads, rows, numeric=(1, 2, 3, 4, 5, 6))


def _costs(metrics: Mapping[str, Metric]) -> Html:
    counts = sorted(int(name.rpartition("_k")[2]) for name in metrics if name.startswith("latency_k"))
    kinds = (
        "prompt_tokens_per_query",
        "new_tokens_per_query",
        "latency",
        "experts_activated",
        "experts_activated_by_queries",
        "negative_weights",
        "auc_disturbed",
    )
    rows = [(str(count), *(_cell(metrics, f"{kind}_k{count}") for kind in kinds)) for count in counts]
    heads = (
        "Experts",
        "Tokens of a query",
        "New, demonstrations cached",
        "Time of a query alone",
        "Experts of the model that it activates",
        "by the query's tokens",
        "Negative weights",
        "AUC of disturbed ones",
    )
    table = data_table("What a query costs", heads, rows, numeric=tuple(range(1, 8)))
    return join(table, paragraph("Experts of the model are counted in each MoE layer, over all prompts of a query."))


def _cell(metrics: Mapping[str, Metric], name: str) -> Html | str:
    metric = metrics.get(name)
    return NO_VALUE if metric is None else metric_value(f"task.moicl_{name}", metric, reason=False)
