"""The section of the CAP radar: the figure, its normalisation and its label."""

from __future__ import annotations

from moecap.report.cap import cap_rule
from moecap.report.figures import NO_VALUE
from moecap.report.headline import badge
from moecap.report.markup import Html, data_table, element, folded, join, paragraph
from moecap.report.radar import radar
from moecap.report.reported_run import ReportedRun
from moecap.report.section import Section, how_to_read, metric_value

__all__ = ["cap_section", "normalisation"]

HOW = (
    "Outer is better on every axis. Under the name of each axis stand its bounds, from the centre to the rim; a value "
    "lies between them in proportion, or in proportion of its logarithm where log is printed. The bounds are declared "
    "in the tool's cap.yaml and never depend on what is shown, so figures of different runs can be laid side by side. "
    "An axis without a value is dashed and left open: it is not 0."
)


def cap_section(run: ReportedRun) -> Section:
    """Radar, label and table of one run."""
    found = run.places
    label = run.label
    verdict = (
        join(badge(label.text, "cap"), f" {_meaning(label.text)}: {label.reason}.")
        if label.text
        else join("No PA, PC or CA label: ", label.reason, ".")
    )
    have = [p for p in found if p.share is not None]
    best = max(have, key=lambda p: p.share or 0.0, default=None)
    low = min(have, key=lambda p: p.share or 0.0, default=None)
    sentence = f"{len(have)} of n = {len(found)} axes have a value"
    if best and low and best is not low:
        sentence += f"; outermost is {best.axis.name} at {best.share:.2f}, innermost {low.axis.name} at {low.share:.2f}"
    figure = element(
        "figure",
        radar([(run.title, run.result.kind, found)]),
        element(
            "figcaption", element("span", f"{sentence}. {_tasks(run)}"), how_to_read(HOW, ("S-MBU", "S-MFU", "TTFT"))
        ),
        class_="cap-figure",
    )
    body = element(
        "div",
        figure,
        element("div", paragraph(verdict, class_="verdict"), _table(run), normalisation(), class_="cap-side"),
        class_="cap-grid",
    )
    return Section("cap", "CAP radar: cost, accuracy, performance", body)


def normalisation() -> Html:
    """Why the bounds are what they are, and the rule of the label."""
    rule = cap_rule()
    entries = [join(element("dt", axis.name), element("dd", axis.reason)) for axis in rule.axes]
    text = (
        f"Version {rule.version} of the declared bounds. PA, PC and CA name the two of performance, accuracy and cost "
        f"that a system optimises. {rule.label.reason} A missing value leaves a system without a label, and so does a "
        "tie."
    )
    return folded("Why these bounds, and the rule of the label", paragraph(text), element("dl", *entries), class_="how")


def _meaning(label: str) -> str:
    words = {"P": "performance", "A": "accuracy", "C": "cost"}
    return " and ".join(words[letter] for letter in label).capitalize()


def _tasks(run: ReportedRun) -> str:
    if not run.tasks:
        return "No accuracy task was run."
    of = f"that of {run.tasks[0]}" if len(run.tasks) == 1 else f"the mean of {', '.join(run.tasks)}"
    records = run.result.tasks
    if records and all(record.in_load for record in records):
        asked = f"{run.result.workload.num_requests:,} requests"
        return f"Accuracy is {of}, from the same {asked} as cost and performance."
    return f"Accuracy is {of}."


def _table(run: ReportedRun) -> Html:
    rows = []
    for p in run.places:
        scale = "log" if p.axis.scale == "log" else "linear"
        share = element("span", NO_VALUE, class_="none") if p.share is None else join(f"{p.share:.2f}")
        if p.beyond:
            share = join(share, element("span", " beyond", title="outside the bounds, drawn at the nearest one"))
        name = f"accuracy.{run.tasks[0]}" if p.axis.metric == "accuracy" and len(run.tasks) == 1 else p.axis.metric
        value = metric_value(name, p.metric)
        bounds = join(p.axis.from_text, " → ", p.axis.to_text, element("span", f" {scale}", class_="faint"))
        rows.append((join(p.axis.name, element("small", p.axis.unit)), value, bounds, share))
    heads = ("Axis", "Value", "Centre → rim", "Place")
    return data_table(
        "Places on the axes: 0 at the centre, 1 at the rim", heads, rows, numeric=(3,), class_="cap-table"
    )
