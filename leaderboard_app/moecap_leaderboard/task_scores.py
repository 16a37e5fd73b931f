"""Which tasks the rows of the board have scores of, and the best of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from moecap_leaderboard.columns import Columns
from moecap_leaderboard.listing import Filters
from moecap_leaderboard.tables import Submission

__all__ = ["TaskScores", "family_results", "registered_task", "task_scores"]

_LIVE = (Submission.kind == "measured", Submission.state == "published", Submission.newest.is_(True))


@dataclass(frozen=True, slots=True)
class TaskScores:
    """What the board has of a task.

    Attributes:
        rows: Measured rows, in their newest version, that ran it.
        best: The highest recomputed ``accuracy.TASK`` of those in the main ranking; ``None`` where there is none.
        best_result: Id of the result that has it.
    """

    rows: int
    best: float | None
    best_result: str | None


def registered_task(name: str, tasks: Collection[str]) -> str:
    """The registered name of a task that a run names: of a member of a family that of the family."""
    family = name.partition(":")[0]
    return family if name not in tasks and family in tasks else name


def task_scores(columns: Columns, tasks: Collection[str]) -> dict[str, TaskScores]:
    """What the board has of each task that it has something of.

    Args:
        columns: The rows.
        tasks: Names of the registered tasks.
    """
    with columns.present() as now:
        rows: Counter[str] = Counter()
        for names, count in now.values("tasks", now.rows(Filters())).items():
            for task in {registered_task(name, tasks) for name in names.split()}:
                rows[task] += count
        ranked = np.flatnonzero(now.rows(Filters(ranked="true")))
        return {task: TaskScores(count, *_best(now, task, ranked)) for task, count in rows.items()}


def _best(columns: Columns, task: str, ranked: NDArray[np.intp]) -> tuple[float | None, str | None]:
    values = columns.metric(f"accuracy.{task}")[ranked]
    if np.isnan(values).all():
        return None, None
    place = int(np.nanargmax(values))
    return float(values[place]), columns.result_at(int(ranked[place]))


def family_results(session: Session, family: str, most: int) -> list[str]:
    """Ids of the results that ran a task of a family, the newest first."""
    chosen = select(Submission.result).where(Submission.tasks.contains(f" {family}:", autoescape=True), *_LIVE)
    return list(session.scalars(chosen.order_by(Submission.published_us.desc()).limit(most)))
