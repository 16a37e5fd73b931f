"""How the rows that a filter leaves spread over the values of the others, and the best value of each metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from moecap.metrics.direction import better_of
from moecap_leaderboard.columns import Columns, Mask
from moecap_leaderboard.listing import Filters

__all__ = ["FACETS", "Spread", "best_values", "spreads"]

FACETS = ("kind", "family", "model", "hardware", "engine", "precision", "task")
"""Filters whose values are counted."""

Spread = Mapping[str, Mapping[str, int]]
"""Rows of each value of each facet."""


def spreads(columns: Columns, filters: Filters) -> dict[str, dict[str, int]]:
    """Rows of each value of each of :data:`FACETS`, the most frequent first, under all filters but the facet's own.

    Args:
        columns: The rows.
        filters: Which of them.
    """
    default, found = Filters(kind="all"), {}
    with columns.present() as now:
        rows = now.rows(filters)
        for facet in FACETS:
            own = getattr(filters, facet) != getattr(default, facet)
            without: dict[str, Any] = {facet: getattr(default, facet)}
            counts = _counts(now, facet, now.rows(replace(filters, **without)) if own else rows)
            found[facet] = dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
    return found


def _counts(columns: Columns, facet: str, rows: Mask) -> dict[str, int]:
    if facet != "task":
        return columns.values(facet, rows)
    found: Counter[str] = Counter()
    for names, count in columns.values("tasks", rows).items():
        for name in names.split():
            found[name] += count
    return dict(found)


def best_values(columns: Columns, filters: Filters, names: Iterable[str]) -> dict[str, float]:
    """The best value of each metric among the ranked rows that are sorted by it; none of a metric without a direction.

    A projection beats no observation: it is looked at where projections alone are asked for.

    Args:
        columns: The rows.
        filters: Which of them.
        names: Metrics.
    """
    if filters.ranked == "false":
        return {}
    found: dict[str, float] = {}
    with columns.present() as now:
        rows = now.rows(replace(filters, ranked="true"))
        if filters.kind == "all":
            rows &= ~now.rows(Filters(kind="projected", state=filters.state, versions=filters.versions))
        for name in names:
            better = better_of(name)
            values = now.metric(name)[rows] if better != "neither" else np.empty(0)
            values = values[~np.isnan(values)]
            if len(values):
                found[name] = float(values.min() if better == "lower" else values.max())
    return found
