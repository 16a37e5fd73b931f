r"""Where an answer is stated: in a ``\boxed{}``, or after words such as "the answer is"."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Statement", "last_boxed", "statements"]

_BOXED = re.compile(r"\\f?boxed\s*")
_MARKUP = r"[\s*_]*"
_SAYS = re.compile(
    rf"\banswer\b{_MARKUP}(?:\([^)\n]{{0,30}}\){_MARKUP})?(?:,[^,.\n]{{1,30}},{_MARKUP})?"
    r"(?:(?:to|for|of)\b[^.:\n]{0,60}?\s)?"
    rf"(?:(?P<verb>is|are|would\s+be|should\s+be|must\s+be|will\s+be|equals|=)(?![a-z])|(?P<colon>:)){_MARKUP}"
    r"(?:(?:therefore|thus|simply|just|clearly|indeed|approximately|about|exactly|equal\s+to)\b\s*)?:?[ \t*_]*"
    r"(?P<said>[^\n]*)(?:\n\s*(?P<next>[^\n]*))?",
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
    for found in reversed(list(_BOXED.finditer(text))):
        rest = text[found.end() :]
        if not rest.startswith("{"):
            if word := re.match(r"[^\s$]+", rest):
                return word.group()
            continue
        depth, escaped = 0, False
        for place, letter in enumerate(rest):
            depth += 0 if escaped else (letter == "{") - (letter == "}")
            escaped = letter == "\\" and not escaped
            if depth == 0:
                return rest[1:place].strip()
    return None


def statements(text: str) -> list[Statement]:
    """What follows each "the answer is" or "answer:", in the order of the text.

    What is said not to be the answer ("the answer is not 5") is left out.
    """
    said = []
    for found in re.finditer(r"\banswer\b", text, re.I):
        match = _SAYS.match(text, found.start())
        if match is None:
            continue
        line = "said" if match["said"].strip(" *_$\\[(") else "next"
        if match[line] is None or _DENIED.match(match[line]):
            continue
        sentence = _SENTENCE_END.split(match[line], maxsplit=1)[0].strip()
        rest = text[match.start(line) + len(sentence) :].strip(" \n\t.!?*_$\\])}")
        if sentence:
            said.append(Statement(sentence, match["colon"] is not None, not rest))
    return said
