"""Words with their morphological attributes, of several languages, and the file of JSON lines that may hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.data.published import json_lines
from moecap.errors import BadInputError

__all__ = ["NAMES", "Word", "file_words", "languages_of"]

NAMES = {
    "language": re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,15}"),
    "attribute": re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}"),
    "value": re.compile(r"[A-Za-z0-9][A-Za-z0-9+._/-]{0,39}"),
}
"""What a language, an attribute and its value may be called."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word.

    Attributes:
        id: Its id.
        language: Code of its language.
        form: The word as it stands.
        lemma: Its lemma.
        attributes: Value of each attribute that it has.
        text: The text in which it stands; the form alone where it stands in none.
        start: Its first character in the text.
        row: Its row in a file of states; ``None`` where the model gives its vector.
    """

    id: str
    language: str
    form: str
    lemma: str
    attributes: Mapping[str, str]
    text: str
    start: int = 0
    row: int | None = None


def languages_of(words: Sequence[Word]) -> dict[str, list[int]]:
    """Numbers of the words of each language, in the order in which languages come."""
    found: dict[str, list[int]] = {}
    for number, word in enumerate(words):
        found.setdefault(word.language, []).append(number)
    return found


def file_words(path: Path, rows: int | None) -> list[Word]:
    """Words of JSON lines: ``{"id", "lang", "form", "lemma", "row": 17, "feats": {"Number": "SG"}}``.

    Without states a line may have ``text``, in which the form stands at the character ``start``; else it stands alone.

    Args:
        path: The file.
        rows: Rows of the states, of which each line names one; ``None`` where there are no states.

    Raises:
        BadInputError: With file and line of what is wrong.
    """
    words: list[Word] = []
    seen: set[str] = set()
    for where, row in json_lines(path):
        word = _word(where, row, rows)
        if word.id in seen:
            raise BadInputError(f"{where}: a second word {word.id!r}; give each an id of its own")
        seen.add(word.id)
        words.append(word)
    if not words:
        raise BadInputError(f"{path}: no words; give JSON lines with id, lang, form, lemma and feats")
    return words


def _word(where: str, row: Mapping[str, Any], rows: int | None) -> Word:
    for name in ("id", "lang", "form", "lemma"):
        if not isinstance(row.get(name), str) or not row[name]:
            raise BadInputError(f"{where}: no {name}; give it as text")
    feats = row.get("feats")
    if not isinstance(feats, dict) or not all(isinstance(value, str) for value in feats.values()):
        raise BadInputError(f'{where}: no feats; give them as an object of texts, such as {{"Number": "SG"}}')
    for kind, names in (("language", [row["lang"]]), ("attribute", [*feats]), ("value", [*feats.values()])):
        if wrong := [name for name in names if not NAMES[kind].fullmatch(name)]:
            raise BadInputError(f"{where}: {kind} {wrong[0]!r} is not of letters and digits; write it so")
    place = row.get("row")
    if rows is not None and (not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < rows):
        raise BadInputError(f"{where}: row {place!r} is none of the {rows} rows of the states, counted from 0")
    text, start = row.get("text", row["form"]), row.get("start", 0)
    fits = isinstance(text, str) and isinstance(start, int) and start >= 0
    if not fits or not text.startswith(row["form"], start):
        raise BadInputError(f"{where}: the form {row['form']!r} does not stand at character {start!r} of the text")
    word_id, language, form, lemma = (row[name] for name in ("id", "lang", "form", "lemma"))
    return Word(word_id, language, form, lemma, feats, text, start, place if rows is not None else None)
