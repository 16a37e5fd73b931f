"""Utilisation of each phase, and what a step reads."""

from __future__ import annotations

from typing import Any

from moecap.metrics.value import Metric, absent
from moecap.report.figures import NO_VALUE, display_value, with_prefix
from moecap.report.markup import Child, Html, data_table, join, paragraph
from moecap.report.reported_run import PHASES, Evidence, ReportedRun
from moecap.report.section import Chart, Section, chart_figure, how_to_read, metric_value, side_by_side
from moecap.report.tiers import tier_table

__all__ = ["CLASSES", "utilisation_section"]

CLASSES = {
    "experts": ("routed experts", "--orange"),
    "attention": ("attention", "--blue"),
    "lm_head": ("output projection", "--purple"),
    "kv": ("KV cache", "--green"),
    "shared_and_dense": ("shared experts and dense", "--sky"),
    "router": ("router", "--red"),
    "norms": ("norms", "--grey"),
    "embedding": ("embedding rows", "--yellow"),
}
COLUMNS = (("s_mbu", "S-MBU"), ("s_mbu_paper", "S-MBU, eq. 4"), ("mbu", "MBU"), ("s_mfu", "S-MFU"), ("mfu", "MFU"))
HOW = (
    "A bar is the mean over the steps of its phase of the bytes that a step must read, by class; hover for a "
    "class's share. They are recomputed from the stored steps when this page is made."
)


def utilisation_section(run: ReportedRun) -> Section:
    """The table of the phases and the bytes of a step."""
    table = join(_phase_table(run.result.metrics), tier_table(run.result))
    if run.evidence is None:
        return Section(
            "utilisation", "Utilisation", join(table, paragraph(f"No breakdown: {run.problem}.", class_="missing"))
        )
    chart, text = _bytes_chart(run.evidence)
    if chart is None:
        return Section("utilisation", "Utilisation", join(table, paragraph(f"No breakdown: {text}.", class_="missing")))
    how = how_to_read(HOW, ("S-MBU", "S-MBU, eq. 4", "MBU", "S-MFU", "MFU", "Step", "KV"))
    figure = chart_figure(chart, "Bytes that a step reads, by class", text, how)
    return Section(
        "utilisation", "Utilisation", join(table, side_by_side(figure, _bytes_table(run.evidence))), (chart,)
    )


def _phase_table(metrics: dict[str, Metric]) -> Html:
    def get(name: str, unit: str = "1") -> Metric:
        return metrics.get(name, absent(unit, "not in this result"))

    whole = get("all.time", "s").value
    rows: list[tuple[Child, ...]] = []
    reasons: dict[str, None] = {}
    for phase in (*PHASES, "all"):
        time = get(f"{phase}.time", "s")
        if time.value is None:
            reasons[time.reason or ""] = None
            continue
        cells: list[Child] = [metric_value(f"{phase}.{key}", get(f"{phase}.{key}"), reason=False) for key, _ in COLUMNS]
        share = f"{time.value / whole:.3f}" if whole and phase != "score" else NO_VALUE
        name = "all of the load" if phase == "all" else phase
        rows.append((name, *cells, f"{time.n or 0:,}", metric_value(f"{phase}.time", time), share))
        for key, _ in COLUMNS:
            if reason := get(f"{phase}.{key}").reason:
                reasons[reason] = None
    remark = (
        paragraph("No value: ", "; ".join(r for r in reasons if r), ".", class_="missing") if any(reasons) else None
    )
    if not rows:
        return remark or paragraph("No step was recorded.", class_="missing")
    heads = ("Phase", *(label for _, label in COLUMNS), "Steps", "Time", "Share of time")
    numeric = range(1, len(heads))
    caption = "Utilisation of each phase in the steady state, as a fraction of the peak; score is apart from the load"
    return join(data_table(caption, heads, rows, numeric=numeric, class_="phases"), remark)


def _bytes_chart(evidence: Evidence) -> tuple[Chart | None, str]:
    work = evidence.work
    if work.bytes is None:
        return None, evidence.no_bytes
    means = {}
    for phase in PHASES:
        n = int(evidence.masks[phase].sum())
        if n:
            means[phase] = {name: total / n for name, total in work.bytes.sums(evidence.masks[phase]).items()}
    if not means:
        return None, evidence.no_bytes
    phases = list(reversed(means))
    traces: list[dict[str, Any]] = []
    for name, (label, colour) in CLASSES.items():
        values = [means[phase][name] for phase in phases]
        if not any(values):
            continue
        shares = [f"{value / sum(means[phase].values()):.1%}" for phase, value in zip(phases, values, strict=True)]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": label,
                "y": phases,
                "x": [value / 1e6 for value in values],
                "customdata": shares,
                "hovertemplate": f"%{{y}}: {label}<br>%{{x:,.2f}} MB, %{{customdata}}<extra></extra>",
                "marker": {"color": colour, "line": {"width": 0}},
            }
        )
    layout = {
        "barmode": "stack",
        "bargap": 0.34,
        "hovermode": "closest",
        "xaxis": {"ticksuffix": " MB", "rangemode": "tozero"},
        "yaxis": {"showgrid": False},
        "legend": {"traceorder": "normal"},
        "showlegend": True,
    }
    first = "decode" if "decode" in means else next(iter(means))
    total = sum(means[first].values())
    largest = max(means[first], key=lambda name: means[first][name])
    n = int(evidence.masks[first].sum())
    seconds = float(evidence.observations.steps.duration_ns[evidence.masks[first]].sum()) * 1e-9
    text = (
        f"A {first} step reads {display_value(total, 'B')} on average (n = {n:,} steps), "
        f"{means[first][largest] / total:.0%} of it {CLASSES[largest][0]}; at {display_value(seconds / n, 's')} a step "
        f"that is {with_prefix(total * n / seconds, 'B/s')}"
    )
    peak = evidence.peaks.bandwidth
    elsewhere = evidence.facts.layout is not None and evidence.facts.layout.spread
    text += " over all memories of the layout" if elsewhere else ""
    text += f" of a peak of {with_prefix(peak, 'B/s')} ({evidence.peaks.bandwidth_source})." if peak else "."
    return Chart("chart-bytes", traces, layout, 108 + 42 * len(phases), text), text


def _bytes_table(evidence: Evidence) -> Html | None:
    work, mask = evidence.work, evidence.masks["decode"]
    n = int(mask.sum())
    if work.bytes is None or not n:
        return None
    sums = work.bytes.sums(mask)
    total = sum(sums.values())
    rows = [
        (label, display_value(sums[name] / n, "B"), f"{sums[name] / total:.1%}")
        for name, (label, _) in sorted(CLASSES.items(), key=lambda item: -sums[item[0]])
        if sums[name]
    ]
    rows.append(("all", display_value(total / n, "B"), "100.0%"))
    dense = float(work.dense_bytes[mask].sum()) / n
    caption = f"A decode step, mean of {n:,}; with every expert read it would be {display_value(dense, 'B')}"
    return data_table(caption, ("Class", "Bytes", "Share"), rows, numeric=(1, 2))
