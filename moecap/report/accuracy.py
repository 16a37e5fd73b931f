"""Accuracy of the tasks with intervals, and some of the questions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moecap.metrics.accuracy import JUDGE_FAILED, UNRIGHT, is_score
from moecap.metrics.value import Metric, absent
from moecap.report.figures import NO_VALUE
from moecap.report.markup import Child, Html, data_table, element, folded, join, paragraph
from moecap.report.reported_run import ReportedRun
from moecap.report.section import Section, how_to_read, metric_value

__all__ = ["accuracy_section"]

NAME, HEADING = "accuracy", "Accuracy"
SAMPLES = 6
LONGEST = 1200
WHOLE = 1e-6
"""How near a sum of scores is to a whole number that is the number of right answers."""

HOW = (
    "The mark is the share of right answers, the bar its 95 % interval. Two systems whose intervals overlap widely "
    "cannot be told apart by so few questions. A name that ends in _norm takes the most likely answer per character."
)


def accuracy_section(run: ReportedRun) -> Section:
    """The table of the tasks and sample questions, or why there is none."""
    metrics = {n: m for n, m in run.result.metrics.items() if n.startswith("accuracy.") and is_score(n)}
    if not metrics:
        asked = ", ".join(run.result.workload.task)
        complete = run.result.status == "complete"
        ended = "gives none" if complete else f"was asked for and did not finish: the run is {run.result.status}"
        why = f"{asked} {ended}" if asked else "no accuracy task was run (moecap run --task)"
        return Section(NAME, HEADING, paragraph(f"No accuracy: {why}.", class_="missing"))
    rows: list[tuple[Child, ...]] = []
    for name, metric in metrics.items():
        interval = ""
        if metric.low is not None and metric.high is not None:
            interval = f"{metric.low:.3f} to {metric.high:.3f}"
        spread = run.result.metrics.get(f"{name}_stderr", absent("1", "not in this result"))
        error = metric_value(f"{name}_stderr", spread)
        cells = (metric_value(name, metric), interval, error, f"{metric.n or 0:,}", _interval(metric))
        rows.append((name.removeprefix("accuracy."), *cells))
    heads = ("Task", "Right", "95 % interval", "Standard error", "n", "0 to 1")
    table = data_table("Share of questions answered right", heads, rows, numeric=(1, 2, 3, 4), class_="accuracy")
    said = _sentence(metrics)
    parts = [
        table,
        *([paragraph(said)] if said else []),
        *_unright(run),
        how_to_read(HOW, ("Wilson interval", "Score")),
    ]
    parts += [_tasks(run)] if run.result.tasks else []
    samples = run.evidence.observations.samples if run.evidence else ()
    if samples:
        questions = [_sample(s) for s in samples[:SAMPLES]]
        parts.append(folded(f"{len(questions)} of {len(samples):,} questions with their answers", *questions))
    return Section(NAME, HEADING, join(*parts))


def _sentence(metrics: dict[str, Metric]) -> str:
    words = []
    for name, metric in metrics.items():
        if metric.value is not None and metric.n:
            right, task = metric.value * metric.n, name.removeprefix("accuracy.")
            whole = abs(right - round(right)) < WHOLE
            told = f"{round(right):,} of n = {metric.n:,} right" if whole else f"a mean of shares over n = {metric.n:,}"
            words.append(f"{task}: {told}")
    return "; ".join(words) + "." * bool(words)


def _unright(run: ReportedRun) -> Iterator[Html]:
    """What became of generated answers that are none, which count as wrong, and of those that were not judged."""
    for task in run.result.tasks:
        shares = {name: run.result.metrics.get(f"accuracy.{task.name}_{name}") for name in UNRIGHT}
        known = {name: m for name, m in shares.items() if m and m.value is not None}
        if known:
            told = ", ".join(f"{round((m.value or 0) * (m.n or 0)):,} {name}" for name, m in known.items())
            n = next(iter(known.values())).n or 0
            yield paragraph(f"{task.name}: {told} of n = {n:,}; all of these count as wrong.")
        judged = run.result.metrics.get(f"accuracy.{task.name}_{JUDGE_FAILED}")
        if judged and judged.value is not None and judged.n:
            without = round(judged.value * judged.n)
            yield paragraph(
                f"{task.name}: no verdict of the judge on {without:,} of n = {judged.n:,}, which have no score."
            )


def _tasks(run: ReportedRun) -> Html:
    """What each task asked, so that the same can be asked again."""
    rows = [
        (
            task.name,
            task.version,
            f"{task.items:,}",
            NO_VALUE if task.few_shot is None else str(task.few_shot),
            NO_VALUE if task.few_shot_seed is None else str(task.few_shot_seed),
            NO_VALUE if task.chat is None else "yes" if task.chat else "no",
            "under the load, whose requests they are" if task.in_load else "after the load",
            element("code", (task.prompts_sha256 or NO_VALUE)[:16], title=task.prompts_sha256),
            task.source,
        )
        for task in run.result.tasks
    ]
    heads = ("Task", "Version", "Items", "Examples", "Their seed", "Chat template", "Asked", "Prompts' SHA-256", "Data")
    return folded("What was asked", data_table("The tasks", heads, rows, numeric=(2, 3, 4)))


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


def _end(value: Any) -> str:
    """The end of a prompt, where the question is."""
    text = str(value)
    return text if len(text) <= LONGEST else f"({len(text):,} characters) … {text[-LONGEST:]}"


def _sample(sample: dict[str, Any]) -> Html:
    scores = sample.get("scores")
    right = isinstance(scores, dict) and bool(scores.get("accuracy"))
    unjudged = isinstance(scores, dict) and "accuracy" not in scores and bool(scores.get(JUDGE_FAILED))
    told = "right" if right else "no verdict" if unjudged else "wrong"
    mark = element("span", told, class_=f"badge {'complete' if right else 'failed'}")
    head = element("p", mark, " ", element("code", _short(sample.get("id", "no id"))))
    answers, gold = sample.get("answers"), sample.get("gold")
    likelihoods = sample.get("log_likelihoods")
    if not isinstance(answers, list):
        found = (element("br"), "Found in it: ", _short(sample["extracted"])) if sample.get("extracted") else ()
        ended = (element("br"), "Outcome: ", _short(sample.get("outcome"))) if sample.get("outcome") else ()
        answer = element("pre", _short(sample.get("answer", "")))
        rows = element("p", "Right: ", _short(gold), *found, *ended)
        return element("div", head, element("pre", _end(sample.get("prompt", ""))), answer, rows, class_="sample")
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
