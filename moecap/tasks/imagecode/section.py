"""The method's part of the report: shares right of videos and static sets, by variant, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moecap.metrics.value import Metric
from moecap.report.figures import NO_VALUE, in_lines
from moecap.report.markup import Child, Html, data_table, folded, join, paragraph
from moecap.report.section import Chart, Section, chart_figure, how_to_read, metric_value
from moecap.tasks.imagecode.picked import CHATS, GIVEN, NAME, Picked, picked
from moecap.tasks.imagecode.questions import IMAGES, STATIC, VIDEO
from moecap.tasks.imagecode.tables import UNKNOWN
from moecap.tasks.imagecode.variants import VARIANT_TITLES
from moecap.tasks.method import Tables

__all__ = ["imagecode_section"]

HEADING = "ImageCoDe: one of ten similar images by its description"
TITLES = {
    **VARIANT_TITLES,
    CHATS[0]: "the model, ten images",
    CHATS[1]: "the model, one image at a time",
    GIVEN: "given",
}
COLOURS = {VIDEO: "--orange", STATIC: "--blue"}
NAMES = {VIDEO: "frames of a video", STATIC: "static sets"}
HOW = (
    "Each question has ten similar images and a description of one of them. A bar is the share of questions for "
    "which that one was picked, of sets that are frames of one video and of sets of still pictures; the whisker is "
    "its 95 % interval, over seeds where there are several, else over the sets of images (of crops the photographs), "
    "since questions about one are alike. One in ten is right by chance, which the dotted line marks. The numbers "
    "are those of the paper's variants: (0) is not trained; (1) learns to tell the image from others of any set, (2) "
    "from the nine of its own set; (3) scores each image in view of the nine others, (4) also by its place in a "
    "video."
)


def imagecode_section(tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
    """The chart with its tables; ``None`` where nothing was picked or no image that is meant is known."""
    found = [one for one in picked(tables) if (one.golds != UNKNOWN).any()]
    variants = list(dict.fromkeys(one.variant for one in found))
    if not variants:
        return None
    chart = _chart(variants, metrics)
    parts: list[Html] = [
        chart_figure(chart, "Share of images found", _sentence(variants, metrics), how_to_read(HOW)),
        _table(variants, metrics),
        folded("By where the images come from", _sources(found)),
    ]
    seeds = len({one.seed for one in found})
    if any(variant in VARIANT_TITLES for variant in variants):
        many = f"Means over {seeds} seeds." if seeds > 1 else "One seed, so that seeds may differ by more."
        parts.append(paragraph(many, class_="faint"))
    return Section(NAME, HEADING, join(*parts), (chart,))


def _chart(variants: Sequence[str], metrics: Mapping[str, Metric]) -> Chart:
    titles = [in_lines(TITLES[variant]) for variant in variants]
    traces: list[dict[str, Any]] = []
    for kind, colour in COLOURS.items():
        own = [metrics.get(f"{variant}_accuracy_{kind}") for variant in variants]
        if not any(own):
            continue
        traces.append(
            {
                "type": "bar",
                "name": NAMES[kind],
                "x": titles,
                "y": [None if one is None or one.value is None else round(one.value, 4) for one in own],
                "marker": {"color": colour},
                "error_y": {"type": "data", "symmetric": False, **_whiskers(own)},
                "hovertemplate": "%{y:.3f}<extra>%{fullData.name}</extra>",
            }
        )
    layout = {
        "barmode": "group",
        "showlegend": True,
        "legend": {"y": 1.14},
        "yaxis": {"title": {"text": "share right"}, "range": [0, 1]},
        "xaxis": {"showgrid": False},
        "shapes": [
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": 1 / IMAGES,
                "y1": 1 / IMAGES,
                "line": {"color": "#888888", "dash": "dot", "width": 1},
            }
        ],
    }
    return Chart("chart-imagecode", traces, layout, 360, "Share of images found, of videos and of static sets")


def _whiskers(own: Sequence[Metric | None]) -> dict[str, list[float]]:
    """Ends of the intervals as distances from the values; 0 where there is none."""
    ends: dict[str, list[float]] = {"array": [], "arrayminus": []}
    for one in own:
        known = one is not None and one.value is not None and one.low is not None and one.high is not None
        value, low, high = (one.value, one.low, one.high) if known and one else (0.0, 0.0, 0.0)
        ends["array"].append(round((high or 0.0) - (value or 0.0), 4))
        ends["arrayminus"].append(round((value or 0.0) - (low or 0.0), 4))
    return ends


def _sentence(variants: Sequence[str], metrics: Mapping[str, Metric]) -> str:
    told = []
    for variant in variants:
        whole = metrics.get(f"{variant}_accuracy")
        if whole is not None and whole.value is not None:
            told.append(f"{TITLES[variant]}: {whole.value:.3f}")
    constant = metrics.get("constant_accuracy")
    always = f"; always the same place: {constant.value:.3f}" if constant and constant.value is not None else ""
    return "Share of all questions right. " + "; ".join(told) + f"{always}; chance: {1 / IMAGES:.1f}."


def _table(variants: Sequence[str], metrics: Mapping[str, Metric]) -> Html:
    columns = {
        "accuracy": "All",
        "accuracy_video": "Videos",
        "accuracy_static": "Static sets",
        "mrr": "Mean reciprocal rank",
        "unanswered": "No answer",
        "failed_requests": "Failed requests",
        "parameters": "Trained",
        "train_seconds": "Training",
        "score_seconds_per_question": "Time a question",
        "seconds_p50": "Time a question, median",
        "input_tokens": "Tokens shown a question",
        "output_tokens": "Tokens answered",
    }
    asked = [column for column in columns if any(f"{variant}_{column}" in metrics for variant in variants)]
    rows: list[tuple[Child, ...]] = [
        (TITLES[variant], *(_cell(f"{variant}_{column}", metrics) for column in asked)) for variant in variants
    ]
    heads = ("Who picks", *(columns[column] for column in asked))
    return data_table("Shares right, ranks and costs", heads, rows, numeric=range(1, len(heads)))


def _sources(found: Sequence[Picked]) -> Html:
    """Shares right by where the images come from, over all seeds."""
    variants = list(dict.fromkeys(one.variant for one in found))
    sources = sorted({str(source) for one in found for source in one.sources})
    rows: list[tuple[Child, ...]] = []
    for source in sources:
        cells: list[Child] = []
        asked = 0
        for variant in variants:
            right = [
                one.right[(one.sources == source) & (one.golds != UNKNOWN)] for one in found if one.variant == variant
            ]
            asked = max((len(part) for part in right), default=0)
            every = np.concatenate(right)
            cells.append(f"{every.mean():.3f}" if len(every) else NO_VALUE)
        rows.append((source, f"{asked:,}", *cells))
    heads = ("Images from", "Questions", *(TITLES[variant] for variant in variants))
    return data_table("Share right by where the images come from", heads, rows, numeric=range(1, len(heads)))


def _cell(name: str, metrics: Mapping[str, Metric]) -> Child:
    metric = metrics.get(name)
    if metric is None:
        return NO_VALUE
    value = metric_value(f"task.{NAME}_{name}", metric)
    if metric.low is None or metric.high is None or metric.unit != "1":
        return value
    return join(value, f" ({metric.low:.3f} to {metric.high:.3f})")
