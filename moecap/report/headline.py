"""The top of the page: what ran on what, how it ended, the headline numbers, and the remarks on its validity."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from moecap.metrics.value import Metric, absent
from moecap.report.markup import Child, Html, element, folded, join, paragraph
from moecap.report.reported_run import ReportedRun
from moecap.report.section import metric_value, note
from moecap.result import Flag, Result

__all__ = ["badge", "badges", "headline", "load_sentence", "long_date", "validity"]

LEVELS = ("invalid", "warning", "info")
KINDS = {
    "measured": "measured: every number comes from observations of this run",
    "projected": "projected: nothing was measured, the numbers come from a model of the hardware",
    "imported": "imported: the numbers come from another tool's file",
}
HEADLINES = (
    ("decode.s_mbu", "S-MBU, decode", "steps"),
    ("output_tokens_per_second", "Output tokens a second", "requests"),
    ("tpot.p50", "TPOT, median", "requests"),
    ("cost_per_million_output_tokens", "Per million output tokens", "requests"),
)


def badge(text: str, class_: str, title: str | None = None) -> Html:
    """A small label."""
    return element("span", text, class_=f"badge {class_}", title=title)


def badges(run: ReportedRun) -> Html:
    """How the numbers came about, how the run ended, and the CAP label."""
    result, label = run.result, run.label
    return join(
        badge(result.kind, f"kind {result.kind}", KINDS[result.kind]),
        badge(result.status, f"status {result.status}", result.reason),
        badge(label.text, "cap", label.reason) if label.text else badge("no PA/PC/CA label", "cap none", label.reason),
    )


def long_date(stamp: str) -> str:
    """``2026-11-24T16:08:19+00:00`` as ``24 November 2026, 16:08 UTC``."""
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    months = "January February March April May June July August September October November December".split()
    zone = moment.tzname() or "no zone"
    return f"{moment.day} {months[moment.month - 1]} {moment.year}, {moment:%H:%M} {zone}"


def load_sentence(result: Result) -> str:
    """The load in words."""
    load = result.workload
    return f"{load.num_requests} requests {load.shape} {load.pace}" + (f", {load.repeats} times" * (load.repeats > 1))


def headline(run: ReportedRun) -> Html:
    """Title, sentence and headline numbers."""
    result = run.result
    verb = {"measured": "Measured", "projected": "Projected", "imported": "Imported"}[result.kind]
    sentence = (
        f"{verb} with {result.engine} in {result.model.weight_dtype} "
        f"on {long_date(result.provenance.started)}: {load_sentence(result)}."
    )
    ended = None
    if result.status != "complete":
        text = f"This run is {result.status}: {result.reason or 'no reason was stored'}."
        ended = paragraph(element("strong", text), " What was observed until then is shown.", class_="alarm")
    projected = None
    if result.kind == "projected":
        said = " ".join(flag.text for flag in result.flags if flag.name == "projected")
        projected = paragraph(
            element("strong", "Every number on this page is a projection."),
            f" {said or 'Nothing was measured.'}",
            class_="alarm",
        )
    return element(
        "header",
        element("div", badges(run), class_="badges"),
        element("h1", run.title),
        paragraph(sentence, class_="lead"),
        ended,
        projected,
        element("dl", *_tiles(run), class_="tiles", aria_label="Headline numbers"),
        id="top",
    )


def _tiles(run: ReportedRun) -> Iterable[Html]:
    metrics = run.result.metrics
    shown = [(name, label, things, metrics.get(name)) for name, label, things in HEADLINES]
    for task in run.tasks or ("",):
        name = f"accuracy.{task}" if task else "accuracy"
        missing = absent("1", f"{task} did not finish" if task else "no accuracy task was run")
        shown.append((name, f"Accuracy, {task}" if task else "Accuracy", "questions", metrics.get(name, missing)))
    for name, label, things, metric in shown:
        estimated = run.result.routing_source == "estimated" and name.endswith(".s_mbu")
        yield _tile(name, label, things, metric or absent("1", "not in this result"), estimated)


def _tile(name: str, label: str, things: str, metric: Metric, estimated: bool) -> Html:
    below = metric.reason if metric.value is None else note(metric, things, estimated=estimated)
    small = element("dd", below, class_="reason" if metric.value is None else "note")
    value = element("dd", metric_value(name, metric, reason=False), class_="value")
    return element("div", element("dt", label), value, small, class_="tile")


def validity(flags: tuple[Flag, ...]) -> Html:
    """The flags: one line each, several of one name folded into one line, the gravest first."""
    if not flags:
        return element("ul", _line("info", "No remark on the validity of this result."), class_="flags")
    groups: dict[tuple[str, str], list[str]] = {}
    for flag in sorted(flags, key=lambda f: LEVELS.index(f.level)):
        groups.setdefault((flag.level, flag.name), []).append(flag.text)
    return element("ul", *(_group(level, name, texts) for (level, name), texts in groups.items()), class_="flags")


def _group(level: str, name: str, texts: list[str]) -> Html:
    if len(texts) == 1:
        return _line(level, texts[0])
    head = f"{name.replace('_', ' ').capitalize()}: {len(texts)} remarks, the first: {texts[0]}"
    return _line(level, folded(head, element("ul", *(element("li", text) for text in texts))))


def _line(level: str, content: Child) -> Html:
    return element("li", element("span", level, class_=f"level {level}"), element("div", content), class_=level)
