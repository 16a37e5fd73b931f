"""How the model used its experts: load by layer, and distinct experts of a decode step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from moecap.metrics.experts import ExpertShape, distinct_references, expert_counts, expert_load
from moecap.metrics.value import absent
from moecap.report.figures import TIMES
from moecap.report.markup import Html, data_table, join, paragraph
from moecap.report.reported_run import Evidence, ReportedRun
from moecap.report.section import Chart, Drawn, Section, drawn_figure, metric_value, side_by_side

__all__ = ["expert_charts", "expert_table", "experts_section"]

NAME, HEADING = "experts", "Experts"
ROWS = (
    ("experts.distinct_mean", "distinct experts a decode step and layer", "decode steps"),
    ("experts.distinct_expected_uniform", "the same, expected under uniform routing", "decode steps"),
    ("experts.distinct_lower_bound", "lower bound, k", "decode steps"),
    ("experts.distinct_upper_bound", "upper bound, the smaller of T·k and N", "decode steps"),
    ("experts.load_entropy", "evenness of the load, 1 is even", "selections"),
    ("experts.load_gini", "Gini coefficient of the load, 0 is even", "selections"),
    ("experts.load_max_over_mean", "busiest expert against an even share", "selections"),
)
HOW_LOAD = (
    "One cell is one expert of one layer. 1 is an even share of the layer's selections; the colour leaves white where "
    "an expert was selected more (orange) or less (blue) often."
)
NOT_OBSERVED = (
    "the experts that the model selected were not observed; bytes count those that uniform routing would select"
)

HOW_DISTINCT = (
    "Points are the mean over the decode steps of one layer. Near the dashed line the tokens of a step choose as if "
    "independently; below it they agree, and fewer experts have to be read."
)


def experts_section(run: ReportedRun) -> Section:
    """Heat map, distinct experts and their metrics; for a dense model a sentence."""
    if not run.result.model.is_moe:
        text = "This model is dense: it has no routed experts, so every step reads all weights, and S-MBU equals MBU."
        return Section(NAME, HEADING, paragraph(text))
    table = expert_table(run)
    if run.evidence is None:
        return Section(NAME, HEADING, join(table, paragraph(f"No charts: {run.problem}.", class_="missing")))
    drawn = expert_charts(run.evidence)
    parts = [drawn_figure(one) for one in drawn]
    charts = tuple(one.chart for one in drawn if one.chart is not None)
    return Section(NAME, HEADING, join(parts[0], side_by_side(parts[1], table)), charts)


def expert_charts(evidence: Evidence) -> tuple[Drawn, Drawn]:
    """The load of each expert, and the distinct experts of a decode step by layer."""
    return _load(evidence), _distinct(evidence)


def expert_table(run: ReportedRun) -> Html:
    """What is known of the experts in the steady state."""
    rows = []
    for name, label, things in ROWS:
        metric = run.result.metrics.get(name, absent("1", "not in this result"))
        rows.append((label, metric_value(name, metric), f"{metric.n:,} {things}" if metric.value is not None else ""))
    return data_table("Experts in the steady state", ("", "Value", "n"), rows, numeric=(1, 2))


def _load(evidence: Evidence) -> Drawn:
    title = "Load of each expert, as a multiple of an even share"
    routing, layers = evidence.observations.routing, evidence.facts.spec.moe_layers
    if routing is None:
        lost = "the run directory has no routing.npz, in which the routed experts of each token were"
        return Drawn(title, NOT_OBSERVED if evidence.seen.estimate else lost)
    experts = max(layer.experts for layer in layers)
    ids = max(layer.experts + layer.zero_experts for layer in layers)
    steps = len(evidence.observations.steps)
    shapes = routing.experts.ndim == 3 and routing.experts.shape[1] == len(layers)
    if not shapes or routing.experts.max(initial=0) > ids or routing.token_step.max(initial=-1) >= steps:
        return Drawn(title, "routing.npz does not fit the model or its steps")
    counts = expert_counts(routing, evidence.masks["all"], experts)
    if not counts.sum():
        return Drawn(title, "no token was routed in the steady state")
    share = expert_load(counts, [ExpertShape(layer.experts, layer.top_k) for layer in layers]).relative
    layer, expert = np.unravel_index(int(share.argmax()), share.shape)
    chart = Chart(
        "chart-load",
        [
            {
                "type": "heatmap",
                "z": np.round(share.T, 4).tolist(),
                "x": list(range(share.shape[0])),
                "y": list(range(experts)),
                "zmid": 1,
                "zmin": 0,
                "zmax": float(max(2.0, share.max())),
                "colorscale": [[0, "--low"], [0.5, "--middle"], [1, "--high"]],
                "xgap": 1 if share.shape[0] <= 80 else 0,
                "ygap": 1 if experts <= 64 else 0,
                "hovertemplate": "layer %{x}, expert %{y}<br>%{z:.2f} times an even share<extra></extra>",
                "colorbar": {"thickness": 10, "outlinewidth": 0, "ticksuffix": TIMES, "len": 1},
            }
        ],
        {
            "xaxis": {"title": {"text": "MoE layer"}, "showgrid": False, "zeroline": False},
            "yaxis": {"title": {"text": "expert"}, "showgrid": False, "zeroline": False, **_whole(experts)},
        },
        min(620, 110 + max(90, experts * (26 if experts <= 16 else 9))),
        "Heat map of experts' load by layer",
    )
    idle = int((counts == 0).sum())
    text = (
        f"Over {counts.sum():,} selections the busiest is expert {expert} of layer {layer} with {share.max():.2f} "
        f"times an even share; "
        + (f"{idle:,} of the {counts.size:,} were never selected." if idle else f"all {counts.size:,} were selected.")
    )
    return Drawn(title, text, chart, HOW_LOAD, ("Load share", "Evenness"))


def _whole(experts: int) -> dict[str, Any]:
    return {"dtick": 1} if experts <= 16 else {}


def _distinct(evidence: Evidence) -> Drawn:
    title = "Distinct experts of a decode step, by layer"
    steps, mask, layers = evidence.observations.steps, evidence.masks["decode"], evidence.facts.spec.moe_layers
    if evidence.seen.estimate is not None or evidence.work.bytes is None:
        return Drawn(title, NOT_OBSERVED if evidence.seen.estimate else evidence.no_bytes)
    if not mask.any():
        return Drawn(title, "there is no decode step in the steady state")
    distinct = steps.distinct_experts.values.reshape(len(steps), len(layers))[mask]
    tokens = evidence.work.tokens[mask]
    mean = distinct.mean(0)
    x = list(range(len(layers)))
    beside = [distinct_references(ExpertShape.of(layer), tokens) for layer in layers]
    uniform = np.array([references.uniform.mean() for references in beside])
    upper = np.array([references.upper.mean() for references in beside])
    lower = np.array([references.lower.mean() for references in beside])
    chart = Chart(
        "chart-distinct",
        [
            _bound("upper bound", x, upper, "dot"),
            _bound("uniform routing", x, uniform, "dash"),
            _bound("lower bound, k", x, lower, "dot"),
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": evidence.seen.source,
                "x": x,
                "y": np.round(mean, 4).tolist(),
                "line": {"color": "--blue", "width": 1.5},
                "marker": {"color": "--blue", "size": 6},
                "hovertemplate": "layer %{x}<br>%{y:.2f} distinct experts<extra></extra>",
            },
        ],
        {
            "xaxis": {"title": {"text": "MoE layer"}, "zeroline": False},
            "yaxis": {"range": [0, float(upper.max()) * 1.08]},
            "showlegend": True,
        },
        300,
        "Distinct experts of a decode step by layer",
    )
    gap = mean.mean() / uniform.mean() - 1
    text = (
        f"A decode step of {tokens.mean():.3g} tokens reads {mean.mean():.3g} distinct experts a layer on average "
        f"(n = {len(distinct):,} steps, {len(layers)} layers), {abs(gap):.0%} {'fewer' if gap < 0 else 'more'} than "
        f"uniform routing would ({uniform.mean():.3g})."
    )
    return Drawn(title, text, chart, HOW_DISTINCT, ("Distinct experts", "Uniform routing"))


def _bound(name: str, x: list[int], y: npt.NDArray[np.float64], dash: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x,
        "y": np.round(y, 4).tolist(),
        "line": {"color": "--muted" if dash == "dot" else "--ink", "width": 1.2, "dash": dash},
        "hovertemplate": f"{name}: %{{y:.2f}}<extra></extra>",
    }
