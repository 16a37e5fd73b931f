"""One task: what it measures and how to run it, its paper's figures, and the rows of the board side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from moecap.metrics.accuracy import is_score
from moecap.metrics.value import Metric
from moecap.report.figures import NO_VALUE, display_value
from moecap.report.headline import badge
from moecap.report.markup import Child, Html, data_table, element, folded, join, paragraph
from moecap.report.section import metric_value
from moecap_leaderboard.pages.links import page_url, result_url
from moecap_leaderboard.pages.look import page_head
from moecap_leaderboard.pages.naming import configuration_name, listed, plural
from moecap_leaderboard.pages.result_record import command_line
from moecap_leaderboard.pages.task_catalogue import Described

__all__ = ["task_detail"]

Row = Mapping[str, Any]

_OF_K = re.compile(r"(?P<what>.+)_k(?P<k>\d+)")
"""A number at k experts, demonstrations or the like, which stands beside those at other k."""

_COSTS = ("cost_per_million_output_tokens", "output_tokens_per_second", "tpot.p50")
_MARKS = {"paper": "read in the paper", "code": "read in the authors' code"}


def task_detail(task: Described, rows: Sequence[Row]) -> Html:
    """Everything about a task.

    Args:
        task: The task.
        rows: Rows of the board that ran it, the best first, as ``GET /results/{id}`` gives them.
    """
    return join(
        page_head(task.shown, task.title),
        paragraph(element("a", "All tasks", href="/tasks"), class_="onward"),
        *(paragraph(text) for text in task.about),
        command_line("task-command", f"moecap run --task {task.shown}"),
        element("h2", "On this board"),
        *_board(task, rows),
        element("h2", "How it is measured"),
        _facts(task),
        *_published(task),
    )


def _facts(task: Described) -> Html:
    pairs: list[tuple[Child, Child]] = [
        ("score", task.metric),
        ("needs of the engine", ", ".join(task.requires)),
        ("data", task.source),
        ("paper", task.paper),
        ("arguments", join(*_codes(task.arguments)) if task.arguments else "none"),
    ]
    pairs += [
        (f"size {size}", ", ".join(f"{name}={value}" for name, value in arguments.items()) or "as by default")
        for size, arguments in task.sizes.items()
    ]
    return data_table(f"About {task.shown}", ("", ""), pairs, class_="pairs")


def _codes(names: Sequence[str]) -> list[Child]:
    return [part for name in names for part in (element("code", name), " ")]


def _board(task: Described, rows: Sequence[Row]) -> list[Child]:
    if not rows:
        return [
            element(
                "div",
                paragraph("No row of this board has run it yet."),
                paragraph(
                    element("a", "Submit a result", href="/submit"),
                    element("a", "Ask for an evaluation", href="/queue"),
                    class_="onward",
                ),
                class_="empty",
            )
        ]
    shown = plural(len(rows), "measured row is shown", "measured rows are shown")
    said = f"{shown}, each with its 95 % intervals; cost and speed are of the same run."
    parts: list[Child] = [paragraph(said, class_="shows"), _side_by_side(task, rows)]
    for row in rows if task.is_method else ():
        parts += _by_k(task, row)
    if not task.is_family:
        more = element("a", "All rows of this task on the leaderboard", href=page_url("/board", task=task.name))
        parts.append(paragraph(more, class_="onward"))
    return parts


def _own(task: Described, row: Row) -> dict[str, Metric]:
    """A row's numbers of a task, by their whole names."""
    begin = (f"accuracy.{task.name}", f"task.{task.name}")
    return {
        name: Metric.model_validate(metric)
        for name, metric in row["result"]["metrics"].items()
        if name in begin or name.startswith(tuple(f"{word}{mark}" for word in begin for mark in "_:"))
    }


def _side_by_side(task: Described, rows: Sequence[Row]) -> Html:
    found = [_own(task, row) for row in rows]
    names = list(dict.fromkeys(name for one in found for name in one if is_score(name) and not _OF_K.fullmatch(name)))
    heads: list[Child] = [
        "",
        *(
            join(
                element("a", row["model"]["name"], href=result_url(row["id"])),
                element("small", configuration_name(row)),
                badge(row["kind"], row["kind"]),
                None if row["ranked"] else badge("not in the main ranking", "unranked"),
            )
            for row in rows
        ),
    ]
    lines: list[list[Child]] = [
        [element("code", name), *(_cell(name, one.get(name)) for one in found)] for name in names
    ]
    for name in _COSTS:
        metrics = [row["metrics"].get(name) for row in rows]
        cells = [_cell(name, Metric.model_validate(metric) if metric else None) for metric in metrics]
        lines.append([element("code", name), *cells])
    columns = range(1, len(rows) + 1)
    return data_table(f"Rows that ran {task.shown}", heads, lines, numeric=columns, class_="figures")


def _by_k(task: Described, row: Row) -> list[Child]:
    """The numbers of one row that depend on k, one column for each k."""
    table: dict[str, dict[int, tuple[str, Metric]]] = {}
    for name, metric in _own(task, row).items():
        if at := _OF_K.fullmatch(name):
            table.setdefault(at["what"], {})[int(at["k"])] = name, metric
    if not table:
        return []
    every = sorted({k for cells in table.values() for k in cells})
    lines: list[list[Child]] = [
        [element("code", what), *(_cell(*cells[k]) if k in cells else NO_VALUE for k in every)]
        for what, cells in table.items()
    ]
    caption = f"By k: {row['model']['name']}, {configuration_name(row)}"
    heads = ("", *(f"k = {k}" for k in every))
    return [data_table(caption, heads, lines, numeric=range(1, len(every) + 1), class_="figures")]


def _cell(name: str, metric: Metric | None) -> Child:
    if metric is None:
        return NO_VALUE
    if metric.value is None or metric.low is None or metric.high is None:
        return metric_value(name, metric)
    low, high = (display_value(end, metric.unit) for end in (metric.low, metric.high))
    return join(metric_value(name, metric), element("small", f"{low} to {high}"))


def _published(task: Described) -> list[Child]:
    if not task.is_method:
        return []
    heading = element("h2", "What the paper gives")
    if not task.published:
        return [heading, paragraph("No figure of the paper is packaged.", class_="missing")]
    rows = [
        (figure.metric, f"{figure.value:g} {figure.unit}", figure.setting, join(figure.source, _mark(figure.mark)))
        for figure in task.published
    ]
    counts = {text: sum(figure.mark == mark for figure in task.published) for mark, text in _MARKS.items()}
    marks = listed([f"{count} {text}" for text, count in counts.items() if count])
    table = data_table(f"Figures of {task.paper}", ("What", "Value", "Of", "Where it stands"), rows, numeric=(1,))
    said = paragraph(
        f"{plural(len(rows), 'figure')}: {marks}. They are of the paper's models and data.", class_="faint"
    )
    return [heading, said, folded("Show them", table, open=len(rows) <= 12)]


def _mark(mark: str) -> Html:
    return element("small", _MARKS[mark])
