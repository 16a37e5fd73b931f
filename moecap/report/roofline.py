"""The roofline: what each phase reached, against what the hardware allows at its arithmetic intensity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from moecap.hardware.profile import Peak
from moecap.metrics.roofline import PhasePoint, Roofline, phase_point
from moecap.metrics.utilisation import mix
from moecap.report.figures import with_prefix
from moecap.report.markup import Html, data_table, paragraph
from moecap.report.reported_run import PHASES, Evidence, ReportedRun
from moecap.report.section import PHASE_COLOURS, Chart, Drawn, Section, drawn_figure, side_by_side

__all__ = ["roofline_drawn", "roofline_points", "roofline_section"]

HOW = (
    "Both axes are logarithmic. The slope is memory bandwidth, the flat part the dense peak of the number format. A "
    "point under the slope is bound by memory, one under the flat part by arithmetic; its distance from the roof is "
    "what the engine leaves unused. Where the model computes in several formats, the flat part is the peak of the "
    "load's mix, and each phase is held against its own. On a processor whose caches hold part of the model a point "
    "can lie above the slope."
)


def roofline_points(evidence: Evidence) -> dict[str, PhasePoint]:
    """Where each phase lies that has steps with known bytes."""
    steps = evidence.observations.steps
    points = {phase: phase_point(evidence.work, steps, evidence.masks[phase]) for phase in PHASES}
    return {phase: point for phase, point in points.items() if point is not None}


def roofline_section(run: ReportedRun) -> Section:
    """The chart, or why there is none."""
    name, heading = "roofline", "Roofline"
    drawn, table = roofline_drawn(run)
    if drawn.chart is None:
        return Section(name, heading, paragraph(f"No roofline: {drawn.sentence}.", class_="missing"))
    return Section(name, heading, side_by_side(drawn_figure(drawn), table), (drawn.chart,))


def roofline_drawn(run: ReportedRun) -> tuple[Drawn, Html | None]:
    """The chart, and the table of its peaks where there is one."""
    title = "Achieved FLOP/s over arithmetic intensity"
    if run.evidence is None:
        return Drawn(title, run.problem), None
    peaks, points = run.evidence.peaks, roofline_points(run.evidence)
    if not points:
        return Drawn(title, run.evidence.no_bytes), None
    load = mix(run.evidence.work.flops_by_format, run.evidence.masks["all"])
    roofline = Roofline.of(peaks, load)
    if roofline is None:
        missing = run.evidence.peaks.no_bandwidth if peaks.bandwidth is None else peaks.no_rate(load)
        return Drawn(title, missing), None
    roofs = {phase: _roof(run.evidence, phase) or roofline for phase in points}
    chart = _chart(points, roofs, roofline, " + ".join(peaks.flops))
    text = "; ".join(_sentence(phase, point, roofs[phase]) for phase, point in points.items())
    rows = [
        (
            "memory bandwidth",
            with_prefix(roofline.bandwidth, "B/s"),
            _source(run.evidence.facts.profile.peak_bandwidth),
        ),
        *_peak_rows(run.evidence, roofline, load),
        ("ridge, where they meet", f"{roofline.ridge:.3g} FLOP/B", "their ratio"),
    ]
    table = data_table("Peaks of all devices together", ("Peak", "Value", "Source"), rows, numeric=(1,))
    return Drawn(title, f"{text[0].upper()}{text[1:]}.", chart, HOW, ("Roof", "Arithmetic intensity")), table


def _roof(evidence: Evidence, phase: str) -> Roofline | None:
    """The roofs for the formats in which a phase computes."""
    return Roofline.of(evidence.peaks, mix(evidence.work.flops_by_format, evidence.masks[phase]))


def _peak_rows(evidence: Evidence, roofline: Roofline, load: dict[str, float]) -> list[tuple[str, str, str]]:
    """The dense peak of each format of the load, and of their mix where there are several."""
    profile = evidence.facts.profile
    peaks = [(name, peak) for name, peak in evidence.peaks.flops.items() if peak is not None]
    rows = [
        (f"dense {name} peak", with_prefix(peak, "FLOP/s"), _source(profile.peak_flops(name))) for name, peak in peaks
    ]
    if len(rows) > 1:
        total = sum(load.values())
        shares = ", ".join(f"{count / total:.0%} {name}" for name, count in load.items())
        rows.append(
            (
                "peak of the load's mix",
                with_prefix(roofline.flops, "FLOP/s"),
                f"all FLOPs over the least time; {shares}",
            )
        )
    return rows


def _source(peak: Peak | None) -> str:
    return f"{peak.source}: {peak.detail}" if peak else "unknown"


def _sentence(phase: str, point: PhasePoint, roofline: Roofline) -> str:
    share = point.achieved / roofline.attainable(point.intensity)
    return (
        f"{phase} (n = {point.steps:,}) does {point.intensity:.3g} FLOP for each byte and reaches "
        f"{with_prefix(point.achieved, 'FLOP/s')}, {share:.0%} of its {roofline.bound(point.intensity)} roof"
    )


def _chart(points: dict[str, PhasePoint], roofs: dict[str, Roofline], roofline: Roofline, formats: str) -> Chart:
    bandwidth, flops, ridge = roofline.bandwidth, roofline.flops, roofline.ridge
    intensities = [p.intensity for p in points.values()]
    left, right = min(*intensities, ridge) / 4, max(*intensities, ridge) * 4
    x = np.geomspace(left, right, 61)
    x = np.sort(np.append(x, ridge))
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"roof: {with_prefix(bandwidth, 'B/s')}, {with_prefix(flops, 'FLOP/s')} {formats}",
            "x": x.tolist(),
            "y": np.minimum(bandwidth * x, flops).tolist(),
            "line": {"color": "--ink", "width": 1.6},
            "hovertemplate": "roof at %{x:.3g} FLOP/B<br>%{y:.3s}FLOP/s<extra></extra>",
        }
    ]
    for phase, point in points.items():
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": phase,
                "x": [point.intensity, point.intensity],
                "y": [point.achieved, roofs[phase].attainable(point.intensity)],
                "line": {"color": PHASE_COLOURS[phase], "width": 1.2, "dash": "dot"},
                "marker": {
                    "color": PHASE_COLOURS[phase],
                    "size": [11, 1],
                    "opacity": 1,
                    "symbol": {"prefill": "diamond", "decode": "circle", "mixed": "square", "score": "triangle-up"}[
                        phase
                    ],
                },
                "hovertemplate": f"{phase}, n = {point.steps:,}<br>%{{x:.3g}} FLOP/B<br>"
                "%{y:.3s}FLOP/s<extra></extra>",
            }
        )
    low = min(*(p.achieved for p in points.values()), bandwidth * left) / 2
    high = max(flops, *(p.achieved for p in points.values())) * 2.5
    ticks = [float(10.0**e) for e in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    layout = {
        "xaxis": {
            "type": "log",
            "dtick": 1,
            "title": {"text": "useful FLOP for each byte read"},
            "range": np.log10([left, right]).tolist(),
        },
        "yaxis": {
            "type": "log",
            "range": np.log10([low, high]).tolist(),
            "tickvals": ticks,
            "ticktext": [with_prefix(tick, "FLOP/s") for tick in ticks],
        },
        "hovermode": "closest",
        "showlegend": True,
    }
    return Chart("chart-roofline", traces, layout, 380, "Roofline of the run's phases")
