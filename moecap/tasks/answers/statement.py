r"""Where an answer is stated: in a ``\boxed{}``, or after words such as "the answer is"."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Statement", "last_boxed", "statements"]

_LONGEST = 500
"""Characters of a statement; what comes after as many is no part of it."""

_AFTER = " \n\t.!?*_$\\])}"
"""What may follow the last sentence of a text."""

_BOXED = re.compile(r"\\f?boxed\s*")
_BARE = re.compile(r"[^\s${][^\s$]*")
_MARKUP = r"[\s*_]*"
_SAYS = re.compile(
    rf"\banswer\b{_MARKUP}(?:\([^)\n]{{0,30}}\){_MARKUP})?(?:,[^,.\n]{{1,30}},{_MARKUP})?"
    r"(?:(?:to|for|of)\b[^.:\n]{0,60}?\s)?"
    rf"(?:(?P<verb>is|are|would\s+be|should\s+be|must\s+be|will\s+be|equals|=)(?![a-z])|(?P<colon>:)){_MARKUP}"
    r"(?:(?:therefore|thus|simply|just|clearly|indeed|approximately|about|exactly|equal\s+to)\b\s*)?:?[ \t*_]*"
    rf"(?P<said>[^\n]{{0,{_LONGEST}}})(?:\n\s{{0,{_LONGEST}}}(?P<next>[^\n]{{0,{_LONGEST}}}))?",
    re.I,
)
_DENIED = re.compile(r"(?:not|neither|never)\b", re.I)
_SENTENCE_END = re.compile(r"(?<![\s.][A-Za-z])[.!?](?=\s|$|\*)")


class Statement(NamedTuple):
    """What is said to be the answer.

    Attributes:
        text: It, to the end of its sentence.
        by_colon: Whether it stands after "answer:", which may begin a whole derivation, and not after a verb.
        is_last: Whether nothing but this sentence follows in the text.
    """

    text: str
    by_colon: bool
    is_last: bool


def last_boxed(text: str) -> str | None:
    r"""Content of the last ``\boxed{}`` or ``\fbox{}`` whose braces are balanced; ``\boxed 7`` is 7."""
    closing = _closing_braces(text)
    for found in reversed(list(_BOXED.finditer(text))):
        begin = found.end()
        if begin in closing:
            return text[begin + 1 : closing[begin]].strip()
        if word := _BARE.match(text, begin):
            return word.group()
    return None


def _closing_braces(text: str) -> dict[int, int]:
    """The place of the brace that closes each balanced one, by the place of the one that opens."""
    closing: dict[int, int] = {}
    open_ones: list[int] = []
    escaped = False
    for place, letter in enumerate(text):
        if letter == "{" and not escaped:
            open_ones.append(place)
        elif letter == "}" and not escaped and open_ones:
            closing[open_ones.pop()] = place
        escaped = letter == "\\" and not escaped
    return closing


def statements(text: str) -> list[Statement]:
    """What follows each "the answer is" or "answer:", in the order of the text.

    What is said not to be the answer ("the answer is not 5") is left out.
    """
    said = []
    end = len(text.rstrip(_AFTER))
    for found in re.finditer(r"\banswer\b", text, re.I):
        match = _SAYS.match(text, found.start())
        if match is None:
            continue
        line = "said" if match["said"].strip(" *_$\\[(") else "next"
        if match[line] is None or _DENIED.match(match[line]):
            continue
        sentence = _SENTENCE_END.split(match[line], maxsplit=1)[0].strip()
        if sentence:
            is_last = match.start(line) + len(sentence) >= end
            said.append(Statement(sentence, match["colon"] is not None, is_last))
    return said
