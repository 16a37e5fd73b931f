"""HTML that is escaped by construction: whatever is not :class:`Html` already is text, and text is escaped."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TypeAlias

__all__ = ["Child", "Html", "data_table", "element", "folded", "join", "json_script", "paragraph"]

VOID = frozenset({"br", "input", "link", "meta"})


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Child: TypeAlias = Html | str | int | None
Attribute: TypeAlias = str | int | float | bool | None


_is_special = re.compile("[&<>\"']").search


def _escaped(text: str) -> str:
    return html.escape(text) if _is_special(text) else text  # few texts have something to escape


def _texts(children: Sequence[Child]) -> list[str]:
    return [c if isinstance(c, Html) else _escaped(str(c)) for c in children if c is not None]


def join(*children: Child) -> Html:
    """Children in a row; texts are escaped, ``None`` is nothing."""
    return Html("".join(_texts(children)))


def element(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """One element.

    Args:
        name: Its tag.
        *children: Texts (escaped), markup (kept) or ``None`` (nothing).
        **attributes: Its attributes; ``class_`` is ``class``, other underscores are hyphens, true is bare, ``None`` and
            false are left out.
    """
    opening = f"<{name}"
    for keyword, value in attributes.items():
        if value is None or value is False:
            continue
        key = _key(keyword)
        opening += f" {key}" if value is True else f' {key}="{_escaped(str(value))}"'
    if name in VOID:
        return Html(f"{opening}>")
    return Html(f"{opening}>{''.join(_texts(children))}</{name}>")


@cache
def _key(keyword: str) -> str:
    return keyword.rstrip("_").replace("_", "-")


def paragraph(*children: Child, **attributes: Attribute) -> Html:
    """A ``p`` element."""
    return element("p", *children, **attributes)


def folded(summary: Child, *children: Child, **attributes: Attribute) -> Html:
    """A closed ``details`` element."""
    return element("details", element("summary", summary), *children, **attributes)


def data_table(
    caption: str,
    columns: Sequence[Child],
    rows: Iterable[Sequence[Child]],
    *,
    numeric: Iterable[int] = (),
    class_: str | None = None,
) -> Html:
    """A table that scrolls sideways in its own box where it is too wide.

    Args:
        caption: What the table holds; read by screen readers, shown small.
        columns: Heads of the columns.
        rows: Cells; the first of each row is its head.
        numeric: Columns that hold numbers, which are aligned to the right.
        class_: Class of the table.
    """
    right = set(numeric)

    def cell(name: str, column: int, content: Child, scope: str | None = None) -> Html:
        return element(name, content, class_="number" if column in right else None, scope=scope)

    head = element("tr", *(cell("th", i, c, "col") for i, c in enumerate(columns)))
    body = [
        element("tr", *(cell("td" if i else "th", i, c, None if i else "row") for i, c in enumerate(row)))
        for row in rows
    ]
    table = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", head),
        element("tbody", *body),
        class_=class_,
    )
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=caption)


def json_script(id: str, value: object) -> Html:
    """Data for the page's script; no content can close the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="{html.escape(id)}">{text}</script>')
