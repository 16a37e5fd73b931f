"""How the rows that a filter leaves spread over the values of the others, and the best value of each metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from moecap.metrics.direction import better_of
from moecap_leaderboard.listing import Filters, conditions
from moecap_leaderboard.tables import Figure, Submission

__all__ = ["FACETS", "Spread", "best_values", "spread", "spreads"]

FACETS = ("kind", "family", "model", "hardware", "engine", "precision", "task")
"""Filters whose values are counted."""

Spread = Mapping[str, Mapping[str, int]]
"""Rows of each value of each facet."""

_FEW = 2000
"""Rows whose numbers are all looked at to find the best."""


def spreads(filters: Filters, counted: Callable[[Filters], Spread]) -> dict[str, dict[str, int]]:
    """Rows of each value of each of :data:`FACETS`, the most frequent first, under all filters but the facet's own.

    Args:
        filters: Which rows.
        counted: Gives the :func:`spread` of rows; that without a facet's own filter serves each value of the filter.
    """
    default = Filters(kind="all")
    found = {**counted(filters)}
    for facet in FACETS:
        if getattr(filters, facet) != getattr(default, facet):
            without: dict[str, Any] = {facet: getattr(default, facet)}
            found[facet] = counted(replace(filters, **without))[facet]
    return {facet: dict(sorted(found[facet].items(), key=lambda pair: (-pair[1], pair[0]))) for facet in FACETS}


def spread(session: Session, filters: Filters) -> Spread:
    """Rows of each value of each of :data:`FACETS` among the rows that filters leave, in one pass over them.

    Args:
        session: Where to read.
        filters: Which rows.
    """
    columns = [Submission.tasks if facet == "task" else getattr(Submission, facet) for facet in FACETS]
    grouped = select(func.count(), *columns).where(*conditions(filters)).group_by(*columns)
    found: dict[str, Counter[str]] = {facet: Counter() for facet in FACETS}
    for count, *values in session.execute(grouped):
        for facet, value in zip(FACETS, values, strict=True):
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
    compared = [Submission.ranked.is_(True), *([Submission.kind != "projected"] if filters.kind == "all" else [])]
    rows = (*conditions(filters), *compared)
    some = session.scalars(select(Submission.id).where(*rows).limit(_FEW + 1)).all()
    if len(some) <= _FEW:
        called = Figure.name + ""  # else SQLite reads all rows of a name, and not some rows by their key
        ends = select(called, func.min(Figure.value), func.max(Figure.value)).group_by(called)
        found = session.execute(ends.where(Figure.submission.in_(some), called.in_(wanted)))
        return {name: float(least if wanted[name] == "lower" else most) for name, least, most in found}
    best: dict[str, float] = {}
    for name, better in wanted.items():  # along the index of the values to the first of one of the rows, not far
        value = Figure.value if better == "lower" else Figure.value.desc()
        chosen = select(Figure.value).join(Submission, Submission.id == Figure.submission)
        first = session.scalar(chosen.where(Figure.name == name, *rows).order_by(value).limit(1))
        if first is not None:
            best[name] = float(first)
    return best
