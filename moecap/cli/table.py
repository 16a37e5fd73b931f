"""Tables of answers: in columns where the terminal is wide enough, else one record a row; no word is ever cut."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from textwrap import wrap

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["show_table"]

GAP = 2
"""Blanks between two columns, and before what belongs to the line above."""

LEAST_TEXT = 20
"""Narrowest column of running text, unless all of it is shorter."""


def show_table(
    console: Console, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], right: Collection[str | int] = ()
) -> None:
    """Print a table.

    Args:
        console: Where to print; its width decides on the layout.
        columns: The headers; without any text in them no header is shown.
        rows: Cells, taken as they are (no markup).
        right: Headers or numbers of the columns that hold numbers: aligned to the right and never wrapped.
    """
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    cells = [row + [Text("")] * (len(columns) - len(row)) for row in cells]
    numeric = [number in right or column in right for number, column in enumerate(columns)]
    widths = _widths(columns, cells, numeric, console.width)
    if widths is None:
        for line in _records(columns, cells, numeric, console.width):
            console.print(line, soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns), padding=(0, GAP // 2))
    for column, width, number in zip(columns, widths, numeric, strict=True):
        table.add_column(Text(column), width=width, justify="right" if number else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _widths(
    columns: Sequence[str], cells: Sequence[Sequence[Text]], numeric: Sequence[bool], room: int
) -> list[int] | None:
    """Width of each column so that all fit and no word breaks, or ``None`` where there is no room for that."""
    widths, least = [], []
    for number, column in enumerate(columns):
        texts = [row[number].plain for row in cells]
        words = column.split() + (texts if numeric[number] else [word for text in texts for word in text.split()])
        word = max(map(cell_len, words), default=0)
        widths.append(max(map(cell_len, (column, *texts))))
        least.append(word if numeric[number] else max(word, min(widths[-1], LEAST_TEXT)))
    room -= GAP * (len(columns) - 1)
    if sum(least) > room:
        return None
    while sum(widths) > room:
        widest = max((n for n in range(len(widths)) if widths[n] > least[n]), key=widths.__getitem__)
        widths[widest] -= 1
    return widths


def _records(
    columns: Sequence[str], cells: Sequence[Sequence[Text]], numeric: Sequence[bool], room: int
) -> Iterator[Text]:
    """Each row as a heading with what belongs to it below; of two columns the headers are a row like the others."""
    pairs = len(columns) == 2
    if pairs and any(columns):
        yield from _record(columns[0], [columns[1]], room, "bold")
    headed = not numeric[0]
    for row in cells:
        texts = [cell.plain for cell in row]
        if not pairs:
            texts = [
                f"{column}: {text}" if column and text else text for column, text in zip(columns, texts, strict=True)
            ]
        head, pieces = (row[0].plain, texts[1:]) if headed else ("", texts)
        bold = "bold" if columns[0] and not pairs else ""
        yield from _record(head, pieces, room, str(row[0].style) or bold)


def _record(head: str, pieces: Sequence[str], room: int, style: str) -> Iterator[Text]:
    """Lines of one record: a single one if it fits, else the pieces below the head, as many on a line as fit."""
    pieces = [piece for piece in pieces if piece]
    indent = len(head) - len(head.lstrip())
    rest = "".join(" " * GAP + piece for piece in pieces)
    if cell_len(head + rest) <= room:
        yield Text.assemble((head, style), rest)
        return
    for line in _lines(head.lstrip(), indent, room):
        yield Text(line, style=style)
    line = ""
    for piece in pieces:
        joined = f"{line}{' ' * GAP}{piece}" if line else piece
        if line and indent + GAP + cell_len(joined) > room:
            yield from map(Text, _lines(line, indent + GAP, room))
            line = piece
        else:
            line = joined
    yield from map(Text, _lines(line, indent + GAP, room))


def _lines(text: str, indent: int, room: int) -> list[str]:
    """The text in lines that break between words only, the following ones indented once more."""
    first = " " * indent
    following = first + " " * GAP
    return wrap(
        text,
        room,
        initial_indent=first,
        subsequent_indent=following,
        break_long_words=False,
        break_on_hyphens=False,
    )
