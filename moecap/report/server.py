"""What the server said of itself during the load: requests that run and wait, its KV cache, preemptions, cache hits."""

from __future__ import annotations

from typing import Any

import pandas as pd

from moecap.metrics.server import server_series
from moecap.metrics.value import absent
from moecap.report.markup import Html, data_table
from moecap.report.reported_run import ReportedRun
from moecap.report.section import Chart, Section, chart_figure, how_to_read, metric_value, side_by_side

__all__ = ["server_section"]

LINES = {
    "running": ("requests", "running", "--blue", "%{y:,.0f} running"),
    "waiting": ("requests", "waiting", "--orange", "%{y:,.0f} waiting"),
    "kv_usage": ("KV cache in use", "KV cache in use", "--green", "%{y:.1%} of the KV cache"),
    "cached_share": ("prompt tokens from the prefix cache", "from the prefix cache", "--purple", "%{y:.1%} so far"),
    "preemptions": ("preemptions so far", "preemptions", "--grey", "%{y:,.0f} preemptions so far"),
}
"""Panel, name, colour and hover text of each line; a panel is drawn where the server publishes one of its lines."""
SHARES = ("kv_usage", "cached_share")
GAP = 0.42
"""Space between two panels, as a share of the height of one."""
ROWS = {
    "server.running_mean": "requests running, mean",
    "server.waiting_mean": "requests waiting, mean",
    "server.kv_cache_usage_max": "KV cache in use, at most",
    "server.prefix_cache_hit_share": "prompt tokens from the prefix cache",
    "server.preemptions": "preemptions",
    "server.queue_time_mean": "wait in the queue, mean",
    "server.ttft_mean": "TTFT by the server, mean",
    "server.ttft_outside": "TTFT outside the server, mean",
}
HOW = (
    "The server's own counters, looked at once a second over a connection of their own; what happens between two looks "
    "is not seen. Preemptions and the share from the prefix cache count from the start of the load. The shaded span is "
    "the steady state."
)


def server_section(run: ReportedRun) -> Section | None:
    """The server's counters over time; nothing where no look at them was made during the load."""
    if run.evidence is None or (series := server_series(run.evidence.observations.server_metrics)).empty:
        return None
    chart = _chart(series, int(run.evidence.load["sent_ns"].min()), run.evidence.window)
    title = "The server's own counters over time"
    figure = chart_figure(chart, title, _sentence(series), how_to_read(HOW, ("Steady state",)))
    return Section("server", "Server", side_by_side(figure, _table(run)), (chart,))


def _sentence(series: pd.DataFrame) -> str:
    words = [f"{len(series):,} looks"]
    if "running" in series:
        words.append(f"{series['running'].min():,.0f} to {series['running'].max():,.0f} requests running")
    if "waiting" in series:
        words.append(f"at most {series['waiting'].max():,.0f} waiting")
    if "kv_usage" in series:
        words.append(f"at most {series['kv_usage'].max():.1%} of the KV cache in use")
    if "preemptions" in series:
        words.append(f"{series['preemptions'].max():,.0f} preemptions")
    return "; ".join(words) + "."


def _chart(series: pd.DataFrame, origin_ns: int, window: tuple[int, int] | None) -> Chart:
    drawn = {name: line for name, line in LINES.items() if name in series}
    panels = list(dict.fromkeys(panel for panel, *_ in drawn.values()))
    x = [round((time_ns - origin_ns) * 1e-9, 3) for time_ns in series.index]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": label,
            "showlegend": panel == "requests",
            "x": x,
            "y": [None if pd.isna(value) else float(f"{value:.5g}") for value in series[name]],
            "yaxis": _axis(panels.index(panel), ""),
            "line": {"color": colour, "width": 1.5, "shape": "hv" if name == "preemptions" else "linear"},
            "marker": {"color": colour, "size": 4},
            "hovertemplate": f"%{{x:.1f}} s: {text}<extra></extra>",
        }
        for name, (panel, label, colour, text) in drawn.items()
    ]
    layout: dict[str, Any] = {
        "legend": {"y": 1 + 0.22 / len(panels)},
        "showlegend": True,
        "hovermode": "closest",
        "shapes": [],
        "annotations": [],
        "xaxis": {
            "ticksuffix": " s",
            "title": {"text": "since the first request"},
            "anchor": _axis(len(panels) - 1, ""),
            "zeroline": False,
        },
    }
    height = 1 / (len(panels) + (len(panels) - 1) * GAP)
    for i, panel in enumerate(panels):
        top = 1 - i * (1 + GAP) * height
        share = any(name in SHARES for name, line in drawn.items() if line[0] == panel)
        layout[_axis(i, "axis")] = {
            "domain": [max(0.0, top - height), top],
            "rangemode": "tozero",
            "nticks": 4,
            "tickformat": ".0%" if share else ",d",
        }
        place = {"x": 0, "y": top, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
        layout["annotations"].append({"text": panel, "showarrow": False, **place})
    if window is not None:
        span = {name: (time_ns - origin_ns) * 1e-9 for name, time_ns in zip(("x0", "x1"), window, strict=True)}
        shade = {"y0": 0, "y1": 1, "yref": "paper", "layer": "below", "fillcolor": "--shade", "line": {"width": 0}}
        layout["shapes"].append({"type": "rect", **span, **shade})
    return Chart("chart-server", traces, layout, 130 * len(panels) + 90, "The server's own counters over time")


def _axis(panel: int, word: str) -> str:
    return f"y{word}" + (str(panel + 1) if panel else "")


def _table(run: ReportedRun) -> Html:
    rows = []
    for name, label in ROWS.items():
        metric = run.result.metrics.get(name, absent("1", "not in this result"))
        if metric.value is not None:
            rows.append((label, metric_value(name, metric), f"{metric.n:,}"))
    return data_table("By the server's own counters", ("", "Value", "n"), rows, numeric=(1, 2))
