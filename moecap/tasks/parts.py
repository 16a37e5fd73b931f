"""The parts that the tables of a whole run have: rows of each seed, variant, classifier and so on that was asked for.

A method says them from its arguments, so that nobody can leave out the seed or the variant that did badly.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd

__all__ = ["Parts"]


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one table.

    Attributes:
        table: Its name.
        columns: The columns that tell its parts apart; with none the table is one part.
        asked: The values of these columns in each part of which it has rows; it has rows of no other.
    """

    table: str
    columns: tuple[str, ...]
    asked: Collection[tuple[Any, ...]]

    @classmethod
    def of_each(cls, table: str, **values: Iterable[Any]) -> Parts:
        """A part for each combination of values.

        Args:
            table: The table.
            values: The values of each column.
        """
        return cls(table, tuple(values), [*product(*values.values())])

    def problem(self, tables: Mapping[str, pd.DataFrame]) -> str:
        """What is missing or was not asked for; empty where the table has each part and no other.

        Args:
            tables: The method's tables.
        """
        rows = tables[self.table]
        if not self.columns:
            return "it has no row" if bool(self.asked) and rows.empty else ""
        found = set(rows[[*self.columns]].drop_duplicates().itertuples(index=False, name=None))
        asked = set(self.asked)
        if missing := [part for part in self.asked if part not in found]:
            return f"no row of {self._said(missing[0])}, which the result's settings ask for"
        if found - asked:
            return f"rows of {self._said(min(found - asked, key=str))}, which the result's settings do not ask for"
        return ""

    def _said(self, part: tuple[Any, ...]) -> str:
        return ", ".join(f"{column} {value}" for column, value in zip(self.columns, part, strict=True))
