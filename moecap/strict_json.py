"""JSON that anyone may have written: read whole within a bound of memory, or refused with the reason in a line."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from moecap.files import unique_keys

__all__ = ["MOST_DEPTH", "ROOM", "memory_of", "nests_too_deeply", "parse_json", "refuse_swelling_text"]

MOST_DEPTH = 64
"""Objects and lists inside each other; what nests deeper cannot be written again by every library."""

ROOM = 400_000_000
"""Bytes of memory that one text and its values may take."""

PER_COMMA, PER_QUOTE, PER_BRACKET, PER_COLON = 42, 24, 64, 110
"""Bytes that CPython takes at most for a number in a list, half of a text, an empty list or object, and a member."""

_TEXT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


def parse_json(content: bytes | str, *, nan: bool = False, room: int = ROOM) -> Any:
    """The value of a JSON text whose objects have each key once.

    What the value would take is bounded before it is built, from the number of commas, quotes, brackets and colons:
    three bytes such as ``{},`` take eighty of memory.

    Args:
        content: The text, or its bytes in UTF-8, with a byte order mark or without.
        nan: Whether ``NaN``, ``Infinity`` and ``-Infinity``, which JSON does not have, stand for numbers.
        room: Bytes of memory that the text and its values may take.

    Raises:
        ValueError: With what is wrong, in one line; a ``json.JSONDecodeError`` where the place is known.
    """
    text = _decoded(content) if isinstance(content, bytes) else content
    refuse_swelling_text(text, room)
    try:
        value = json.loads(text, object_pairs_hook=unique_keys, parse_constant=None if nan else _refuse_constant)
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    if nests_too_deeply(value):
        raise ValueError(f"it nests too deeply: more than {MOST_DEPTH} objects and lists inside each other")
    return value


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start})") from None


def refuse_swelling_text(text: str, room: int = ROOM) -> None:
    """Refuse a JSON text whose values would take too much memory.

    Args:
        text: The text.
        room: Bytes that it and its values may take.

    Raises:
        ValueError: If they would take more.
    """
    if (needed := sys.getsizeof(text) + memory_of(text)) > room:
        raise ValueError(f"its values would take {needed / 1e6:,.0f} MB of memory; the limit is {room / 1e6:,.0f} MB")


def memory_of(text: str) -> int:
    """Bytes that the values of a JSON text take at most, told without building them."""
    return (
        sys.getsizeof(text)
        + 3 * (_escaped(text) if "\\u" in text else 0)
        + PER_COMMA * text.count(",")
        + PER_QUOTE * text.count('"')
        + PER_BRACKET * (text.count("{") + text.count("["))
        + PER_COLON * text.count(":")
    )


def _escaped(text: str) -> int:
    """Characters of the texts in which one stands by its number; where it is far up, all of a text take four bytes."""
    return sum(len(found[0]) for found in _TEXT.finditer(text) if "\\u" in found[0])


def nests_too_deeply(value: Any) -> bool:
    """Whether more than ``MOST_DEPTH`` objects and lists of a value lie inside each other."""
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [
            item
            for node in level
            if isinstance(node, list | dict)
            for item in (node if isinstance(node, list) else node.values())
            if isinstance(item, list | dict)
        ]
        if not level:
            return False
    return True


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")
