"""What tokens cost, with a price that can be changed on the page."""

from __future__ import annotations

from typing import Any

import numpy as np

from moecap.metrics.constants import constant_value
from moecap.metrics.cost import AT_UTILISATION, cost_metrics
from moecap.metrics.energy import energy_scope
from moecap.metrics.value import Metric, absent
from moecap.report.figures import NO_VALUE, display, display_value
from moecap.report.markup import Html, data_table, element, join, paragraph
from moecap.report.reported_run import Evidence, ReportedRun
from moecap.report.section import Chart, Section, chart_figure, how_to_read, metric_value
from moecap.result import Result

__all__ = ["constants_table", "cost_section", "costs_at_one_dollar"]

NAME, HEADING = "cost", "Cost"
ROWS = (
    ("cost_per_million_output_tokens", "a million output tokens, all-in", "requests"),
    ("cost_per_million_tokens", "a million tokens, 3 input : 1 output", "output tokens"),
    ("cost.input_by_phase", "a million input tokens, by phase", "input tokens"),
    ("cost.output_by_phase", "a million output tokens, by phase", "output tokens"),
)
HOURS = (
    ("cost.rent_usd_per_hour", "an hour of the system, rented", "rent"),
    ("cost.own_usd_per_hour", "an hour of the system, owned", "own"),
    ("cost.purchase_usd", "purchase of the system", ""),
)
ENERGY = (
    ("energy_per_output_token", "energy of an output token"),
    ("energy.mean_power", "mean power"),
    ("energy.coverage", "share of the steady state that samples cover"),
    ("carbon_per_million_output_tokens", "carbon of a million output tokens"),
    ("energy_per_output_token_estimated", "not measured: an output token at the thermal design power"),
)
HOW = (
    "Costs are proportional to what an hour costs, so the slider moves all of them. Full means the speed of the steady "
    "state in every hour that is paid; in part of the hours, nothing runs in the others and each token costs more. The "
    "curve keeps the bytes of a decode step and changes only how well bandwidth is used: at twice the S-MBU a step "
    "takes half the time and costs half. The mark is this run; the right end is what full bandwidth would give."
)
FIRST_DOLLAR = 1.0


def costs_at_one_dollar(evidence: Evidence, metrics: dict[str, Metric]) -> dict[str, float]:
    """Cost metrics at $1 an hour for one device, for those that have a value; all are proportional to the hour's."""
    work, masks = evidence.work, evidence.masks
    found = cost_metrics(
        Metric(value=FIRST_DOLLAR * evidence.facts.devices, unit="USD/h"),
        metrics.get("output_tokens_per_second", absent("tokens/s", "not in this result")),
        metrics["prefill.time"].value or 0.0,
        metrics["decode.time"].value or 0.0,
        int(work.tokens[masks["prefill"]].sum()),
        int(work.tokens[masks["decode"]].sum()),
        metrics["busy_fraction"],
        constant_value(evidence.facts.constants, "utilisation"),
    )
    return {name: m.value for name, m in found.items() if m.value is not None}


def cost_section(run: ReportedRun) -> Section:
    """Costs, the slider, the curve over utilisation, what an hour costs, energy and the constants."""
    unit = costs_at_one_dollar(run.evidence, run.result.metrics) if run.evidence else {}
    slider = _slider(_usd_per_hour(run)) if unit else paragraph(f"No slider: {_why(run)}.", class_="missing")
    chart, sentence = _curve(run, unit)
    figure: Html | None = None
    if chart is None:
        figure = paragraph(f"No curve: {sentence}.", class_="missing")
    else:
        terms = ("All-in", "By phase", "Blended", "S-MBU")
        figure = chart_figure(
            chart, "Decode cost of a million output tokens over S-MBU", sentence, how_to_read(HOW, terms)
        )
    return Section(NAME, HEADING, join(slider, _costs(run, unit), figure, *_below(run)), (chart,) if chart else ())


