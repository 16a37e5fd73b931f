"""Rows that a page looks at as a whole: all of a model, or some by their ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any, Literal

from moecap_leaderboard.listing import Filters, all_items, items_of
from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.reports import published

__all__ = ["MOST_ROWS", "ModelRows", "model_rows", "rows_by_id"]


MOST_ROWS = 2000
"""Rows of a model and kind that a page looks at."""

_KINDS: tuple[Literal["measured", "imported", "projected"], ...] = ("measured", "imported", "projected")


def model_rows(context: PageContext, model: str) -> list[dict[str, Any]]:
    """The rows of a model, measured before published before projected, of each kind the newest :data:`MOST_ROWS`."""
    database = context.service.database
    kinds = (all_items(database, Filters(kind=kind, model=(model,)), "-published") for kind in _KINDS)
    return [item for found in kinds for item in islice(found, MOST_ROWS)]


class ModelRows:
    """The rows of models, each read once for one answer.

    Args:
        context: The service.
    """

    def __init__(self, context: PageContext) -> None:
        self._context = context
        self._read: dict[str, list[dict[str, Any]]] = {}

    def of(self, model: str) -> list[dict[str, Any]]:
        """As :func:`model_rows`; none of a model without a name."""
        if model not in self._read:
            self._read[model] = model_rows(self._context, model) if model else []
        return self._read[model]


def rows_by_id(context: PageContext, identifiers: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows by the ids of their results, and why others are not there.

    Args:
        context: The service.
        identifiers: Ids, as an address holds them.
    """
    found, missing = [], []
    with context.service.database.reading() as session:
        for identifier in dict.fromkeys(identifiers):
            if not re.fullmatch("[0-9a-f]{64}", identifier):
                missing.append(f"no result {identifier[:64]!r}; an id has 64 hexadecimal digits")
                continue
            try:
                found += items_of(session, [published(session, identifier)])
            except ProblemError as problem:
                missing.append(str(problem))
    return found, missing
