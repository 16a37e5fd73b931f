"""Every engine step over time: how long it took, how many sequences it carried, how well it used memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from moecap.report.figures import display_value
from moecap.report.markup import paragraph
from moecap.report.reported_run import PHASES, Evidence, ReportedRun
from moecap.report.section import PHASE_COLOURS, Chart, Section, chart_figure, how_to_read

__all__ = ["timeline_section"]

NAME, HEADING = "timeline", "Timeline"
MOST = 4000
GAP = 0.34
"""Space between two panels, as a share of the height of one."""
HOW = (
    "Each mark is one step at the time at which it started. The shaded span is the steady state, from which throughput "
    "and utilisation are taken; the warm-up is in no number. S-MBU of single steps scatters more than the ratio of "
    "sums in the table, and a prefill step is low since arithmetic bounds it."
)


def timeline_section(run: ReportedRun) -> Section:
    """Step time, sequences and S-MBU over time."""
    evidence = run.evidence
    if evidence is None:
        return Section(NAME, HEADING, paragraph(f"No timeline: {run.problem}.", class_="missing"))
    n = len(evidence.observations.steps)
    if n == 0:
        return Section(NAME, HEADING, paragraph("No timeline: no step was recorded.", class_="missing"))
    chart, shown = _chart(evidence)
    figure = chart_figure(
        chart, "Steps over time", _sentence(evidence, shown), how_to_read(HOW, ("Step", "Steady state"))
    )
    return Section(NAME, HEADING, figure, (chart,))


def _sentence(evidence: Evidence, shown: int) -> str:
    steps = evidence.observations.steps
    n = len(steps)
    span = float((steps.start_ns + steps.duration_ns).max() - steps.start_ns.min()) * 1e-9
    text = f"{n:,} steps in {display_value(span, 's')}"
    if shown < n:
        text += f" ({shown:,} of them drawn)"
    decode = evidence.masks["decode"]
    if not decode.any():
        return f"{text}; no decode step in the steady state."
    times = steps.duration_ns[decode] * 1e-9
    low, middle, high = np.percentile(times, [5, 50, 95])
    return (
        f"{text}; the middle 90 % of {int(decode.sum()):,} decode steps took {display_value(low, 's')} to "
        f"{display_value(high, 's')}, the median {display_value(middle, 's')}."
    )


def _chart(evidence: Evidence) -> tuple[Chart, int]:
    steps, work = evidence.observations.steps, evidence.work
    n = len(steps)
    origin = int(steps.start_ns.min())
    keep = np.zeros(n, bool)
    keep[np.unique(np.linspace(0, n - 1, min(n, MOST)).astype(np.int64))] = True
    start = (steps.start_ns - origin) * 1e-9
    milliseconds = steps.duration_ns * 1e-6
    sequences = steps.seq_new.lengths()
    mbu: npt.NDArray[np.float64] | None = None
    if work.bytes is not None and evidence.peaks.bandwidth is not None:
        mbu = work.bytes.total() / (steps.duration_ns * 1e-9 * evidence.peaks.bandwidth)
    panels = 3 if mbu is not None else 2
    warm = steps.stage == "warmup"
    groups = {"warm-up": warm} | {phase: getattr(work, phase) & ~warm for phase in PHASES}
    traces: list[dict[str, Any]] = []
    for name, group in groups.items():
        mask = group & keep
        if not mask.any():
            continue
        x = np.round(start[mask], 4).tolist()
        rows: list[tuple[str, npt.NDArray[Any], str]] = [
            ("y", milliseconds, "%{y:,.4g} ms"),
            ("y2", sequences, "%{y} sequences"),
        ]
        if mbu is not None:
            rows.append(("y3", mbu, "S-MBU %{y:.3f}"))
        for axis, values, text in rows:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": name,
                    "legendgroup": name,
                    "showlegend": axis == "y",
                    "x": x,
                    "y": [float(f"{v:.5g}") for v in values[mask]],
                    "yaxis": axis,
                    "marker": {"color": PHASE_COLOURS[name], "size": 4.5, "opacity": 0.75},
                    "hovertemplate": f"{name} at %{{x:.2f}} s<br>{text}<extra></extra>",
                }
            )
    layout: dict[str, Any] = {
        "legend": {"y": 1.09},
        "xaxis": {
            "ticksuffix": " s",
            "title": {"text": "since the first step"},
            "anchor": f"y{panels}",
            "zeroline": False,
        },
        "hovermode": "closest",
        "showlegend": True,
        "shapes": [],
        "annotations": [],
    }
    names = ("step time, ms", "sequences a step", "S-MBU of a step")
    for i in range(panels):
        bottom = (panels - 1 - i) * (1 + GAP) / (panels + (panels - 1) * GAP)
        top = bottom + 1 / (panels + (panels - 1) * GAP)
        key = "yaxis" if i == 0 else f"yaxis{i + 1}"
        layout[key] = {"domain": [bottom, top], "rangemode": "tozero", "nticks": 4}
        layout["annotations"].append(
            {
                "text": names[i],
                "x": 0,
                "y": top,
                "xref": "paper",
                "yref": "paper",
                "xanchor": "left",
                "yanchor": "bottom",
                "showarrow": False,
            }
        )
    layout["yaxis"] |= {"type": "log", "tickformat": "~r"}
    if milliseconds.max() > 10 * milliseconds.min():
        layout["yaxis"]["dtick"] = 1
    del layout["yaxis"]["rangemode"]
    if evidence.window is not None:
        span = [(t - origin) * 1e-9 for t in evidence.window]
        layout["shapes"].append(
            {
                "type": "rect",
                "x0": span[0],
                "x1": span[1],
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "layer": "below",
                "fillcolor": "--shade",
                "line": {"width": 0},
            }
        )
    return Chart("chart-timeline", traces, layout, 150 * panels + 60, "Steps over time"), int(keep.sum())