def _usd_per_hour(run: ReportedRun) -> float | None:
    """Dollars an hour in force, as a share of one device."""
    hardware = run.result.hardware
    if run.result.workload.cost.basis == "rent":
        return hardware.usd_per_hour
    system = _metric(run, "cost.own_usd_per_hour", "USD/h").value
    return None if system is None else system / hardware.count


def _metric(run: ReportedRun, name: str, unit: str) -> Metric:
    return run.result.metrics.get(name, absent(unit, "not in this result"))


def _costs(run: ReportedRun, unit: dict[str, float]) -> Html:
    rows = []
    for name, label, things in ROWS:
        metric, partly = (_metric(run, n, "USD/1e6 tokens") for n in (name, name + AT_UTILISATION))
        live = element(
            "output", display(metric) if metric.value is not None else NO_VALUE, data_per_dollar=unit.get(name)
        )
        n = f"{metric.n:,} {things}" if metric.value is not None and metric.n else ""
        cells = [
            metric_value(name, metric),
            metric_value(name + AT_UTILISATION, partly, reason=metric.value is not None),
        ]
        rows.append((label, *cells, live if unit else NO_VALUE, n))
    share = constant_value(run.result.constants, "utilisation")
    partly_full = "In part of the hours" if share is None else f"In {share:.0%} of the hours"
    heads = ("", "Every paid hour full", partly_full, "Full, at the slider's dollars", "n")
    speed = "measured" if run.result.kind == "measured" else run.result.kind
    return data_table(f"Cost at the {speed} speed of this run", heads, rows, numeric=(1, 2, 3, 4), class_="costs")


def _below(run: ReportedRun) -> tuple[Html, ...]:
    """What an hour costs, the energy, and the constants in force."""
    basis = run.result.workload.cost.basis
    hours = [
        (label, metric_value(name, _metric(run, name, "USD")), "in force" if key == basis else "")
        for name, label, key in HOURS
    ]
    energy = [(label, metric_value(name, _metric(run, name, ""))) for name, label in ENERGY]
    telemetry = run.evidence.observations.telemetry if run.evidence is not None else None
    scope = energy_scope(telemetry, run.result.hardware.profile)
    return (
        data_table("What the system costs", ("", "Value", ""), hours, numeric=(1,)),
        data_table(f"Energy over the steady state; a counter's scope: {scope}", ("", "Value"), energy, numeric=(1,)),
        constants_table(run.result),
    )


def _why(run: ReportedRun) -> str:
    return run.problem or "there is no throughput to price"


def _slider(price: float | None) -> Html:
    start = price or FIRST_DOLLAR
    position = f"{np.log10(start):.4f}" if start > 0 else "-2"
    return element(
        "div",
        element("label", "Dollars an hour for one device", for_="price"),
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
    price = _usd_per_hour(run) or FIRST_DOLLAR
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


def constants_table(result: Result) -> Html:
    """The constants of the cost model that are in force, with their sources and dates, and the rents that are not."""
    hardware = result.hardware
    rows = [
        (
            c.name,
            NO_VALUE if c.value is None else f"{c.value:.6g}",
            c.unit,
            c.source,
            c.evidence or "",
            c.date or NO_VALUE,
        )
        for c in result.constants
    ]
    rows += [
        ("devices", str(hardware.count), "", "the run's configuration", "", result.provenance.started[:10]),
        ("input to output tokens, blended", "3 : 1", "", "definition of the metric", "", NO_VALUE),
    ]
    for other in hardware.profile.prices[1:]:
        source = other.provider + (f" ({other.source})" if other.source else "")
        rows.append(("other rent, not used", f"{other.usd_per_hour:.6g}", "USD/h", source, "", other.date or NO_VALUE))
    heads = ("Constant", "Value", "Unit", "Source", "Evidence", "Date")
    caption = "Constants in force; each can be set (moecap run --set cost.NAME=VALUE)"
    return data_table(caption, heads, rows, class_="constants")
