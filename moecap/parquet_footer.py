"""How much a Parquet file says that it holds, read from its footer without Arrow.

Arrow's own object for a column ends the process where a footer is damaged (PyArrow 26: an exception of C++ that nothing
catches). A footer is Thrift's compact protocol: a struct is a list of fields, each a number and a value, to a zero byte
(github.com/apache/thrift, ``doc/specs/thrift-compact-protocol.md``; github.com/apache/parquet-format,
``parquet.thrift``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["ColumnPart", "column_parts"]

MAGIC = b"PAR1"
MOST_FOOTER_BYTES = 16_000_000
MOST_DEPTH = 16
MOST_BITS = 64

ROW_GROUPS, COLUMNS, META = 4, 1, 3
TYPE, PATH, VALUES, UNPACKED = 1, 3, 5, 6
"""Numbers of the fields of a file, a row group, a column's part and its description."""


class ColumnPart(NamedTuple):
    """A column in one row group.

    Attributes:
        path: Its name, with those of what it lies in before it.
        kind: Number of its physical type.
        values: Values, nulls included.
        unpacked: Bytes of its pages, which are encoded, without their compression.
    """

    path: tuple[str, ...]
    kind: int
    values: int
    unpacked: int


def column_parts(path: Path) -> list[ColumnPart]:
    """Every column of every row group.

    Raises:
        ValueError: If the footer is none.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        end = file.read(8)
        length = int.from_bytes(end[:4], "little")
        if len(end) < 8 or end[4:] != MAGIC or length > min(size - 8, MOST_FOOTER_BYTES):
            raise ValueError("it does not end as a Parquet file does")
        file.seek(size - 8 - length)
        footer = file.read(length)
    try:
        groups = _Reader(footer).struct().get(ROW_GROUPS, [])
        return [_part(chunk[META]) for group in groups for chunk in group[COLUMNS]]
    except (LookupError, TypeError, AttributeError, UnicodeDecodeError):
        raise ValueError("its footer is damaged") from None


def _part(about: dict[int, Any]) -> ColumnPart:
    path = tuple(name.decode() for name in about[PATH])
    kind, values, unpacked = (int(about[field]) for field in (TYPE, VALUES, UNPACKED))
    if values < 0 or unpacked < 0:
        raise ValueError("its footer is damaged")
    return ColumnPart(path, kind, values, unpacked)


class _Reader:
    """Values of the compact protocol, in order."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Fields of a struct by number."""
        found: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._integer()
            found[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth + 1)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if depth > MOST_DEPTH:
            raise ValueError("its footer nests too deeply")
        if kind in (1, 2, 3):
            return self._byte()
        if kind in (4, 5, 6):
            return self._integer()
        if kind == 7:
            return self._bytes(8)
        if kind == 8:
            return self._bytes(self._count())
        if kind in (9, 10):
            head = self._byte()
            count = self._count() if head >> 4 == 15 else head >> 4
            return [self._value(head & 15, depth + 1) for _ in range(count)]
        if kind == 12:
            return self.struct(depth)
        raise ValueError(f"its footer holds a value of an unknown kind {kind}")

    def _byte(self) -> int:
        self._at += 1
        return self._content[self._at - 1]

    def _bytes(self, count: int) -> bytes:
        if count > len(self._content) - self._at:
            raise IndexError
        self._at += count
        return self._content[self._at - count : self._at]

    def _count(self) -> int:
        value = 0
        for shift in range(0, MOST_BITS, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("its footer is damaged")

    def _integer(self) -> int:
        """A number in zigzag order: 0, -1, 1, -2."""
        value = self._count()
        return value >> 1 ^ -(value & 1)
