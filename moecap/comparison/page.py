"""The page of a comparison: one HTML file that needs no network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moecap.comparison.comparable import what_differs
from moecap.comparison.comparison import Comparison
from moecap.comparison.lines import Line
from moecap.comparison.wording import between, difference_text, effect_text, headlines, said, sentence
from moecap.metrics.difference import Estimate
from moecap.report.figures import display
from moecap.report.headline import badge, validity
from moecap.report.markup import Child, Html, data_table, element, folded, join, paragraph
from moecap.report.page import page, write_page
from moecap.report.section import Chart, Section, chart_figure, how_to_read

__all__ = ["comparison_html", "write_comparison_page"]

HOW = (
    "Each dot is B over A with its 95 % interval, on a logarithmic axis: 1 is equal. An interval that leaves out 1 is "
    "a difference that is shown; a green dot is better, a hollow one worse, a grey one not told apart."
)
METHOD = (
    "Intervals are Welch's over repeats where both sides have three or more. Else they come from within each run: "
    "blocks of its time are drawn again, since requests that share batches are not independent; they say nothing of "
    "what would differ from one run to the next. Scores on the same questions are compared question by question."
)
ROW = 30
"""Height of a line of the chart, CSS pixels."""

COLOURS = {"better": "--green", "worse": "--orange", "higher": "--blue", "lower": "--blue"}


def write_comparison_page(found: Sequence[Comparison], target: Path) -> Path:
    """Write the page.

    Args:
        found: Comparisons with one baseline.
        target: Where to write.

    Raises:
        BadInputError: If the file cannot be written.
    """
    return write_page(target, comparison_html(found))


def comparison_html(found: Sequence[Comparison]) -> str:
    """The page of comparisons with one baseline."""
    title = f"{found[0].a.title}: {len(found)} compared with it" if len(found) > 1 else "Two results compared"
    sections = [section for number, one in enumerate(found) for section in _sections(one, number, len(found))]
    top = element("header", element("h1", title), *(_head(one) for one in found), id="top")
    return page(title, top, sections, None)


def _head(one: Comparison) -> Html:
    sides = [
        element(
            "li",
            element("span", "", class_=f"key s{number}", aria_hidden="true"),
            element("strong", f"{name}: {side.title}"),
            " ",
            element("span", badge(side.kind, f"kind {side.kind}"), class_="badges"),
            element("small", f"{side.about.get('engine', 'engine not stated')}; {Path(side.name).name}"),
        )
        for number, (name, side) in enumerate((("A", one.a), ("B", one.b)))
    ]
    barred = [paragraph(f"Not comparable: {text}.", class_="alarm") for text in one.obstacles]
    checks = [
        paragraph(
            element("strong", "Over the limit: " if check.failed else "Within the limit: "),
            check.text,
            class_="alarm" if check.failed else None,
        )
        for check in one.checks
    ]
    notes = element("ul", *(element("li", text) for text in one.remarks)) if one.remarks else None
    return join(element("ol", *sides, class_="runs"), *barred, paragraph(sentence(one), class_="lead"), *checks, notes)


def _sections(one: Comparison, number: int, of: int) -> list[Section]:
    mark = f"-{number + 1}" if of > 1 else ""
    name = f" {number + 1}" if of > 1 else ""
    unlike = what_differs(one.a.about, one.b.about)
    rows = [(key, x, y) for key, (x, y) in unlike.items()]
    differs = (
        data_table("What differs beside the numbers", ("", "A", "B"), rows)
        if rows
        else paragraph("Model, hardware, engine and settings are the same in both.")
    )
    remarks = [
        join(element("h3", f"{side}"), validity(flags)) for side, flags in (("A", one.a.flags), ("B", one.b.flags))
    ]
    shown = headlines(one.lines)
    chart = _chart(shown, f"ratios{mark}")
    figure = None
    if chart is not None:
        figure = chart_figure(chart, "B over A", "Ratios with their 95 % intervals.", how_to_read(HOW))
    others = [line for line in one.lines if line not in shown]
    every = folded(f"The other {len(others)} metrics", _table(others, "All other metrics")) if others else None
    table = join(_table(shown, "Headline metrics"), paragraph(METHOD, class_="faint"), every)
    return [
        Section(f"differences{mark}", f"Differences{name}", join(figure, table), (chart,) if chart else ()),
        Section(f"differs{mark}", f"What differs{name}", differs),
        Section(f"validity{mark}", f"Validity{name}", join(*remarks)),
    ]


def _table(lines: Sequence[Line], caption: str) -> Html:
    rows: list[tuple[Child, ...]] = [
        (
            line.name,
            display(line.a),
            display(line.b),
            between(line),
            _verdict(line),
            effect_text(line),
            difference_text(line),
        )
        for line in lines
    ]
    heads = ("Metric", "A", "B", "B against A, 95 % interval", "Verdict", "Effect size", "Difference")
    return data_table(caption, heads, rows, numeric=(1, 2, 3, 6), class_="comparison differences")


def _verdict(line: Line) -> Html:
    if line.verdict is None:
        return element("span", said(line), class_="missing")
    return join(element("strong", line.verdict), element("small", line.method))


def _chart(lines: Sequence[Line], name: str) -> Chart | None:
    """The ratios that have an interval, one a line, from the top."""
    drawn = [(line, line.ratio) for line in lines if isinstance(line.ratio, Estimate) and line.verdict is not None]
    kept = [(line, ratio) for line, ratio in drawn if math.isfinite(ratio.high) and ratio.low > 0]
    if not kept:
        return None
    kept.reverse()
    colours = [COLOURS.get(str(line.verdict), "--grey") for line, _ in kept]
    symbols = ["circle-open" if line.verdict == "worse" else "circle" for line, _ in kept]
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "x": [ratio.value for _, ratio in kept],
        "y": [line.name for line, _ in kept],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [ratio.high - ratio.value for _, ratio in kept],
            "arrayminus": [ratio.value - ratio.low for _, ratio in kept],
            "color": "--muted",
            "thickness": 1.5,
        },
        "marker": {"size": 9, "color": colours, "symbol": symbols},
        "text": [f"{between(line)}: {line.verdict}" for line, _ in kept],
        "hovertemplate": "%{y}<br>%{text}<extra></extra>",
    }
    layout = {
        "xaxis": {"type": "log", "title": {"text": "B over A"}, "tickvals": _ticks(kept)},
        "shapes": [
            {
                "type": "line",
                "x0": 1,
                "x1": 1,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"color": "--muted", "dash": "dot", "width": 1},
            }
        ],
    }
    label = "Ratios of the metrics of B to those of A with their intervals"
    return Chart(name, [trace], layout, 80 + ROW * len(kept), label)


def _ticks(drawn: Sequence[tuple[Line, Estimate]]) -> list[float]:
    """Where the axis is marked: 1, and powers of two, or of ten where the intervals span much."""
    most = max(max(ratio.high, 1 / ratio.low) for _, ratio in drawn)
    base = 2 if most < 8 else 10
    count = min(math.ceil(math.log(most, base)), 6)
    return [float(base) ** power for power in range(-count, count + 1)]
