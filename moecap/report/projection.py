"""A measured run beside the projection of its load; or what a projection rests on."""

from __future__ import annotations

from moecap.metrics.value import Metric, absent
from moecap.projection.comparison import COMPARED
from moecap.report.figures import display, display_value
from moecap.report.markup import Html, data_table, join, paragraph
from moecap.report.reported_run import ReportedRun
from moecap.report.section import Section, how_to_read, metric_value

__all__ = ["projection_section"]

LABELS = {
    "ttft.p50": "TTFT, median",
    "tpot.p50": "TPOT, median",
    "itl.p50": "ITL, median",
    "output_tokens_per_second": "output tokens a second",
}
HOW = (
    "The projection serves a load with the lengths that this one really had, in continuous batches and by the defaults "
    "of the engine. 1 means that it gives what was measured; of times above 1 it is too slow, of rates too fast."
)


def projection_section(run: ReportedRun) -> Section:
    """The section of either kind of run."""
    projects = run.result.kind == "projected"
    heading = "What the projection rests on" if projects else "Beside the projection"
    return Section("projection", heading, _assumptions(run) if projects else _ratios(run))


def _ratios(run: ReportedRun) -> Html:
    record, metrics = run.result.projection, run.result.metrics
    rows = []
    for name in COMPARED:
        ratio = metrics.get(f"projection.ratio.{name}", absent("1", "not in this result"))
        found = metrics.get(name, absent("s", "not in this result"))
        rows.append((LABELS[name], display(found), metric_value(f"projection.ratio.{name}", ratio)))
    table = data_table("Projected over measured", ("", "Measured", "Projected / measured"), rows, numeric=(1, 2))
    if record is None:
        return join(paragraph("This run is not held against a projection.", class_="missing"), table)
    fit = record.coefficients.fit
    known = record.engine in record.coefficients.engines
    costs = f"the costs of {record.engine}" if known else "the declared default of engines that were not fitted"
    text = f"By {costs}, with the coefficients of {fit.date}; {record.routing_source}."
    return join(table, paragraph(text, class_="faint"), how_to_read(HOW, ("TTFT", "TPOT")))


def _assumptions(run: ReportedRun) -> Html:
    record, metrics = run.result.projection, run.result.metrics
    if record is None:
        return paragraph("This result does not say what its projection rests on.", class_="missing")
    limits, split, fit = record.limits, record.split, record.coefficients.fit
    missing = absent("B", "not in this result")

    def memory(name: str) -> Metric:
        return metrics.get(f"memory.{name}", missing)

    used = memory("kv_cache_used_max")
    pairs = {
        "engine": record.engine,
        "split": f"{split.tensor} tensor-parallel ranks, {split.expert} groups of experts, {split.data} replicas",
        "most sequences and tokens of a step": f"{limits.sequences:,} and {limits.step_tokens:,}",
        "weights": display(memory("weights")),
        "room for KV caches": display(memory("kv_cache")),
        "most of it in use": display_value(used.value, "1") if used.value is not None else "no value",
        "routing": record.routing_source,
        "coefficients": f"{fit.rows} {fit.source}, {fit.date}",
    }
    return data_table("Assumptions", ("", ""), list(pairs.items()), class_="pairs")
