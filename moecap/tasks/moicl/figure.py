"""The method in the report: accuracy against what a query costs, and every variant beside its baselines."""

from __future__ import annotations

from collections.abc import Mapping

from moecap.metrics.value import Metric
from moecap.report.figures import NO_VALUE
from moecap.report.markup import Html, data_table, join, paragraph
from moecap.report.section import Drawn, Section, drawn_figure, metric_value
from moecap.tasks.moicl.pareto import NAMES, pareto_chart, split_label

__all__ = ["moicl_section"]

HOW = (
    "Each point is one way to lay out the same demonstrations: up and to the left is better. A query is sent to every "
    "expert, so more experts take more tokens; those of the demonstrations are new only once where the engine caches "
    "them. Below the axis stand, for each number of experts k, the new tokens of a query of all its tokens, the time "
    "of a query whose prompts are sent whole and alone, and the experts of the model that they activate together in a "
    "MoE layer. Points of one k cost the same and stand side by side to be seen. The dotted line joins the points that "
    "no cheaper one equals. Learned weights have seen the training items, which neither the uniform ensemble nor one "
    "prompt of the demonstrations has; the prompt with the training items has. Bars are 95 % intervals over the test "
    "items."
)
NO_COSTS = "the tokens and the time of generated answers are not recorded by expert"


def moicl_section(metrics: Mapping[str, Metric]) -> Section | None:
    """The part of the report; nothing where no method was scored."""
    labels = [name.removeprefix("accuracy_") for name in metrics if name.startswith("accuracy_")]
    labels = [label for label in labels if not label.startswith("spread_")]
    if not labels:
        return None
    chart, name = pareto_chart(metrics, labels), "Accuracy against the cost of a query"
    drawn = Drawn(name, NO_COSTS) if chart is None else Drawn(name, _sentence(metrics, labels), chart, HOW)
    body = join(drawn_figure(drawn), _methods(metrics, labels), _costs(metrics) if chart else None)
    return Section("moicl", "Mixtures of in-context learners", body, (chart,) if chart else ())


def _sentence(metrics: Mapping[str, Metric], labels: list[str]) -> str:
    learned = max(
        (label for label in labels if label.startswith("scalar_k")), key=lambda label: split_label(label)[1], default=""
    )
    gain = metrics.get(f"gain_{learned}")
    if gain is None or gain.value is None or gain.low is None or gain.high is None:
        return "Accuracy of each way to use the same demonstrations."
    apart = "the interval holds 0: no difference was shown" if gain.low <= 0 <= gain.high else "a difference"
    return (
        f"Free weights for {split_label(learned)[1]} experts against one prompt: {gain.value:+.3f} "
        f"({gain.low:+.3f} to {gain.high:+.3f}, n = {gain.n}), {apart}."
    )


def _methods(metrics: Mapping[str, Metric], labels: list[str]) -> Html:
    rows = []
    for label in labels:
        method, count = split_label(label)
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
