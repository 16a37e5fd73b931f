"""Tables of facts that a task leaves beside its samples: numbers and short names, no prompts and no answers.

The table ``name`` of the task ``task`` is the observation file ``task.name.parquet``. Its columns hold whole numbers,
finite fractions, truth values or texts, and no entry is empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from moecap.errors import BadInputError
from moecap.packed_files import read_table

__all__ = ["TaskTables", "column", "declared", "is_task_table", "read_task_tables", "task_table_file", "typed_tables"]

TaskTables = Mapping[str, Mapping[str, pd.DataFrame]]
"""The tables by task and by name."""

_FILE = re.compile(r"(?P<task>[a-z][a-z0-9_]*)\.(?P<name>[a-z][a-z0-9_]*)\.parquet")


def column(name: str, kind: pa.DataType, text: str) -> pa.Field:
    """A column of a declared table, with what it holds and in which unit."""
    return pa.field(name, kind, nullable=False, metadata={"description": text})


def declared(*columns: pa.Field) -> pa.Schema:
    """A declared table of these columns."""
    return pa.schema(columns)


def task_table_file(task: str, name: str) -> str:
    """The file of a table.

    Raises:
        ValueError: If task or table has a name that no file can have.
    """
    file = f"{task}.{name}.parquet"
    if not _FILE.fullmatch(file):
        raise ValueError(f"{file}: names of tasks and tables are lower-case letters, digits and underscores")
    return file


def is_task_table(file: str) -> bool:
    """Whether a file has the name of a task's table."""
    return _FILE.fullmatch(file) is not None


def read_task_tables(directory: Path) -> TaskTables:
    """The tables of every task in a run directory.

    Raises:
        BadInputError: If one cannot be read, or holds what no table of a task does.
    """
    tables: dict[str, dict[str, pd.DataFrame]] = {}
    for path in sorted(directory.glob("*.*.parquet")):
        if found := _FILE.fullmatch(path.name):
            tables.setdefault(found["task"], {})[found["name"]] = _read(path)
    return tables


def typed_tables(
    task: str, schemas: Mapping[str, pa.Schema], found: Mapping[str, pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Every table that a task declares, with its columns; one that is not there is empty.

    Args:
        task: Name of the task.
        schemas: The tables that it declares.
        found: The tables that are there.

    Raises:
        BadInputError: If a table has other columns.
    """
    return {name: _typed(task, name, schema, found.get(name)) for name, schema in schemas.items()}


def _typed(task: str, name: str, schema: pa.Schema, frame: pd.DataFrame | None) -> pd.DataFrame:
    if frame is None:
        empty: pd.DataFrame = schema.empty_table().to_pandas()
        return empty
    kinds = {field.name: _kind(field.type.to_pandas_dtype()) for field in schema}
    found = {str(column): _kind(frame[column].dtype) for column in frame.columns}
    if kinds != found:
        wrong = next(c for c in [*kinds, *found] if kinds.get(c) != found.get(c))
        raise BadInputError(
            f"{task_table_file(task, name)}: column {wrong!r} is not as the method {task} declares it; "
            "the run has to be repeated"
        )
    typed: pd.DataFrame = frame[list(schema.names)]
    return typed


def _kind(dtype: Any) -> str:
    """``i`` for whole numbers, ``f``, ``b``, or ``O`` for texts."""
    kind = np.dtype(dtype).kind if not isinstance(dtype, pd.StringDtype) else "O"
    return {"u": "i", "U": "O"}.get(kind, kind)


def _read(path: Path) -> pd.DataFrame:
    try:
        table = read_table(path)
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path.name} cannot be read as Parquet ({error}); the run has to be repeated") from None
    if len(set(table.column_names)) < table.num_columns:
        raise BadInputError(f"{path.name} has a column twice; the run has to be repeated")
    for field in table.schema:
        if not any(test(field.type) for test in (pa.types.is_integer, _is_fraction, pa.types.is_boolean, _is_text)):
            raise BadInputError(
                f"{path.name}: column {field.name} is of type {field.type}; a task's table holds numbers, truth values "
                "and texts"
            )
        if table[field.name].null_count:
            raise BadInputError(f"{path.name}: column {field.name} has an empty entry; the run has to be repeated")
    frame: pd.DataFrame = table.to_pandas()
    for name in frame.columns:
        if frame[name].dtype.kind == "f" and not np.isfinite(frame[name]).all():
            raise BadInputError(f"{path.name}: column {name} holds what is no finite number; it has to be repeated")
    return frame


def _is_fraction(kind: pa.DataType) -> bool:
    return bool(pa.types.is_float32(kind) or pa.types.is_float64(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind))
