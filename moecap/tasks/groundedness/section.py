"""The method's part of the report: groundedness by class with the controls, the digits, and the experts by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moecap.metrics.value import Metric
from moecap.report.markup import Child, Html, data_table, folded, join, paragraph
from moecap.report.section import Chart, Section, chart_figure, how_to_read, metric_value
from moecap.tasks.groundedness.measures import DIGIT_KEYS, bits
from moecap.tasks.groundedness.words import CLASSES
from moecap.tasks.method import Tables

__all__ = ["groundedness_section"]

HEADING = "Groundedness of word classes"
SURROGATE = (
    "The context is a text that says what the picture shows, not the picture: a surrogate of the paper's captioner. No "
    "number here is the paper's."
)
HOW = (
    "A bar is the mean over the words of a class of how much less surprising a word is after a text that says what the "
    "caption is about, in nats (1 nat is 1.44 bits); the whisker is its 95 % interval over captions. What the text of "
    "another caption gives, too, is not about the picture: a language model that was not tuned to captions learns from "
    "any text before them what kind of text follows. Own over another's is what is left."
)
EXPERTS = (
    "Jensen-Shannon divergence, in bits, of the experts that a class's words use from those that all analysed words "
    "use, a mean over MoE layers. Chance by word deals the classes to the words anew; chance by type to whole word "
    "types, so that a router which knows words by their form alone lies within it."
)
COLOURS = {"": "--blue", "_shuffled": "--orange", "_blank": "--grey"}
NAMES = {"": "its own text", "_shuffled": "the text of another caption", "_blank": "a text about nothing"}


def groundedness_section(tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
    """The figure and the tables; ``None`` where nothing was scored."""
    parts: list[Html] = []
    charts: list[Chart] = []
    if len(tables["tokens"]) and "sentence" in metrics:
        languages = sorted(set(tables["words"]["language"]))
        charts.append(_chart(metrics))
        parts.append(paragraph(SURROGATE))
        sentence = _sentence(metrics, languages)
        parts.append(chart_figure(charts[0], "Less surprising after what it is about", sentence, how_to_read(HOW)))
        parts.append(_class_table(metrics, languages))
        if len(languages) > 1:
            parts.append(folded("By language", _language_table(metrics, languages)))
        parts += _experts(metrics)
    if len(tables["digits"]) and "digits_sentence" in metrics:
        parts.append(_digit_table(metrics))
    return Section("groundedness", HEADING, join(*parts), tuple(charts)) if parts else None


def _known(metrics: Mapping[str, Metric]) -> list[str]:
    return [c.lower() for c in CLASSES if (found := metrics.get(c.lower())) is not None and found.value is not None]


def _chart(metrics: Mapping[str, Metric]) -> Chart:
    classes = _known(metrics)
    traces: list[dict[str, Any]] = []
    for end, colour in COLOURS.items():
        own = [metrics.get(f"{name}{end}") for name in classes]
        if not any(metric and metric.value is not None for metric in own):
            continue
        values = [None if metric is None or metric.value is None else float(f"{metric.value:.5g}") for metric in own]
        traces.append(
            {
                "type": "bar",
                "name": f"after {NAMES[end]}",
                "x": [name.upper() for name in classes],
                "y": values,
                "marker": {"color": colour},
                "error_y": {"type": "data", "symmetric": False, **_whiskers(own)},
                "hovertemplate": "%{x}: %{y:.3g} nats<extra></extra>",
            }
        )
    layout = {
        "barmode": "group",
        "showlegend": True,
        "legend": {"y": 1.14},
        "yaxis": {"title": {"text": "nats a word"}, "nticks": 6},
        "xaxis": {"showgrid": False},
    }
    return Chart("chart-groundedness", traces, layout, 340, "Groundedness of each word class with its controls")


def _whiskers(own: list[Metric | None]) -> dict[str, list[float]]:
    """Ends of the intervals, as distances from the values; 0 where there is none."""
    ends: dict[str, list[float]] = {"array": [], "arrayminus": []}
    for metric in own:
        known = metric is not None and metric.value is not None and metric.low is not None and metric.high is not None
        value, low, high = (metric.value, metric.low, metric.high) if known and metric else (0.0, 0.0, 0.0)
        ends["array"].append((high or 0.0) - (value or 0.0))
        ends["arrayminus"].append((value or 0.0) - (low or 0.0))
    return ends


def _sentence(metrics: Mapping[str, Metric], languages: list[str]) -> str:
    whole, applied = metrics["sentence"], metrics["corrected"]
    how = (
        "the end of each word is the word's own (whitespace correction)"
        if applied.value
        else "the whitespace correction is not applied: this engine does not tell the whole vocabulary's probabilities"
    )
    value = whole.value or 0.0
    net = metrics.get("sentence_net")
    over = f", and {net.value:.3g} nats less than after another's" if net and net.value is not None else ""
    return (
        f"A caption is {value:.3g} nats ({bits(value):.3g} bits) less surprising after its own text than after none"
        f"{over}; n = {whole.n:,} captions in {', '.join(languages)}; {how}."
    )


def _class_table(metrics: Mapping[str, Metric], languages: list[str]) -> Html:
    several = len(languages) > 1
    rows: list[tuple[Child, ...]] = []
    for name in [*_known(metrics), "open_minus_closed", "sentence"]:
        metric = metrics[name]
        value = "" if metric.value is None else f"{bits(metric.value):.3f}"
        head = name.replace("_", " ") if name in ("open_minus_closed", "sentence") else name.upper()
        spread = [_cell(metrics, f"{name}_spread")] if several else []
        others = [_cell(metrics, f"{name}{end}") for end in ("_shuffled", "_blank", "_net")]
        net = _interval(metrics.get(f"{name}_net"))
        rows.append(
            (head, _cell(metrics, name), value, _interval(metric), *spread, *others, net, f"{metric.n or 0:,}"),
        )
    agreements = [
        told for end, by in (("", "own text"), ("_net", "own over another's")) if (told := _agreed(metrics, end, by))
    ]
    heads = ("Class", "Nats", "Bits", "95 % interval", *(["Spread"] if several else []), "Another's", "Blank")
    heads += ("Own over another's", "95 % interval", "n")
    title = "Groundedness by class: mean over words, or over languages (n)"
    table = data_table(title, heads, rows, numeric=range(1, len(heads)))
    return join(table, paragraph(" ".join(agreements)) if agreements else None)


def _agreed(metrics: Mapping[str, Metric], end: str, by: str) -> str:
    """How alike the languages rank the classes, as a sentence; empty where no two can be compared."""
    names = {"kendall_tau": "Kendall's tau", "weighted_tau": "weighted tau", "spearman": "Spearman's rho"}
    found = {name: metrics.get(f"{key}{end}") for key, name in names.items()}
    told = [f"{name} {metric.value:.2f}" for name, metric in found.items() if metric and metric.value is not None]
    pairs = next((metric.n for metric in found.values() if metric and metric.value is not None), 0)
    return (
        f"How alike the languages rank the classes by {by} (1 the same order, -1 the reverse; mean over {pairs} "
        f"pair{'s' if pairs != 1 else ''} of languages): {', '.join(told)}."
        if told
        else ""
    )


def _cell(metrics: Mapping[str, Metric], name: str) -> Child:
    found = metrics.get(name)
    return metric_value(f"task.groundedness_{name}", found) if found else ""


def _interval(metric: Metric | None) -> str:
    return (
        "" if metric is None or metric.low is None or metric.high is None else f"{metric.low:.3f} to {metric.high:.3f}"
    )


def _language_table(metrics: Mapping[str, Metric], languages: list[str]) -> Html:
    rows = []
    for name in _known(metrics):
        found = [metrics.get(f"{language}_{name}") for language in languages]
        cells = [_cell(metrics, f"{language}_{name}") for language in languages]
        rows.append((name.upper(), *cells, ", ".join(f"{metric.n or 0:,}" if metric else "0" for metric in found)))
    heads = ("Class", *languages, "n")
    return data_table("Groundedness by class and language", heads, rows, numeric=range(1, len(languages) + 2))


def _experts(metrics: Mapping[str, Metric]) -> list[Html]:
    classes = [c.lower() for c in CLASSES if f"experts_{c.lower()}" in metrics]
    if not classes:
        return [paragraph(f"No experts by class: {metrics['experts_words'].reason}.", class_="missing")]
    rows: list[tuple[Child, ...]] = []
    for name in classes:
        own = metrics[f"experts_{name}"]
        cells = [_cell(metrics, f"experts_{name}")]
        for end in ("chance_by_word", "chance_by_type"):
            found = metrics[f"experts_{name}_{end}"]
            cells.append(Html("") if found.value is None else Html(f"{found.low:.4f} to {found.high:.4f}"))
        cells.append(_cell(metrics, f"experts_{name}_entropy"))
        rows.append((name.upper(), *cells, f"{own.n or 0:,}"))
    heads = ("Class", "Divergence", "Chance by word, 95 %", "Chance by type, 95 %", "Load entropy", "n")
    return [data_table("Experts by class", heads, rows, numeric=range(1, 6)), how_to_read(EXPERTS)]


def _digit_table(metrics: Mapping[str, Metric]) -> Html:
    heads = ("", "Measured", "95 % interval", "Closed form", "Another digit", "Black", "Mean picture", "n")
    rows: list[tuple[Child, ...]] = []
    for key in DIGIT_KEYS:
        own = metrics[f"digits_{key}"]
        cells = [_cell(metrics, f"digits_{key}{end}") for end in ("_closed_form", "_shuffled", "_black", "_mean")]
        label = f"“{key}”" if key in ("an", "a", "eight") else key.upper() if key != "sentence" else key
        rows.append((label, _cell(metrics, f"digits_{key}"), _interval(own), *cells, f"{own.n or 0:,}"))
    told = (
        "Two tiny models trained in this run, a captioner that sees real 8 by 8 digits and a language model that does "
        "not; the closed form is what they would give had they learnt all that the captions hold."
    )
    return join(data_table("Captions of digits: nats a word", heads, rows, numeric=range(1, 8)), paragraph(told))
