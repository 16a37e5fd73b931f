"""Where the time of sessions goes, turn by turn: the tool, the first token, the answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from moecap.metrics.sessions import turn_times
from moecap.metrics.value import absent
from moecap.report.figures import display_value
from moecap.report.markup import Html, data_table
from moecap.report.reported_run import ReportedRun
from moecap.report.section import PHASE_COLOURS, Chart, Section, chart_figure, how_to_read, metric_value, side_by_side

__all__ = ["sessions_section"]

PARTS = {
    "tool": ("wait for the tool", PHASE_COLOURS["warm-up"]),
    "prefill": ("to the first token", PHASE_COLOURS["prefill"]),
    "decode": ("first to last token", PHASE_COLOURS["decode"]),
}
ROWS = {
    "session.turns_mean": "turns of a session, mean",
    "session.e2e.p50": "whole session, median",
    "session.e2e.p90": "whole session, 90th percentile",
    "session.prefill_share": "share: to first tokens",
    "session.decode_share": "share: between first and last tokens",
    "session.tool_share": "share: tools",
    "session.client_share": "share: the client's own delay",
}
HOW = (
    "Each bar is one turn, a mean over the sessions that have it and of which every turn completed. The wait is that "
    "before the turn, for a tool or a reader; the time to the first token holds the wait in the server's queue and the "
    "prefill of the conversation so far, as far as no prefix cache serves it."
)


def sessions_section(run: ReportedRun) -> Section | None:
    """The turns of the load's sessions; nothing where it has none."""
    if run.evidence is None or (times := turn_times(run.evidence.load)).empty:
        return None
    chart = _chart(times)
    figure = chart_figure(chart, "What each turn takes", _sentence(times), how_to_read(HOW, ("TTFT",)))
    return Section("sessions", "Sessions", side_by_side(figure, _table(run)), (chart,))


def _sentence(times: pd.DataFrame) -> str:
    count, turns = int(times["sessions"].max()), len(times)
    per_session = (times[[*PARTS]].mul(times["sessions"], axis=0)).sum() / count
    parts = ", ".join(f"{display_value(float(per_session[name]), 's')} {label}" for name, (label, _) in PARTS.items())
    return f"{count:,} sessions of up to {turns} turns; of a session on average {parts}."


def _chart(times: pd.DataFrame) -> Chart:
    number = [int(turn) + 1 for turn in times.index]
    beside = np.stack([times["sessions"], times["input_tokens"].round()], axis=1).astype(int).tolist()
    traces: list[dict[str, Any]] = [
        {
            "type": "bar",
            "name": label,
            "x": number,
            "y": [float(f"{seconds:.5g}") for seconds in times[name]],
            "customdata": beside,
            "marker": {"color": colour},
            "hovertemplate": f"turn %{{x}}: %{{y:.4g}} s {label}<br>%{{customdata[0]:,}} sessions, "
            "prompt of %{customdata[1]:,} tokens<extra></extra>",
        }
        for name, (label, colour) in PARTS.items()
        if times[name].any()
    ]
    layout = {
        "barmode": "stack",
        "bargap": 0.25,
        "showlegend": True,
        "legend": {"y": 1.14},
        "xaxis": {"title": {"text": "turn"}, "dtick": max(1, len(number) // 12), "zeroline": False, "showgrid": False},
        "yaxis": {"ticksuffix": " s", "rangemode": "tozero", "nticks": 6},
    }
    return Chart("chart-sessions", traces, layout, 320, "Time of each turn of the sessions")


def _table(run: ReportedRun) -> Html:
    rows = []
    for name, label in ROWS.items():
        metric = run.result.metrics.get(name, absent("s", "not in this result"))
        rows.append((label, metric_value(name, metric), f"{metric.n:,}" if metric.value is not None else ""))
    return data_table("Sessions that completed", ("", "Value", "n"), rows, numeric=(1, 2))
