"""What commands print: answers on stdout, progress and remarks on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.text import Text

from moecap.cli.table import show_table

__all__ = ["Answers", "print_json", "print_line", "print_table", "remark"]


def print_json(value: object) -> None:
    """Print one JSON document on stdout; NaN and infinities are refused."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_line(text: str) -> None:
    """Print one line of an answer on stdout."""
    sys.stdout.write(text + "\n")


class Answers(Console):
    """Where answers go: stdout, with the width of a terminal, and in a pipe with the width that is given."""

    def __init__(self, piped_width: int | None = None) -> None:
        super().__init__(width=None if sys.stdout.isatty() else piped_width, highlight=False)

    def on_broken_pipe(self) -> None:
        """Let the command end as with any other stream; rich would exit with status 1."""
        raise BrokenPipeError


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", right: Collection[str] = ()
) -> None:
    """Print a table on stdout; a terminal gets bold headers and its own width, a pipe gets plain text 200 wide.

    Args:
        columns: The column headers, with their units.
        rows: One sequence of cells a row.
        title: What the table shows.
        right: Headers of the columns that hold numbers and are aligned to the right.
    """
    console = Answers(200)
    if title:
        console.print(Text(title, style="italic"))
    show_table(console, columns, rows, right)


def remark(text: str) -> None:
    """Say one line on stderr."""
    sys.stderr.write(text + "\n")
