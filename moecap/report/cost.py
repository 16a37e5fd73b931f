"""What tokens cost, with a price that can be changed on the page."""

from __future__ import annotations

from typing import Any

import numpy as np

from moecap.metrics.cost import cost_metrics
from moecap.metrics.value import Metric, absent
from moecap.report.figures import NO_VALUE, display, display_value
from moecap.report.markup import Html, data_table, element, join, paragraph
from moecap.report.reported_run import Evidence, ReportedRun
from moecap.report.section import Chart, Section, chart_figure, how_to_read, metric_value

__all__ = ["cost_section", "costs_at_one_dollar"]

NAME, HEADING = "cost", "Cost"
ROWS = (
    ("cost_per_million_output_tokens", "a million output tokens, all-in", "requests"),
    ("cost_per_million_tokens", "a million tokens, 3 input : 1 output", "output tokens"),
    ("cost.input_by_phase", "a million input tokens, by phase", "input tokens"),
    ("cost.output_by_phase", "a million output tokens, by phase", "output tokens"),
)
HOW = (
    "Costs are proportional to the rent, so the slider moves all of them. The curve keeps the bytes of a decode step "
    "and changes only how well bandwidth is used: at twice the S-MBU a step takes half the time and costs half. The "
    "mark is this run; the right end is what full bandwidth would give."
)
FIRST_DOLLAR = 1.0


def costs_at_one_dollar(evidence: Evidence, metrics: dict[str, Metric]) -> dict[str, float]:
    """Cost metrics at $1 an hour for one device, for those that have a value; all are proportional to the rent."""
    work, masks = evidence.work, evidence.masks
    found = cost_metrics(
        FIRST_DOLLAR * evidence.facts.devices,
        metrics.get("output_tokens_per_second", absent("tokens/s", "not in this result")),
        metrics["prefill.time"].value or 0.0,
        metrics["decode.time"].value or 0.0,
        int(work.tokens[masks["prefill"]].sum()),
        int(work.tokens[masks["decode"]].sum()),
        metrics["busy_fraction"],
    )
    return {name: m.value for name, m in found.items() if m.value is not None}


def cost_section(run: ReportedRun) -> Section:
    """Costs, the slider, the curve over utilisation and the constants."""
    result = run.result
    hardware = result.hardware
    unit = costs_at_one_dollar(run.evidence, result.metrics) if run.evidence else {}
    rows = []
    for name, label, things in ROWS:
        metric = result.metrics.get(name, absent("USD/1e6 tokens", "not in this result"))
        live = element(
            "output", display(metric) if metric.value is not None else NO_VALUE, data_per_dollar=unit.get(name)
        )
        n = f"{metric.n:,} {things}" if metric.value is not None and metric.n else ""
        rows.append((label, metric_value(name, metric), live if unit else NO_VALUE, n))
    energy = result.metrics.get("energy_per_output_token", absent("J/token", "not in this result"))
    rows.append(("energy of an output token", metric_value("energy_per_output_token", energy), "", ""))
    heads = ("", "As measured" if result.kind == "measured" else f"As {result.kind}", "At the slider's rent", "n")
    table = data_table("Cost at the utilisation of this run", heads, rows, numeric=(1, 2, 3), class_="costs")
    slider = _slider(hardware.usd_per_hour) if unit else paragraph(f"No slider: {_why(run)}.", class_="missing")
    chart, sentence = _curve(run, unit)
    figure: Html | None = None
    if chart is None:
        figure = paragraph(f"No curve: {sentence}.", class_="missing")
    else:
        terms = ("All-in", "By phase", "Blended", "S-MBU")
        figure = chart_figure(
            chart, "Decode cost of a million output tokens over S-MBU", sentence, how_to_read(HOW, terms)
        )
    return Section(NAME, HEADING, join(slider, table, figure, _constants(run)), (chart,) if chart else ())


def _why(run: ReportedRun) -> str:
    return run.problem or "there is no throughput to price"


def _slider(price: float | None) -> Html:
    start = price or FIRST_DOLLAR
    position = f"{np.log10(start):.4f}" if start > 0 else "-2"
    return element(
        "div",
        element("label", "Rent of one device", for_="price"),
        element("input", type="range", id="price", min=-2, max=2, step="0.01", value=position, data_start=repr(start)),
        element("output", f"${start:.4g}/h", id="price-shown", for_="price"),
        element("button", "as in the result", type="button", id="price-reset") if price else None,
        class_="slider",
    )


def _curve(run: ReportedRun, unit: dict[str, float]) -> tuple[Chart | None, str]:
    mbu = run.result.metrics.get("decode.s_mbu", absent("1", "not in this result"))
    per_dollar = unit.get("cost.output_by_phase")
    if mbu.value is None or per_dollar is None:
        return None, mbu.reason or _why(run)
    price = run.result.hardware.usd_per_hour or FIRST_DOLLAR
    x = np.geomspace(max(0.005, min(0.02, mbu.value / 2)), max(1.0, mbu.value), 60)
    at = per_dollar * mbu.value
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "decode cost",
            "x": np.round(x, 6).tolist(),
            "y": (at / x * price).tolist(),
            "meta": {"perDollar": (at / x).tolist()},
            "line": {"color": "--blue", "width": 1.6},
            "hovertemplate": "S-MBU %{x:.3f}<br>$%{y:.3g} a million<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "this run",
            "x": [mbu.value],
            "y": [per_dollar * price],
            "meta": {"perDollar": [per_dollar]},
            "marker": {"color": "--red", "size": 11, "symbol": "diamond"},
            "hovertemplate": "this run: S-MBU %{x:.3f}<br>$%{y:.3g} a million<extra></extra>",
        },
    ]
    layout = {
        "xaxis": {"title": {"text": "S-MBU of decode"}, "rangemode": "tozero"},
        "yaxis": {"type": "log", "tickformat": "$~r", "nticks": 6},
        "hovermode": "closest",
        "showlegend": True,
    }
    full = at * price
    sentence = (
        f"At S-MBU {mbu.value:.3f} (n = {mbu.n or 0:,} steps) and ${price:.4g} an hour, decode costs "
        f"{display_value(per_dollar * price, 'USD')} a million output tokens; at full bandwidth it would be "
        f"{display_value(full, 'USD')}."
    )
    return Chart("chart-cost", traces, layout, 290, "Decode cost over utilisation"), sentence


def _constants(run: ReportedRun) -> Html:
    hardware = run.result.hardware
    price = hardware.profile.default_price
    rent = "no price is known" if hardware.usd_per_hour is None else f"${hardware.usd_per_hour:.4g}"
    dated = price.date if price and price.usd_per_hour == hardware.usd_per_hour else None
    rows = [
        ("rent of one device an hour", rent, hardware.price_source, dated or "not dated"),
        ("devices", str(hardware.count), "the run's configuration", run.result.provenance.started[:10]),
        ("input to output tokens, blended", "3 : 1", "definition of the metric", NO_VALUE),
    ]
    for other in hardware.profile.prices[1:]:
        source = other.provider + (f" ({other.source})" if other.source else "")
        rows.append(("other rent, not used", f"${other.usd_per_hour:.4g}", source, other.date or "not dated"))
    heads = ("Constant", "Value", "Source", "Date")
    return data_table("Constants, each can be overridden (moecap run --price)", heads, rows, class_="constants")
