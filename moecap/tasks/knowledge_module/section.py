"""The method's part of the report: accuracy against tokens of the prompt, the losses, and what a module costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moecap.metrics.value import Metric, absent
from moecap.report.figures import NO_VALUE, display_range
from moecap.report.markup import Html, data_table, join, paragraph
from moecap.report.section import Chart, Section, chart_figure, how_to_read, metric_value
from moecap.tasks.knowledge_module.questions import SETTINGS
from moecap.tasks.method import Tables

__all__ = ["module_section"]

NAME = "knowledge_module"
ABSENT = absent("1", "not in this result")

HOW = (
    "Each mark is a way to ask the same questions: with nothing before them, with the whole document or retrieved "
    "passages in the prompt, and with the document's module switched on. Up is better and left is cheaper. The bars "
    "are 95 % intervals; ways whose bars overlap cannot be told apart by so few questions."
)
HOW_LOSS = (
    "The teacher is the model with the document before a text, the student the model with the module and without the "
    "document. KL is how much the student's next-token distributions differ from the teacher's, in nats a token; a "
    "text that was held out was not trained on."
)
COST = {
    "writing_seconds": "Time in which the model wrote its summaries",
    "training_seconds": "Time of the training",
    "adapter_bytes": "Bytes of the module",
    "kv_bytes": "Bytes of the document's KV cache",
    "adapter_parameters": "Parameters of the module, all of them active",
    "expert_adapter_parameters": "Those of a module on all routed experts, which was not built",
    "expert_adapter_active": "of which one token would pass",
    "break_even_queries_rag": "Queries after which it has cost less time than retrieval",
    "break_even_queries_icl": "Queries after which it has cost less time than the document in context",
}


def module_section(tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
    """The figures and the cost; ``None`` where no question was finished."""
    shown = [name for name in SETTINGS if f"accuracy_{name}" in metrics]
    if not shown:
        return None
    accuracy = _accuracy_chart(shown, metrics)
    n = metrics[f"accuracy_{shown[0]}"].n or 0
    sentence = f"Share of n = {n:,} questions answered right, against the tokens of a prompt."
    parts = [chart_figure(accuracy, "Accuracy against tokens", sentence, how_to_read(HOW, ("Wilson interval",)))]
    charts = [accuracy]
    parts.append(_settings_table(shown, metrics))
    if (losses := _loss_chart(tables)) is not None:
        before, after = (metrics.get(f"loss_held_out_{when}", ABSENT) for when in ("before", "after"))
        told = f"On held-out texts the loss goes from {display_range(before)} to {display_range(after)}."
        parts.append(chart_figure(losses, "Losses in training", told, how_to_read(HOW_LOSS)))
        charts.append(losses)
    rows = [
        (words, metric_value(f"task.{NAME}_{name}", metrics[name])) for name, words in COST.items() if name in metrics
    ]
    parts.append(data_table("Cost of a module, the mean over the documents", ("", "Value"), rows, numeric=(1,)))
    return Section(NAME, "Knowledge modules", join(*parts), tuple(charts))


def _accuracy_chart(shown: list[str], metrics: Mapping[str, Metric]) -> Chart:
    traces: list[dict[str, Any]] = []
    for name in shown:
        right, tokens = metrics[f"accuracy_{name}"], metrics[f"prompt_tokens_{name}"]
        value = right.value or 0.0
        high, low = (right.high or value) - value, value - (value if right.low is None else right.low)
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": SETTINGS[name].title,
                "x": [tokens.value],
                "y": [value],
                "error_y": {"type": "data", "symmetric": False, "array": [high], "arrayminus": [low]},
                "marker": {"size": 11, "symbol": "diamond" if SETTINGS[name].module else "circle"},
                "hovertemplate": f"{SETTINGS[name].title}<br>%{{x:.0f}} tokens<br>%{{y:.3f}}<extra></extra>",
            }
        )
    layout = {
        "xaxis": {"type": "log", "title": {"text": "Tokens of a prompt"}, "tickformat": "~r", "nticks": 6},
        "yaxis": {"range": [0, 1.02], "title": {"text": "Accuracy"}},
        "showlegend": True,
        "hovermode": "closest",
    }
    return Chart(f"chart-{NAME}-accuracy", traces, layout, 340, "Accuracy of each setting against tokens of a prompt")


def _loss_chart(tables: Tables) -> Chart | None:
    """The losses of the first document."""
    rows = tables["training"]
    if not len(rows):
        return None
    own = rows[
        (rows["document"] == rows["document"].iloc[0]) & ((rows["part"] != "batch") | (rows["measure"] == "loss"))
    ]
    words = {"batch": "of a batch", "train": "of all that is trained on", "held_out": "held out"}
    traces = [
        {
            "type": "scatter",
            "mode": "lines" if part == "batch" else "lines+markers",
            "name": f"{measure}, {words.get(str(part), str(part))}",
            "x": group["step"].tolist(),
            "y": group["value"].tolist(),
            "line": {"width": 1 if part == "batch" else 2},
        }
        for (part, measure), group in own.groupby(["part", "measure"], sort=False)
    ]
    layout = {
        "xaxis": {"title": {"text": "Updates"}},
        "yaxis": {"rangemode": "tozero", "title": {"text": "Loss, nats a token"}},
        "showlegend": True,
    }
    return Chart(f"chart-{NAME}-loss", traces, layout, 300, "Losses of the first document's module over its training")


def _settings_table(shown: list[str], metrics: Mapping[str, Metric]) -> Html:
    def cell(kind: str, name: str) -> Html | str:
        metric = metrics.get(f"{kind}_{name}")
        return NO_VALUE if metric is None else metric_value(f"task.{NAME}_{kind}_{name}", metric, reason=False)

    kinds = ("accuracy", "gold_nats", "prompt_tokens", "query_seconds", "query_experts")
    rows = [(SETTINGS[name].title, *(cell(kind, name) for kind in kinds)) for name in shown]
    heads = ("Asked with", "Right", "log p of the right option", "Tokens", "Time of a query", "Experts of a layer")
    table = data_table("The settings, each a mean over the questions", heads, rows, numeric=(1, 2, 3, 4, 5))
    return join(
        table, paragraph("log p is a token of the option, in nats; experts are those that at least one token visits.")
    )
