"""Rows of a data set that the user has on disk in the format in which the Hugging Face hub publishes it.

One split is one or more Parquet files, Arrow files (``save_to_disk`` or the hub's cache) or JSON-lines files, named
after the split: ``test.jsonl``, ``test-00000-of-00001.parquet``, ``test/data-00000-of-00001.arrow``. They lie in the
folder itself, in ``ARC-Easy``, ``ai2_arc``, ``ai2_arc/ARC-Easy`` or ``allenai/ai2_arc/ARC-Easy`` below it, or in
``data`` below one of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from moecap.errors import BadInputError, NotAvailableError
from moecap.strict_json import parse_json

__all__ = ["Row", "arrow_rows", "json_lines", "parsed", "published_rows"]

Parsed = TypeVar("Parsed")

ROWS_AT_ONCE = 1024
"""Rows of a table that are made Python objects together."""

_ROW_BYTES = 64
"""What a row takes at least as a Python object."""

Row = tuple[str, dict[str, Any]]
"""Where a row stands (file and line or row, counted from 1) and its columns."""

_SUFFIXES = (".parquet", ".arrow", ".jsonl")


def published_rows(folder: Path, source: str, config: str, split: str) -> Iterator[Row]:
    """Yield the rows of one split in the order of its files.

    Args:
        folder: The folder that the user named.
        source: The data set's identifier on the hub, such as ``allenai/ai2_arc``.
        config: The configuration's name on the hub, such as ``ARC-Easy``.
        split: ``train``, ``validation`` or ``test``.

    Raises:
        NotAvailableError: The folder has no file of that split.
        BadInputError: A file cannot be read; the line or row is named.
    """
    for path in _files(folder, source, config, split):
        if path.suffix == ".jsonl":
            yield from json_lines(path)
        else:
            yield from arrow_rows(path)


def _files(folder: Path, source: str, config: str, split: str) -> list[Path]:
    name = source.rpartition("/")[2]
    for base in (folder / source / config, folder / name / config, folder / config, folder / name, folder):
        for suffix in _SUFFIXES:
            for pattern in (f"{split}{suffix}", f"{split}-*{suffix}", f"{split}/*{suffix}", f"data/{split}-*{suffix}"):
                if found := sorted(base.glob(pattern)):
                    return found
    raise NotAvailableError(
        f"{folder} holds no {split} split of {config}; it needs {config}/{split}.jsonl, or .parquet or .arrow files "
        f"named {config}/{split}-*"
    )


def parsed(rows: Iterable[Row], parse: Callable[[int, dict[str, Any]], Parsed], wanted: str) -> Iterator[Parsed]:
    """What each row means.

    Args:
        rows: The rows.
        parse: Reads a row, whose number counts from 0; raises KeyError, TypeError, ValueError, LookupError or
            AttributeError for a column that is not there or holds something else.
        wanted: What a row has in the published format, for the error.

    Raises:
        BadInputError: A row is malformed; it is named.
    """
    for number, (where, row) in enumerate(rows):
        try:
            yield parse(number, row)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise BadInputError(f"{where}: not {wanted} ({reason}); use the published format") from error


def json_lines(path: Path) -> Iterator[Row]:
    """Yield the objects of a JSON-lines file; empty lines are passed over.

    Raises:
        BadInputError: A line is no JSON object; it is named.
    """
    if path.exists() and not path.is_file():
        raise BadInputError(f"{path} is no plain file; give JSON lines")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                row = parse_json(line, nan=True)
            except ValueError as error:
                raise BadInputError(f"{where}: no JSON ({error}); mend or remove the line") from error
            if not isinstance(row, dict):
                raise BadInputError(f"{where}: a JSON object is needed, found {type(row).__name__}; mend the line")
            yield where, row


def arrow_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet or Arrow file.

    Args:
        path: The file; its ending says which.

    Raises:
        BadInputError: It cannot be read.
    """
    import pyarrow as pa

    from moecap.packed_files import read_table

    if not path.is_file():
        raise BadInputError(f"{path} is no plain file; fetch it again")
    try:
        table = read_table(path) if path.suffix == ".parquet" else _stream(path)
        for start in range(0, table.num_rows, ROWS_AT_ONCE):
            for number, row in enumerate(table.slice(start, ROWS_AT_ONCE).to_pylist(), start=start + 1):
                yield f"{path}, row {number}", row
    except (pa.ArrowException, OSError, ValueError, KeyError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInputError(f"{path} is no readable {path.suffix[1:]} file ({reason}); fetch it again") from error


def _stream(path: Path) -> Any:
    """The table of an Arrow file; not by way of a memory map, in which damage ends the process (PyArrow 26)."""
    import pyarrow as pa

    from moecap.packed_files import refuse_swelling

    batches, unpacked = [], 0
    with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as reader:
        for batch in reader:
            batch.validate(full=True)
            batches.append(batch)
            unpacked += batch.nbytes + _ROW_BYTES * batch.num_rows  # rows of no bytes can be without number
            refuse_swelling(path, unpacked)
        return pa.Table.from_batches(batches, reader.schema)
