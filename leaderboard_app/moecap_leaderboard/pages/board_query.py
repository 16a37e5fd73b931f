"""The state of the leaderboard's page, which is its address: filters and sort by the API's names, and the columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from moecap_leaderboard.api.filters import ListQuery
from moecap_leaderboard.pages.board_columns import COLUMNS, Column, chosen_columns, default_columns
from moecap_leaderboard.pages.context import query_of
from moecap_leaderboard.pages.url_state import Query

__all__ = ["BOARD", "DEFAULT_SORT", "BoardQuery"]

BOARD = "/board"
DEFAULT_SORT = "-published"

_MANY = ("family", "model", "hardware", "engine", "precision", "task", "owner", "configuration", "devices")
_ONE = (
    "kind", "tier", "q", "ranked", "state", "versions", "sort", "limit", "cursor", "concurrency_min", "concurrency_max",
    "input_len_min", "input_len_max", "output_len_min", "output_len_max",
)  # fmt: skip
_OF_THE_PAGE = ("column", "from")
_PLACE = ("cursor", "limit")
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class BoardQuery:
    """What an address asks for.

    Attributes:
        asked: The query of the API that it holds.
        columns: Keys of the columns.
        first: Number of the first row, from 0.
    """

    asked: ListQuery
    columns: tuple[str, ...]
    first: int

    @classmethod
    def of(cls, query: Query) -> BoardQuery:
        """Read an address.

        Raises:
            ProblemError: If a parameter is not known, or a value of one cannot be.
        """
        given: dict[str, Any] = {}
        for name in query:
            if name in _OF_THE_PAGE:
                continue
            values = query.every(name)
            if values:
                given[name] = list(values) if name in _MANY else values[0]
        asked = query_of(given)
        known = [column.key for column in COLUMNS]
        chosen = tuple(key for key in query.every("column") if key in known)
        first = query.first("from", "0")
        number = first.isdecimal() and len(first) < _DIGITS
        return cls(asked, chosen or default_columns(asked.kind), int(first) if number else 0)

    @property
    def shown(self) -> list[Column]:
        """The columns, with one for each task that is filtered by."""
        return chosen_columns(self.columns, self.asked.task)

    def parameters(self) -> list[tuple[str, str]]:
        """Its filters and sort as parameters of the API, without those that are the default."""
        pairs: list[tuple[str, str]] = []
        default = ListQuery()
        for name in (*_ONE, *_MANY):
            value = getattr(self.asked, name)
            if name in _PLACE or value == getattr(default, name):
                continue
            pairs += [(name, str(one)) for one in (value if isinstance(value, list) else [value])]
        return pairs

    def link(self, changes: Mapping[str, str] | None = None, without: Collection[str] = ()) -> str:
        """The address of this page with some parameters changed; the place in the list is dropped.

        Args:
            changes: Parameters with their new values.
            without: Parameters that are left out.
        """
        changed = dict(changes or {})
        pairs = [(name, value) for name, value in self.parameters() if name not in changed and name not in without]
        if self.columns != default_columns(self.asked.kind):
            pairs += [("column", key) for key in self.columns]
        if self.asked.limit != ListQuery().limit:
            pairs.append(("limit", str(self.asked.limit)))
        query = urlencode([*pairs, *changed.items()])
        return f"{BOARD}?{query}" if query else BOARD

    def without(self, name: str, kept: Sequence[str]) -> str:
        """The address with other values of a filter.

        Args:
            name: The filter.
            kept: Its values that stay.
        """
        base = self.link(without=(name,))
        more = urlencode([(name, value) for value in kept])
        return base if not more else f"{base}{'&' if '?' in base else '?'}{more}"

    def cleared(self) -> str:
        """The address without any filter; kind, sort and columns stay."""
        return self.link(without=[name for name, _ in self.parameters() if name not in ("kind", "sort")])

    def export(self, form: str) -> str:
        """The address of the file that holds every row that is shown, in its order.

        Args:
            form: ``csv``, ``parquet`` or ``json``.
        """
        pairs = self.parameters()
        return f"/api/v1/export.{form}" + (f"?{urlencode(pairs)}" if pairs else "")
