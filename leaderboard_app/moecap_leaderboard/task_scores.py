"""Which tasks the rows of the board have scores of, and the best of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from moecap_leaderboard.tables import Figure, Submission

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


def task_scores(session: Session, tasks: Collection[str]) -> dict[str, TaskScores]:
    """What the board has of each task that it has something of.

    Args:
        session: Where to read.
        tasks: Names of the registered tasks.
    """
    counted = select(Submission.tasks, func.count()).where(*_LIVE).group_by(Submission.tasks)
    rows: Counter[str] = Counter()
    for names, count in session.execute(counted):
        for task in {registered_task(name, tasks) for name in names.split()}:
            rows[task] += count
    return {task: TaskScores(count, *_best(session, task)) for task, count in rows.items()}


def _best(session: Session, task: str) -> tuple[float | None, str | None]:
    chosen = (
        select(Figure.value, Submission.result)
        .join(Submission, Submission.id == Figure.submission)
        .where(Figure.name == f"accuracy.{task}", Submission.ranked.is_(True), *_LIVE)
    )
    found = session.execute(chosen.order_by(Figure.value.desc(), Figure.submission).limit(1)).first()
    return (found[0], found[1]) if found else (None, None)


def family_results(session: Session, family: str, most: int) -> list[str]:
    """Ids of the results that ran a task of a family, the newest first."""
    chosen = select(Submission.result).where(Submission.tasks.contains(f" {family}:", autoescape=True), *_LIVE)
    return list(session.scalars(chosen.order_by(Submission.published_us.desc()).limit(most)))
