"""Parquet, npy and npz files that anyone may have written: read only if they do not swell out of proportion.

A few kilobytes can claim a thousand million rows. What a file unpacks to is told by its own directory, and by
the lengths of its texts before these are spelled out.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from moecap.errors import BadInputError
from moecap.parquet_footer import column_parts

__all__ = ["open_table", "read_array", "read_arrays", "read_table", "refuse_swelling"]

FREE_BYTES = 128_000_000
"""What any file may unpack to."""

MOST_TIMES = 50
"""How many times its own size a file may unpack to beyond that."""

MOST_TIMES_NUMBERS = 1000
MOST_BYTES_NUMBERS = 8_000_000_000
"""The same of numbers, and where it ends: sequences that decode together, or answer one prompt, repeat themselves."""

WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8}
"""Bytes of a value of each physical type of Parquet that has a width; of a text at least its offset, 4."""

TEXTS = 6

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How arrays are packed; a dictionary of other methods may ask for gigabytes."""


def refuse_swelling(path: Path, unpacked: int, *, numbers: bool = False) -> None:
    """Refuse a file that unpacks to far more than it has.

    Args:
        path: The file.
        unpacked: Bytes that it unpacks to.
        numbers: Whether these are numbers, which include the places of a table's texts.

    Raises:
        BadInputError: If that is more than 128 MB and more than 50 times its size; of numbers up to 8 GB 1000 times.
    """
    size = path.stat().st_size
    most = max(FREE_BYTES, MOST_TIMES * size)
    if numbers:
        most = max(most, min(MOST_TIMES_NUMBERS * size, MOST_BYTES_NUMBERS))
    if unpacked > most:
        raise BadInputError(
            f"{path.name} would unpack to {unpacked / 1e6:,.0f} MB, and {most / 1e6:,.0f} MB is the limit "
            "for its size; write it anew without what is not needed"
        )


def read_table(path: Path) -> pa.Table:
    """The whole table of a Parquet file.

    Raises:
        FileNotFoundError: If there is none.
        BadInputError: If it is no plain file or swells out of proportion.
        ValueError: If it is no Parquet file; the first line of the error says why.
    """
    with open_table(path) as file:
        try:
            groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
            table = pa.concat_tables(groups) if groups else file.read()  # which cannot join references within lists
        except (pa.ArrowException, OSError) as error:
            raise ValueError(_reason(error)) from None
    return _spelled_out(path, table)


def open_table(path: Path) -> pq.ParquetFile:
    """A Parquet file whose texts are read as references to a list of them; the errors are those of ``read_table``."""
    _refuse_special(path)
    try:
        parts = column_parts(path)
        refuse_swelling(path, sum(part.unpacked for part in parts if part.kind == TEXTS))
        wide = sum(max(part.unpacked, part.values * WIDTHS.get(part.kind, 4)) for part in parts)
        refuse_swelling(path, wide, numbers=True)
        texts = {".".join(part.path) for part in parts if part.kind == TEXTS}
        file = pq.ParquetFile(path, read_dictionary=sorted(texts))
        refuse_swelling(path, file.metadata.num_rows)
        return file
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ValueError(_reason(error)) from None


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _spelled_out(path: Path, table: pa.Table) -> pa.Table:
    """The table with its texts in place of the references to them."""
    schema = pa.schema([field.with_type(_plain(field.type)) for field in table.schema], table.schema.metadata)
    refuse_swelling(path, sum(_text_bytes(part) for column in table.columns for part in column.chunks))
    return table.cast(schema)


def _plain(kind: pa.DataType) -> pa.DataType:
    """A type with texts in place of references, at any depth."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind.fields])
    return kind


def _text_bytes(array: pa.Array) -> int:
    """Bytes of the texts to which references in an array lead, at any depth."""
    if pa.types.is_dictionary(array.type):
        lengths = pc.cast(pc.binary_length(array.dictionary), pa.int64())
        return int(pc.sum(lengths.take(array.indices)).as_py() or 0)
    if pa.types.is_map(array.type):
        return _text_bytes(array.keys) + _text_bytes(array.items)
    if pa.types.is_list(array.type):
        return _text_bytes(array.flatten())
    if pa.types.is_struct(array.type):
        return sum(map(_text_bytes, array.flatten()))
    return 0


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an npz file by name.

    Raises:
        FileNotFoundError: If there is none.
        BadInputError: If it is no plain file or swells out of proportion.
        ValueError: If it is no npz file; its text is the kind of what was wrong.
    """
    _refuse_special(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        refuse_swelling(path, sum(member.file_size for member in members), numbers=True)
        if any(member.compress_type not in METHODS for member in members):
            raise ValueError("packed by another method than deflate")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except BadInputError:
        raise
    except Exception as error:  # zipfile, zlib and numpy each raise their own
        raise ValueError(_reason(error)) from None


def read_array(path: Path) -> npt.NDArray[Any]:
    """The array of an npy file.

    Raises:
        FileNotFoundError: If there is none.
        BadInputError: If it is no plain file.
        ValueError: If it is no npy file; its text says what was wrong.
    """
    _refuse_special(path)
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy reads the head as Python, and raises what the tokenizer and the parser raise
        raise ValueError(_reason(error)) from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError("several arrays in one file")
    return array


def _refuse_special(path: Path) -> None:
    """Refuse what is no plain file: reading a pipe would wait for ever, and a device may never end.

    Raises:
        FileNotFoundError: If there is nothing.
        BadInputError: If it is something else.
    """
    path.stat()
    if not path.is_file():
        raise BadInputError(f"{path.name} is no plain file; copy the file itself to its place")
