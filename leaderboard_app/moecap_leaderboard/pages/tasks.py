"""What each task and paper method measures, the figures that its paper gives, and what the board has of it."""

from __future__ import annotations

import gradio as gr

from moecap.plugins import TASKS, plugin_names
from moecap.report.markup import Html, element, join, paragraph
from moecap_leaderboard.api.filters import ListQuery
from moecap_leaderboard.pages.context import Item, PageContext
from moecap_leaderboard.pages.events import on_open
from moecap_leaderboard.pages.look import html_block, loading, page_head
from moecap_leaderboard.pages.task_catalogue import Described, described, every_task
from moecap_leaderboard.pages.task_detail import task_detail
from moecap_leaderboard.pages.task_index import task_index
from moecap_leaderboard.pages.url_state import query_from
from moecap_leaderboard.task_scores import family_results, task_scores

__all__ = ["IN_NAVIGATION", "PATH", "TITLE", "build", "tasks_page"]

TITLE = "Tasks"
PATH = "/tasks"
IN_NAVIGATION = True

_LEAD = (
    "What can be measured beside speed: accuracy tasks, and the methods of papers, each with its own numbers. A run "
    "asks for any of them with --task."
)
_ROWS = 6
"""Rows of the board that are laid side by side."""


def build(context: PageContext) -> None:
    """The page."""
    place = html_block(loading("Loading the tasks"), id="tasks")

    def opened(request: gr.Request) -> str:
        return tasks_page(context, query_from(request).first("task"))

    on_open(opened, None, place)


def tasks_page(context: PageContext, chosen: str) -> Html:
    """One task with everything that is known of it, or the list of all.

    Args:
        context: Where to read.
        chosen: Name of a task; empty for the list.
    """
    if not chosen:
        names = plugin_names(TASKS)
        scores = task_scores(context.service.columns, names)
        return join(page_head(TITLE, _LEAD), task_index(every_task(), scores))
    task = described(chosen)
    if task is None:
        return element(
            "div",
            element("h1", "No such task"),
            paragraph(f"No task {chosen[:80]} is registered here; a plugin that is not installed may have it."),
            paragraph(element("a", "All tasks", href=PATH), class_="onward"),
            class_="empty",
        )
    return task_detail(task, _rows(context, task))


def _rows(context: PageContext, task: Described) -> list[Item]:
    """The rows that ran a task, the best first, with their whole results; of a family those of any of its tasks."""
    if task.is_family:
        with context.service.database.reading() as session:
            found = family_results(session, task.name, _ROWS)
    else:
        query = ListQuery(task=[task.name], sort=f"-accuracy.{task.name}", limit=_ROWS)
        found = [item["id"] for item in context.rows(query)]
    return [context.one(identifier) for identifier in found]
