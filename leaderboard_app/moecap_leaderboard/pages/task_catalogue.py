"""The registered tasks as pages describe them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

from moecap.errors import MoecapError
from moecap.plugins import TASKS, load_plugin, plugin_names
from moecap.tasks.base import Task, TaskFamily
from moecap.tasks.method import MethodTask, PublishedFigure

__all__ = ["Described", "described", "every_task"]


@dataclass(frozen=True, slots=True)
class Described:
    """A task.

    Attributes:
        name: Its registered name.
        shown: Its name in a command; of a family with a place for the member's.
        title: What it measures.
        metric: What its score is.
        paper: Where it is published.
        source: Where its data comes from.
        requires: What a backend must be able to do.
        about: What its class says of it, a paragraph each.
        arguments: Names of its arguments.
        sizes: Values of its arguments by the name of a size; none of a task that is no method.
        published: Figures that the paper gives.
        is_method: Whether it is a paper's method.
        is_family: Whether it stands for many tasks.
    """

    name: str
    shown: str
    title: str
    metric: str
    paper: str
    source: str
    requires: tuple[str, ...]
    about: tuple[str, ...]
    arguments: tuple[str, ...]
    sizes: Mapping[str, Mapping[str, str]]
    published: tuple[PublishedFigure, ...]
    is_method: bool
    is_family: bool


def every_task() -> list[Described]:
    """All tasks that can be loaded, methods of papers first."""
    found = [task for name in plugin_names(TASKS) if (task := described(name)) is not None]
    return sorted(found, key=lambda task: not task.is_method)


def described(name: str) -> Described | None:
    """A task by its registered name; ``None`` where there is none, or its package is broken."""
    try:
        task = load_plugin(TASKS, name)()
    except MoecapError:
        return None
    is_method = isinstance(task, MethodTask)
    return Described(
        name=name,
        shown=task.name,
        title=task.title,
        metric=task.metric,
        paper=task.paper,
        source=task.source,
        requires=tuple(sorted(task.requires)),
        about=_paragraphs(type(task)),
        arguments=tuple(task.takes) if isinstance(task, Task) else (),
        sizes=task.sizes if is_method else {},
        published=task.published() if is_method else (),
        is_method=is_method,
        is_family=isinstance(task, TaskFamily),
    )


def _paragraphs(of: type) -> tuple[str, ...]:
    text = inspect.cleandoc(of.__doc__ or "").replace("``", "")
    return tuple(" ".join(part.split()) for part in text.split("\n\n") if part.strip())
