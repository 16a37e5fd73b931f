"""The chart of trade-offs: rows in two quantities, coloured by engine, with the frontier drawn and the others faded."""

from __future__ import annotations

from html import escape
from typing import Any

from moecap.report.figures import display_value
from moecap_leaderboard.pages.chart import styled
from moecap_leaderboard.pages.look import engine_colour
from moecap_leaderboard.pages.measures import QUANTITIES
from moecap_leaderboard.pages.naming import configuration_name, engine_name, load_name
from moecap_leaderboard.pages.pareto import Placed, Scatter

__all__ = ["tradeoffs_chart"]

_SYMBOLS = {"measured": "circle", "imported": "circle-open", "projected": "diamond-open"}
_FADED = 0.4
_TICKS: dict[str, dict[str, Any]] = {
    "cost": {"tickprefix": "$"},
    "latency": {"tickformat": "~s", "ticksuffix": "s"},
    "ttft": {"tickformat": "~s", "ticksuffix": "s"},
}

_SPAN = 20.0
"""From this ratio of the largest to the least value on an axis is logarithmic."""


def tradeoffs_chart(found: Scatter, x: str, y: str) -> Any:
    """The chart; null where there is nothing to draw."""
    import plotly.graph_objects as go

    if not found.points:
        return None
    figure = go.Figure()
    for projected in (False, True):
        line = [p for p in found.front if (p.item["kind"] == "projected") == projected]
        if line:
            figure.add_trace(
                go.Scatter(
                    x=[p.x.value for p in line],
                    y=[p.y.value for p in line],
                    mode="lines",
                    name="frontier of projections" if projected else "frontier",
                    line={"color": "#7f8790", "width": 1.4, "dash": "dash" if projected else "solid"},
                    hoverinfo="skip",
                )
            )
    groups: dict[tuple[str, str], list[Placed]] = {}
    for placed in found.points:
        groups.setdefault((placed.item["engine"]["name"], placed.item["kind"]), []).append(placed)
    for (engine, kind), group in sorted(groups.items()):
        figure.add_trace(
            go.Scatter(
                x=[p.x.value for p in group],
                y=[p.y.value for p in group],
                mode="markers",
                name=escape(f"{engine_name(engine)}, {kind}"),
                text=[_hover(p) for p in group],
                hovertemplate="%{text}<extra></extra>",
                marker={
                    "color": engine_colour(engine),
                    "symbol": _SYMBOLS[kind],
                    "size": [10 if p.on_front else 7 for p in group],
                    "opacity": [1.0 if p.on_front else _FADED for p in group],
                    "line": {"width": 1.6},
                },
            )
        )
    figure.update_layout(
        height=520,
        xaxis=_axis([p.x.value or 0.0 for p in found.points], x),
        yaxis=_axis([p.y.value or 0.0 for p in found.points], y),
        hovermode="closest",
    )
    return styled(figure)


def _hover(placed: Placed) -> str:
    item = placed.item
    lines = [configuration_name(item), load_name(item), item["kind"]]
    for measure in (placed.x, placed.y):
        lines.append(f"{measure.name}: {display_value(measure.metric.value or 0.0, measure.metric.unit)}")
    return "<br>".join([f"<b>{escape(item['model']['name'])}</b>", *map(escape, lines)])  # Plotly reads links, too


def _axis(values: list[float], key: str) -> dict[str, Any]:
    quantity = QUANTITIES[key]
    wide = min(values) > 0 and max(values) / min(values) > _SPAN
    arrow = "less is better" if quantity.better == "lower" else "more is better"
    axis: dict[str, Any] = {"type": "log" if wide else "linear", "title": {"text": f"{quantity.unit} ({arrow})"}}
    if wide:
        axis["dtick"] = "D2"  # 1, 2 and 5 of each decade
    return axis | _TICKS.get(key, {})
