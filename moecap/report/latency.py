"""Distributions of the latencies of requests and tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from moecap.metrics.latency import PERCENTILES
from moecap.metrics.value import Metric, absent
from moecap.report.figures import display, display_value
from moecap.report.markup import Child, Html, data_table, element, join, paragraph
from moecap.report.reported_run import ReportedRun
from moecap.report.section import Chart, Section, chart_figure, how_to_read, metric_value

__all__ = ["distribution", "latency_section"]

NAME, HEADING = "latency", "Latency"
KINDS = {
    "ttft": ("TTFT, time to first token", "requests"),
    "tpot": ("TPOT, time per output token", "requests"),
    "itl": ("ITL, gap before a token", "tokens"),
    "e2e": ("E2E, whole request", "requests"),
}
POINTS = 600
LONG_TAIL = 8
"""A largest value above so many medians makes the axis logarithmic."""
HOW = (
    "The line rises from 0 to 1: its height is the share of observations that took at most as long as the time below "
    "it. Steep is steady, a long flat end is a tail. Marks are the percentiles of the result; those with too few "
    "observations have none. Failed requests are in no percentile; they are counted beside."
)


def distribution(values: npt.NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """The empirical distribution as steps, thinned to some hundred points.

    Args:
        values: Observations, [n] with n of at least 1.

    Returns:
        Values in order, and the share of observations up to each.
    """
    ordered = np.sort(values)
    share = np.arange(1, len(ordered) + 1) / len(ordered)
    if len(ordered) > POINTS:
        keep = np.unique(np.linspace(0, len(ordered) - 1, POINTS).astype(np.int64))
        ordered, share = ordered[keep], share[keep]
    return ordered.tolist(), np.round(share, 6).tolist()


def latency_section(run: ReportedRun) -> Section:
    """A distribution for each kind, and the percentiles as a table."""
    table = _table(run.result.metrics)
    if run.evidence is None:
        return Section(NAME, HEADING, join(table, paragraph(f"No distributions: {run.problem}.", class_="missing")))
    figures: list[Html] = []
    charts: list[Chart] = []
    missing: list[str] = []
    for kind, (title, things) in KINDS.items():
        values = run.evidence.latencies[kind]
        if len(values) == 0:
            missing.append(f"{title.split(',')[0]} was observed for no {things[:-1]}")
            continue
        chart, sentence = _chart(kind, title, things, values, run.result.metrics)
        charts.append(chart)
        figures.append(chart_figure(chart, title, sentence))
    remark = paragraph(f"No value: {'; '.join(missing)}.", class_="missing") if missing else None
    grid = element("div", *figures, class_="chart-grid") if figures else None
    how = how_to_read(HOW, ("TTFT", "TPOT", "ITL", "E2E", "Percentile"))
    return Section(NAME, HEADING, join(grid, how, remark, table, _failures(run)), tuple(charts))


def _failures(run: ReportedRun) -> Html | None:
    failed = run.result.metrics.get("failed_requests")
    if failed is None or failed.value is None:
        return None
    text = f"{failed.value:.0f} of n = {failed.n or 0:,} requests failed or did not finish."
    errors = sorted({str(e) for e in run.evidence.load["error"].dropna()}) if run.evidence is not None else []
    return paragraph(text, " ", "; ".join(errors[:5]) or None, class_="faint")


def _table(metrics: dict[str, Metric]) -> Html:
    rows: list[tuple[Child, ...]] = []
    reasons: dict[str, None] = {}
    for kind, (title, things) in KINDS.items():
        found = [metrics.get(f"{kind}.p{p}", absent("s", "not in this result")) for p in PERCENTILES]
        cells = [metric_value(f"{kind}.p{p}", m, reason=False) for p, m in zip(PERCENTILES, found, strict=True)]
        rows.append((title, *cells, f"{max(m.n or 0 for m in found):,} {things}"))
        for p, m in zip(PERCENTILES, found, strict=True):
            if m.reason:
                reasons[f"p{p} of {kind.upper()}: {m.reason}"] = None
    remark = None
    if reasons:
        items = [element("li", reason) for reason in reasons]
        remark = element("details", element("summary", f"Why {len(reasons)} have no value"), element("ul", *items))
    heads = ("Latency", *(f"p{p}" for p in PERCENTILES), "n")
    return join(data_table("Percentiles", heads, rows, numeric=range(1, len(heads))), remark)


def _chart(
    kind: str, title: str, things: str, values: npt.NDArray[np.float64], metrics: dict[str, Metric]
) -> tuple[Chart, str]:
    unit, factor = ("s", 1.0) if np.median(values) >= 1 else ("ms", 1e3)
    x, y = distribution(values)
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [round(v * factor, 6) for v in x],
            "y": y,
            "line": {"shape": "hv", "color": "--blue", "width": 1.6},
            "hovertemplate": f"%{{y:.0%}} took at most %{{x:.4g}} {unit}<extra></extra>",
        }
    ]
    marks = [
        (p, m.value) for p in PERCENTILES if (m := metrics.get(f"{kind}.p{p}")) is not None and m.value is not None
    ]
    if marks:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [round(v * factor, 6) for _, v in marks],
                "y": [p / 100 for p, _ in marks],
                "text": [f"p{p}: {display_value(v, 's')}" for p, v in marks],
                "marker": {"color": "--red", "size": 8, "symbol": "diamond"},
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    low, high = float(values.min()) * factor, float(values.max()) * factor
    pad = (high - low) * 0.04 or high * 0.1
    axis: dict[str, Any] = {"ticksuffix": f" {unit}", "nticks": 5, "range": [low - pad, high + pad]}
    if values.max() > LONG_TAIL * np.median(values):
        axis = {"ticksuffix": f" {unit}", "type": "log", "nticks": 5, "tickformat": "~r"}
    layout = {
        "xaxis": axis,
        "yaxis": {"range": [0, 1.04], "tickvals": [0, 0.5, 0.9, 1], "tickformat": ".0%"},
        "showlegend": False,
        "hovermode": "closest",
    }
    median = metrics.get(f"{kind}.p50", absent("s", "not in this result"))
    known = ", ".join(f"p{p} {display_value(v, 's')}" for p, v in marks[1:])
    text = f"Median {display(median)}{f', {known}' if known else ''}, n = {len(values):,} {things}."
    return Chart(f"chart-{kind}", traces, layout, 210, f"Distribution of {title}"), text
