"""The repeats of a load: what each of them gave, their mean, and its interval."""

from __future__ import annotations

from moecap.metrics.repeats import INTERVAL_FROM, repeat_values, whole_repeats
from moecap.metrics.value import Metric
from moecap.report.figures import display_value
from moecap.report.markup import data_table, join, paragraph
from moecap.report.reported_run import ReportedRun
from moecap.report.section import Section, how_to_read, metric_value

__all__ = ["repeats_section"]

ROWS = {
    "ttft.p50": "TTFT, median",
    "ttft.p99": "TTFT, 99th percentile",
    "tpot.p50": "TPOT, median",
    "tpot.p99": "TPOT, 99th percentile",
    "e2e.p50": "Whole request, median",
    "output_tokens_per_second": "Output tokens a second",
    "requests_per_second": "Requests a second",
    "decode.s_mbu": "S-MBU, decode",
    "decode.s_mfu": "S-MFU, decode",
    "cost_per_million_output_tokens": "Per million output tokens",
    "energy_per_output_token": "Energy per output token",
    "failed_requests": "Failed requests",
}
SHOWN = 10
"""Repeats that get a column."""
HOW = (
    "The load was sent several times to one engine, each time with prompts, lengths and times of arrival that another "
    "seed drew, and each has a steady state of its own. A number of this result is the mean over the repeats, of "
    "counts their sum; the interval says where the mean of many such repeats lies, with 95 % confidence, if they vary "
    "as a normal variable does. It knows nothing of what all repeats share: this start of the engine, this machine, "
    "this day."
)


def repeats_section(run: ReportedRun) -> Section | None:
    """A row a metric and a column a repeat; nothing where the load was measured once."""
    result = run.result
    if result.workload.repeats == 1:
        return None
    shown = {name: title for name, title in ROWS.items() if repeat_values(result.metrics, name)}
    count = max((len(repeat_values(result.metrics, name)) for name in shown), default=0)
    rows = []
    for name, title in shown.items():
        metric, values = result.metrics[name], repeat_values(result.metrics, name)
        cells = [display_value(value, metric.unit) for value in values[:SHOWN]]
        rows.append((title, *cells, metric_value(name, metric), _interval(metric)))
    heads = ("Metric", *(f"repeat {n + 1}" for n in range(min(count, SHOWN))), "mean or sum", "95 % interval")
    more = f" The first {SHOWN} of {count} have a column; result.json has all." if count > SHOWN else ""
    asked = result.workload.repeats
    said = f"{count} of {asked} repeats are whole" if count < asked else f"{asked} repeats"
    drawn = "Distributions of latencies on this page are of all of them; charts of steps are of the first."
    if run.evidence is None or not whole_repeats(run.evidence.observations.requests, result.workload.num_requests):
        drawn = ""
    body = join(
        paragraph(f"{said}.{more} {drawn}"),
        data_table("What each repeat gave", heads, rows, numeric=range(1, len(heads))) if rows else None,
        how_to_read(HOW),
    )
    return Section("repeats", "Repeats", body)


def _interval(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        fewer = len(metric.repeats or ()) < INTERVAL_FROM
        return f"needs {INTERVAL_FROM} repeats" if fewer else "none"
    return f"{display_value(metric.low, metric.unit)} to {display_value(metric.high, metric.unit)}"
