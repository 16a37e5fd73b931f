"""Several runs side by side: radar overlay, table of the headline numbers, what differs between them."""

from __future__ import annotations

from collections.abc import Sequence

from moecap.metrics.accuracy import is_score
from moecap.metrics.value import Metric, absent
from moecap.report.cap_section import normalisation
from moecap.report.figures import NO_VALUE, TIMES
from moecap.report.headline import badges, load_sentence, long_date, validity
from moecap.report.markup import Child, Html, data_table, element, join, paragraph
from moecap.report.radar import radar
from moecap.report.reported_run import ReportedRun
from moecap.report.section import Section, how_to_read, metric_value

__all__ = ["COMPARED", "comparison_header", "comparison_sections"]

COMPARED = (
    ("decode.s_mbu", "S-MBU, decode"),
    ("decode.s_mfu", "S-MFU, decode"),
    ("prefill.s_mbu", "S-MBU, prefill"),
    ("prefill.s_mfu", "S-MFU, prefill"),
    ("output_tokens_per_second", "output tokens a second"),
    ("output_tokens_per_second_per_device", "output tokens a second and device"),
    ("requests_per_second", "requests a second"),
    ("ttft.p50", "TTFT, median"),
    ("tpot.p50", "TPOT, median"),
    ("itl.p50", "ITL, median"),
    ("itl.p99", "ITL, p99"),
    ("e2e.p50", "E2E, median"),
    ("experts.distinct_mean", "distinct experts a decode step and layer"),
    ("cost_per_million_output_tokens", "a million output tokens, all-in"),
    ("cost_per_million_tokens", "a million tokens, 3 input : 1 output"),
    ("energy_per_output_token", "energy of an output token"),
    ("failed_requests", "failed requests"),
)
MARKS = {"measured": "", "projected": "projected", "imported": "imported"}
HOW = (
    "Each outline is one run. Outer is better on every axis; the bounds are printed at the axes and do not depend on "
    "what is shown. An outline has a gap where its run has no value: it is not 0. Dashed outlines were not measured."
)


def comparison_header(runs: Sequence[ReportedRun], title: str) -> Html:
    """Title and the list of the runs."""
    items = [
        element(
            "li",
            element("span", "", class_=f"key s{i}", aria_hidden="true"),
            element("strong", f"{_letter(i)}: {run.title}"),
            " ",
            element("span", badges(run), class_="badges"),
            element(
                "small",
                f"{run.result.engine}, {run.result.model.weight_dtype}, "
                f"{long_date(run.result.provenance.started)}; {load_sentence(run.result)}",
            ),
        )
        for i, run in enumerate(runs)
    ]
    kinds = {run.result.kind for run in runs}
    mixed = None
    if len(kinds) > 1:
        text = (
            f"These runs are not of one kind ({', '.join(sorted(kinds))}). Numbers that were not measured are marked."
        )
        mixed = paragraph(text, class_="alarm")
    return element("header", element("h1", title), element("ol", *items, class_="runs"), mixed, id="top")


def comparison_sections(runs: Sequence[ReportedRun]) -> list[Section]:
    """The sections of the page."""
    remarks = [join(element("h3", f"{_letter(i)}: {r.title}"), validity(r.result.flags)) for i, r in enumerate(runs)]
    return [
        _cap(runs),
        Section("numbers", "Headline numbers", _numbers(runs)),
        Section("differences", "What differs", _differences(runs)),
        Section("remarks", "Validity", join(*remarks)),
        Section("provenance", "Provenance", _commands(runs)),
    ]


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else str(number + 1)


