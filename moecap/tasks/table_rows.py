"""The rows of a method's tables as they come in, until they are left with the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

__all__ = ["TableRows"]


class TableRows:
    """Rows of declared tables.

    Args:
        tables: The columns of each table, as a method declares them.

    Attributes:
        columns: The values so far by table and column, as ``MethodTask.leave`` takes those of one table.
    """

    def __init__(self, tables: Mapping[str, pa.Schema]) -> None:
        self.columns: dict[str, dict[str, list[Any]]] = {
            table: {name: [] for name in schema.names} for table, schema in tables.items()
        }

    def row(self, table: str, *values: Any) -> None:
        """One row, its values in the order of the table's columns."""
        for cells, value in zip(self.columns[table].values(), values, strict=True):
            cells.append(value)

    def add(self, table: str, **row: Any) -> None:
        """One row with a value for each column."""
        columns = self.columns[table]
        assert set(row) == set(columns), (table, set(row) ^ set(columns))
        for name, value in row.items():
            columns[name].append(value)
