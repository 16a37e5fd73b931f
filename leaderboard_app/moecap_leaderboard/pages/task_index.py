"""The list of all tasks, with what the board has of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moecap.report.figures import NO_VALUE
from moecap.report.markup import Child, Html, data_table, element, join, paragraph
from moecap_leaderboard.pages.links import page_url, result_url
from moecap_leaderboard.pages.task_catalogue import Described
from moecap_leaderboard.task_scores import TaskScores

__all__ = ["task_index"]


def task_index(tasks: Sequence[Described], scores: Mapping[str, TaskScores]) -> Html:
    """The methods of papers and the accuracy tasks as two tables.

    Args:
        tasks: All tasks.
        scores: What the board has of those that it has something of.
    """
    methods = [task for task in tasks if task.is_method]
    others = [task for task in tasks if not task.is_method]
    parts: list[Child] = []
    if methods:
        said = "Each follows one paper and leaves tables of facts, from which its numbers are computed again."
        parts += [element("h2", "Methods of papers"), paragraph(said, class_="faint"), _table(methods, scores)]
    parts += [element("h2", "Accuracy tasks"), _table(others, scores)]
    return join(*parts)


def _table(tasks: Sequence[Described], scores: Mapping[str, TaskScores]) -> Html:
    methods = tasks[0].is_method
    last = "Figures of the paper" if methods else "Best, recomputed"
    heads = ("Task", "What it measures", "Needs", "Paper", "Rows", last)
    rows = [
        (
            element("a", element("code", task.shown), href=page_url("/tasks", task=task.name)),
            join(task.title, element("small", task.metric)),
            element("small", ", ".join(task.requires)),
            element("small", task.paper),
            str(scores[task.name].rows) if task.name in scores else NO_VALUE,
            str(len(task.published)) if methods else _best(scores.get(task.name)),
        )
        for task in tasks
    ]
    caption = "Methods of papers" if methods else "Accuracy tasks and the best measured row of each"
    return data_table(caption, heads, rows, numeric=(4, 5), class_="tasks")


def _best(scores: TaskScores | None) -> Child:
    if scores is None or scores.best is None or scores.best_result is None:
        return NO_VALUE
    return element("a", f"{scores.best:.3f}", href=result_url(scores.best_result))
