"""What commands print: answers on stdout, progress and remarks on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

__all__ = ["print_json", "print_table", "remark"]


def print_json(value: object) -> None:
    """Print one JSON document on stdout; NaN and infinities are refused."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", right: Iterable[str] = ()
) -> None:
    """Print a table on stdout; a terminal gets lines and colour, a pipe gets plain full-width text.

    Args:
        columns: The column headers, with their units.
        rows: One sequence of cells a row.
        title: What the table shows.
        right: Headers of the columns that hold numbers and are aligned to the right.
    """
    numeric = set(right)
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def remark(text: str) -> None:
    """Say one line on stderr."""
    sys.stderr.write(text + "\n")
