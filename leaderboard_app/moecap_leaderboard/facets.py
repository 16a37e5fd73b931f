"""How the rows that a filter leaves spread over the values of the others, and the best value of each metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from moecap.metrics.direction import better_of
from moecap_leaderboard.listing import Filters, conditions
from moecap_leaderboard.tables import Figure, Submission

__all__ = ["FACETS", "best_values", "spreads"]

FACETS = ("kind", "family", "model", "hardware", "engine", "precision", "task")
"""Filters whose values are counted."""


def spreads(session: Session, filters: Filters) -> dict[str, dict[str, int]]:
    """Rows of each value of each of :data:`FACETS`, the most frequent first, under all filters but the facet's own.

    Facets that are not filtered by are counted in one pass over the rows.

    Args:
        session: Where to read.
        filters: Which rows.
    """
    default = Filters(kind="all")
    filtered = [facet for facet in FACETS if getattr(filters, facet) != getattr(default, facet)]
    found = _counted(session, filters, [facet for facet in FACETS if facet not in filtered])
    for facet in filtered:
        without: dict[str, Any] = {facet: getattr(default, facet)}
        found |= _counted(session, replace(filters, **without), [facet])
    return {facet: dict(sorted(found[facet].items(), key=lambda pair: (-pair[1], pair[0]))) for facet in FACETS}


def _counted(session: Session, filters: Filters, facets: Sequence[str]) -> dict[str, Counter[str]]:
    columns = [Submission.tasks if facet == "task" else getattr(Submission, facet) for facet in facets]
    grouped = select(func.count(), *columns).where(*conditions(filters)).group_by(*columns)
    found: dict[str, Counter[str]] = {facet: Counter() for facet in facets}
    for count, *values in session.execute(grouped):
        for facet, value in zip(facets, values, strict=True):
            for one in value.split() if facet == "task" else [value]:
                found[facet][one] += count
    return found


def best_values(session: Session, filters: Filters, names: Iterable[str]) -> dict[str, float]:
    """The best value of each metric among the ranked rows that are sorted by it; none of a metric without a direction.

    A projection beats no observation: it is looked at where projections alone are asked for.

    Args:
        session: Where to read.
        filters: Which rows.
        names: Metrics.
    """
    wanted = {name: better for name in names if (better := better_of(name)) != "neither"}
    joined = select(Figure.name, func.min(Figure.value), func.max(Figure.value)).join(
        Submission, Submission.id == Figure.submission
    )
    compared = [Submission.ranked.is_(True), *([Submission.kind != "projected"] if filters.kind == "all" else [])]
    ends = joined.where(*conditions(filters), *compared, Figure.name.in_(wanted)).group_by(Figure.name)
    return {name: float(least if wanted[name] == "lower" else most) for name, least, most in session.execute(ends)}
