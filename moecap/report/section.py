"""The parts of the page: sections, charts, metrics with their n, and the folded explanations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from moecap.metrics.value import Metric
from moecap.report.figures import display, display_value
from moecap.report.markup import Html, element, folded, join

__all__ = [
    "Chart",
    "Drawn",
    "Section",
    "chart_figure",
    "drawn_figure",
    "glossary",
    "how_to_read",
    "marked",
    "metric_value",
    "note",
    "side_by_side",
]

PHASE_COLOURS = {
    "prefill": "--orange",
    "decode": "--blue",
    "mixed": "--purple",
    "score": "--green",
    "warm-up": "--grey",
}
"""Colours are names of the style sheet's variables: the page's script looks them up for light and dark."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as Plotly takes it.

    Attributes:
        id: Unique in the page.
        data: Traces; a text that begins with ``--`` names a colour of the style sheet.
        layout: Layout over the page's own template.
        height: Height in CSS pixels.
        label: What it shows, for screen readers.
    """

    id: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int
    label: str


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page with the charts that its body has places for."""

    id: str
    heading: str
    body: Html
    charts: tuple[Chart, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart with what explains it, or why there is none.

    Attributes:
        title: What it is of.
        sentence: What it shows, or the reason why there is none, as the end of a sentence.
        chart: The chart.
        how: How to read it.
        terms: Terms of the glossary that it needs.
    """

    title: str
    sentence: str
    chart: Chart | None = None
    how: str = ""
    terms: tuple[str, ...] = ()


def marked(layout: dict[str, Any], kind: str) -> dict[str, Any]:
    """The layout of a chart with a mark across it where its numbers were not measured."""
    if kind == "measured":
        return layout
    mark = {
        "text": f"{kind}, not measured",
        "xref": "paper",
        "yref": "paper",
        "x": 0.5,
        "y": 0.5,
        "showarrow": False,
        "opacity": 0.45,
        "font": {"size": 24},
    }
    return {**layout, "annotations": [*layout.get("annotations", []), mark]}


def chart_figure(chart: Chart, title: str, sentence: str, how: Html | None = None) -> Html:
    """A chart's place, the sentence that says what it shows, and how to read it."""
    place = element(
        "div", class_="plot", id=chart.id, role="img", aria_label=chart.label, style=f"height:{chart.height}px"
    )
    caption = element("figcaption", element("span", sentence), how)
    return element("figure", element("h3", title), place, caption)


def drawn_figure(drawn: Drawn) -> Html:
    """The figure of a chart, or the sentence that says why there is none."""
    if drawn.chart is None:
        return element("p", f"{drawn.title}: no chart, since {drawn.sentence}.", class_="missing")
    return chart_figure(drawn.chart, drawn.title, drawn.sentence, how_to_read(drawn.how, drawn.terms))


@cache
def glossary() -> dict[str, str]:
    """Terms and what they mean here."""
    import yaml

    text = files("moecap.report").joinpath("glossary.yaml").read_text(encoding="utf-8")
    terms: dict[str, str] = yaml.safe_load(text)
    return terms


def side_by_side(first: Html, second: Html | None) -> Html:
    """A figure and the table beside it; under each other where the page is narrow."""
    return first if second is None else element("div", first, second, class_="pair")


def how_to_read(text: str, terms: Sequence[str] = ()) -> Html:
    """A folded explanation with the terms that it needs."""
    entries = [join(element("dt", term), element("dd", glossary()[term])) for term in terms]
    return folded("How to read this", element("p", text), element("dl", *entries) if entries else None, class_="how")


def metric_value(name: str, metric: Metric, *, reason: bool = True) -> Html:
    """A metric as text that keeps its exact value for machines; its reason where it has none."""
    if metric.value is None:
        why = element("span", metric.reason, class_="reason") if reason else None
        dash = element("span", "no value", class_="none", title=metric.reason, data_metric=name)
        return join(dash, " " if why else None, why)
    return element("data", display(metric), value=repr(metric.value), data_metric=name)


def note(metric: Metric, things: str, *, estimated: bool = False) -> str:
    """The interval and the n of a metric that has a value: ``95 % interval 0.33 to 0.596 · n = 50 questions``.

    Args:
        metric: The metric.
        things: What n counts.
        estimated: Whether the ends are those of an estimate in place of an interval.
    """
    words = []
    if metric.low is not None and metric.high is not None:
        low, high = (display_value(x, metric.unit) for x in (metric.low, metric.high))
        if metric.basis == "prediction":
            words.append(f"80 % prediction interval {low} to {high}")
        else:
            words.append(f"estimated, between {low} and {high}" if estimated else f"95 % interval {low} to {high}")
    if metric.n:
        words.append(f"n = {metric.n:,} {things}".rstrip())
    return " · ".join(words)