def _cap(runs: Sequence[ReportedRun]) -> Section:
    figure = radar([(run.title, run.result.kind, run.places) for run in runs])
    tasks = {run.tasks for run in runs if run.tasks}
    caution = " The runs had different accuracy tasks: they do not compare on that axis." if len(tasks) > 1 else ""
    caption = element(
        "figcaption",
        element("span", f"Radar of n = {len(runs)} runs.{caution}"),
        how_to_read(HOW, ("S-MBU", "S-MFU", "TTFT")),
    )
    columns = zip(*(run.places for run in runs), strict=True)
    rows: list[tuple[Child, ...]] = []
    for found in columns:
        cells = [
            element("span", "no value", class_="none", title=p.metric.reason) if p.share is None else f"{p.share:.2f}"
            for p in found
        ]
        rows.append((found[0].axis.name, *cells))
    rows.append(("label", *(element("span", r.label.text or "none", title=r.label.reason) for r in runs)))
    table = data_table(
        "Places on the axes: 0 at the centre, 1 at the rim",
        ("Axis", *_heads(runs)),
        rows,
        numeric=range(1, len(runs) + 1),
    )
    side = element("div", table, normalisation(), class_="cap-side")
    body = element("div", element("figure", figure, caption, class_="cap-figure"), side, class_="cap-grid")
    return Section("cap", "CAP radar: cost, accuracy, performance", body)


def _heads(runs: Sequence[ReportedRun]) -> list[Html]:
    heads = []
    for i, run in enumerate(runs):
        kind = run.result.kind
        mark = element("span", kind, class_=f"badge kind {kind}")
        heads.append(join(element("span", "", class_=f"key s{i}", aria_hidden="true"), _letter(i), " ", mark))
    return heads


def _numbers(runs: Sequence[ReportedRun]) -> Html:
    names: list[tuple[str, str]] = list(COMPARED)
    for name in dict.fromkeys(
        n for run in runs for n in run.result.metrics if n.startswith("accuracy.") and is_score(n)
    ):
        names.append((name, f"accuracy, {name.removeprefix('accuracy.')}"))
    rows: list[tuple[Child, ...]] = []
    for name, label in names:
        metrics = [run.result.metrics.get(name, absent("1", "not in this result")) for run in runs]
        rows.append((label, *(_cell(name, m, run.result.kind) for m, run in zip(metrics, runs, strict=True))))
    heads = ("", *_heads(runs))
    caption = "Headline numbers; hover a missing value for its reason"
    return data_table(caption, heads, rows, numeric=range(1, len(runs) + 1), class_="comparison")


def _cell(name: str, metric: Metric, kind: str) -> Html:
    value = metric_value(name, metric, reason=False)
    if metric.value is None:
        return join(value, element("small", metric.reason))
    words = [MARKS[kind]] if MARKS[kind] else []
    if metric.low is not None and metric.high is not None:
        of = " (80 % prediction)" if metric.basis == "prediction" else ""
        words.append(f"{metric.low:.3f} to {metric.high:.3f}{of}")
    words.append(f"n {metric.n:,}" if metric.n else "")
    return join(value, element("small", " · ".join(w for w in words if w)))


def _differences(runs: Sequence[ReportedRun]) -> Html:
    described = [_description(run) for run in runs]
    names = [n for n in described[0] if len({d[n] for d in described}) > 1]
    if not names:
        return paragraph("Model, hardware, engine, formats and load are the same in all of these runs.")
    rows = [(name, *(d[name] for d in described)) for name in names]
    same = "Everything else of the model, hardware, engine and load is the same."
    return join(data_table("What differs between the runs", ("", *_heads(runs)), rows), paragraph(same, class_="faint"))


def _description(run: ReportedRun) -> dict[str, str]:
    result = run.result
    load = result.workload.model_dump(mode="json", exclude={"output", "data"})
    return {
        "kind": result.kind,
        "status": result.status,
        "model": result.model.id,
        "weights": result.model.weight_dtype,
        "KV cache": result.model.kv_dtype,
        "hardware": f"{result.hardware.count} {TIMES} {result.hardware.name}",
        "rent of one device an hour": str(result.hardware.usd_per_hour),
        "engine": result.engine,
        **{name: _setting(value) for name, value in load.items()},
    }


def _setting(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or NO_VALUE
    if isinstance(value, dict):
        return ", ".join(f"{key} {_setting(inner)}" for key, inner in value.items()) or NO_VALUE
    return NO_VALUE if value is None else str(value)


def _commands(runs: Sequence[ReportedRun]) -> Html:
    rows = [
        (
            f"{_letter(i)}: {run.title}",
            element("code", run.result.provenance.command),
            element("code", run.result.id[:16]),
        )
        for i, run in enumerate(runs)
    ]
    return data_table("The command that repeats each run", ("Run", "Command", "Result"), rows)
