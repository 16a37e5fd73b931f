"""The numbers of a report's chart as a table, for those who cannot see it."""

from __future__ import annotations

from typing import Any

from moecap.report.markup import Child, Html, data_table
from moecap.report.section import Chart

__all__ = ["chart_table"]

_CELLS = 4096
"""Cells up to which a heat map is written out; of a larger one the extremes of each column stand."""


def chart_table(chart: Chart) -> Html | None:
    """The numbers of a chart, or ``None`` where it holds none of the kinds that are known here."""
    first = chart.data[0]
    if first["type"] == "heatmap":
        return _heatmap(chart, first)
    rows: list[tuple[Child, ...]] = []
    for trace in chart.data:
        if trace["type"] != "scatter" or (trace.get("mode") == "lines" and len(trace["x"]) > 60):
            continue  # a curve between points that are listed elsewhere
        rows += [(str(trace.get("name", "")), _text(x), _text(y)) for x, y in zip(trace["x"], trace["y"], strict=True)]
    if not rows:
        return None
    across = _title(chart.layout, "xaxis", "across")
    up = _title(chart.layout, "yaxis", "up")
    return data_table(chart.label, ("", across, up), rows, numeric=(1, 2))


def _heatmap(chart: Chart, trace: dict[str, Any]) -> Html:
    columns = list(zip(*trace["z"], strict=True))
    across, up = _title(chart.layout, "xaxis", "column"), _title(chart.layout, "yaxis", "row")
    if len(columns) * len(trace["z"]) > _CELLS:
        rows: list[tuple[Child, ...]] = [
            (
                _text(x),
                _text(max(z)),
                _text(trace["y"][z.index(max(z))]),
                _text(min(z)),
                _text(trace["y"][z.index(min(z))]),
            )
            for x, z in zip(trace["x"], columns, strict=True)
        ]
        heads = (across, "most", f"{up} of it", "least", f"{up} of it")
        return data_table(chart.label, heads, rows, numeric=range(1, 5))
    body: list[tuple[Child, ...]] = [
        (_text(x), *(_text(value) for value in z)) for x, z in zip(trace["x"], columns, strict=True)
    ]
    heads_all = (across, *(f"{up} {_text(y)}" for y in trace["y"]))
    return data_table(chart.label, heads_all, body, numeric=range(1, len(heads_all)))


def _title(layout: dict[str, Any], axis: str, otherwise: str) -> str:
    title: str = layout.get(axis, {}).get("title", {}).get("text", otherwise)
    return title


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
