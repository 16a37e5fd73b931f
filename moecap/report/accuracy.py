"""Accuracy of the tasks with intervals, and some of the questions."""

from __future__ import annotations

from typing import Any

from moecap.metrics.value import Metric
from moecap.report.markup import Child, Html, data_table, element, folded, join, paragraph
from moecap.report.reported_run import ReportedRun
from moecap.report.section import Section, how_to_read, metric_value

__all__ = ["accuracy_section"]

NAME, HEADING = "accuracy", "Accuracy"
SAMPLES = 6
LONGEST = 1200
HOW = (
    "The mark is the share of right answers, the bar its 95 % interval. Two systems whose intervals overlap widely "
    "cannot be told apart by so few questions. A name that ends in _norm takes the most likely answer per character."
)


def accuracy_section(run: ReportedRun) -> Section:
    """The table of the tasks and sample questions, or why there is none."""
    metrics = {n: m for n, m in run.result.metrics.items() if n.startswith("accuracy.")}
    if not metrics:
        asked = ", ".join(run.result.workload.task)
        ended = f": the run is {run.result.status}" if run.result.status != "complete" else ""
        why = (
            f"{asked} was asked for and did not finish{ended}"
            if asked
            else "no accuracy task was run (moecap run --task)"
        )
        return Section(NAME, HEADING, paragraph(f"No accuracy: {why}.", class_="missing"))
    rows: list[tuple[Child, ...]] = []
    for name, metric in metrics.items():
        interval = ""
        if metric.low is not None and metric.high is not None:
            interval = f"{metric.low:.3f} to {metric.high:.3f}"
        cells = (metric_value(name, metric), interval, f"{metric.n or 0:,}", _interval(metric))
        rows.append((name.removeprefix("accuracy."), *cells))
    heads = ("Task", "Right", "95 % interval", "n", "0 to 1")
    table = data_table("Share of questions answered right", heads, rows, numeric=(1, 2, 3), class_="accuracy")
    parts = [table, paragraph(_sentence(metrics)), how_to_read(HOW, ("Wilson interval", "Score"))]
    samples = run.evidence.observations.samples if run.evidence else ()
    if samples:
        questions = [_sample(s) for s in samples[:SAMPLES]]
        parts.append(folded(f"{len(questions)} of {len(samples):,} questions with their answers", *questions))
    return Section(NAME, HEADING, join(*parts))


def _sentence(metrics: dict[str, Metric]) -> str:
    words = []
    for name, metric in metrics.items():
        if metric.value is not None and metric.n:
            right = round(metric.value * metric.n)
            words.append(f"{name.removeprefix('accuracy.')}: {right:,} of n = {metric.n:,} right")
    return "; ".join(words) + "."


def _interval(metric: Metric) -> Html | None:
    if metric.value is None:
        return None
    low = metric.value if metric.low is None else metric.low
    high = metric.value if metric.high is None else metric.high
    bar = element("rect", x=f"{low * 100:.2f}", y=4, width=f"{(high - low) * 100:.2f}", height=4, class_="interval")
    mark = element("circle", cx=f"{metric.value * 100:.2f}", cy=6, r=3.4, class_="dot")
    base = element("line", x1=0, x2=100, y1=6, y2=6, class_="base")
    return element("svg", base, bar, mark, viewBox="-4 0 108 12", class_="interval-bar", aria_hidden="true")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text):,} characters)"


def _sample(sample: dict[str, Any]) -> Html:
    scores = sample.get("scores")
    right = isinstance(scores, dict) and bool(scores.get("accuracy"))
    mark = element("span", "right" if right else "wrong", class_=f"badge {'complete' if right else 'failed'}")
    head = element("p", mark, " ", element("code", _short(sample.get("id", "no id"))))
    answers, gold = sample.get("answers"), sample.get("gold")
    likelihoods = sample.get("log_likelihoods")
    if not isinstance(answers, list):
        rows = element("p", "Answer: ", _short(sample.get("answer", "")), element("br"), "Right: ", _short(gold))
        return element("div", head, element("pre", _short(sample.get("prompt", ""))), rows, class_="sample")
    values = (
        likelihoods if isinstance(likelihoods, list) and len(likelihoods) == len(answers) else [None] * len(answers)
    )
    items = []
    for i, (answer, value) in enumerate(zip(answers, values, strict=True)):
        tags = [t for t, yes in (("right answer", i == gold), ("chosen", answer == sample.get("answer"))) if yes]
        number = f"{value:.2f}" if isinstance(value, int | float) else ""
        items.append((_short(answer).strip(), number, ", ".join(tags)))
    table = data_table("Answers with their log-likelihood", ("Answer", "log p", ""), items, numeric=(1,))
    return element("div", head, element("pre", _short(sample.get("prompt", ""))), table, class_="sample")
