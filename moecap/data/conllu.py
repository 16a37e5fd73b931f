"""Sentences with part of speech, lemma and features of each word, in the CoNLL-U format of Universal Dependencies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from moecap.errors import BadInputError

__all__ = ["UPOS", "Sentence", "TaggedWord", "conllu_sentences", "placed"]

UPOS = frozenset("ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split())
"""The universal part-of-speech tags (universaldependencies.org/u/pos)."""

_ID = re.compile(r"(?P<first>[1-9][0-9]*)(?:-(?P<last>[1-9][0-9]*)|(?P<empty>\.[1-9][0-9]*))?|0\.[1-9][0-9]*")
_FEATURE = re.compile(r"[^=|\s]+=[^=|\s]+")
_COMMENT = re.compile(r"#\s*(?P<name>[^=]+?)\s*=\s*(?P<value>.*?)\s*")


@dataclass(frozen=True, slots=True)
class TaggedWord:
    """A word in its place.

    Attributes:
        start: Its first character in the text.
        end: The character after its last.
        upos: One of ``UPOS``; empty for a token of several words, which has no single one.
        lemma: Its lemma, as far as the file tells it; those of a token of several words with spaces between.
        features: Its morphological features, such as ``Number=Sing``; those of all words of a token of several.
    """

    start: int
    end: int
    upos: str
    lemma: str = ""
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence.

    Attributes:
        where: File and line of its first word.
        comments: What the lines ``# name = value`` before it say.
        text: Its text.
        words: Its words in their order; those of a multi-word token are one.
    """

    where: str
    comments: Mapping[str, str]
    text: str
    words: tuple[TaggedWord, ...]


def conllu_sentences(path: Path) -> Iterator[Sentence]:
    """Yield the sentences of a file; empty nodes are passed over.

    Raises:
        BadInputError: If a line is none of the format, or a word is not in the text; file and line are named.
    """
    if path.exists() and not path.is_file():
        raise BadInputError(f"{path} is no plain file; give a file of CoNLL-U")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror}); give a file of CoNLL-U") from None
    comments: dict[str, str] = {}
    rows: list[tuple[int, list[str]]] = []
    for number, line in enumerate([*(line.rstrip("\r") for line in lines), ""], start=1):
        if line.startswith("#") and not rows:
            if found := _COMMENT.fullmatch(line):
                comments[found["name"]] = found["value"]
        elif line.strip():
            columns = line.split("\t")
            if len(columns) != 10:
                raise BadInputError(
                    f"{path}, line {number}: {len(columns)} columns in place of 10 with tabs between them"
                )
            rows.append((number, columns))
        elif rows:
            yield _sentence(path, comments, rows)
            comments, rows = {}, []
        else:
            comments = {}


def placed(text: str, words: list[tuple[str, str]], where: str) -> tuple[TaggedWord, ...]:
    """Words in their places in a text, where they stand in the same order.

    Args:
        text: The text.
        words: Form and tag of each.
        where: File and line, for the error.

    Raises:
        BadInputError: If a word is not found after the one before it, or a tag is none of ``UPOS``.
    """
    found, position = [], 0
    for form, upos in words:
        if upos and upos not in UPOS:
            raise BadInputError(f"{where}: {upos!r} is no universal part of speech; known: {', '.join(sorted(UPOS))}")
        start = text.find(form, position)
        if not form or start < 0:
            raise BadInputError(f"{where}: the word {form!r} is not in the rest of its text, {text[position:]!r}")
        position = start + len(form)
        found.append(TaggedWord(start, position, upos))
    return tuple(found)


def _sentence(path: Path, comments: Mapping[str, str], rows: list[tuple[int, list[str]]]) -> Sentence:
    forms: list[tuple[str, str]] = []
    lemmas: list[list[str]] = []
    features: list[list[str]] = []
    text, expected, covered = "", 1, 0
    for number, columns in rows:
        where = f"{path}, line {number}"
        known = _ID.fullmatch(columns[0])
        if known is None:
            raise BadInputError(
                f"{where}: {columns[0]!r} is no word's number; the first column counts the words from 1"
            )
        if known["empty"] or known["first"] is None:
            continue
        first, last = int(known["first"]), int(known["last"] or known["first"])
        if first != expected or last < first or (known["last"] and first <= covered):
            raise BadInputError(f"{where}: word {columns[0]} where word {expected} is due")
        if known["last"]:
            covered = last
        else:
            expected += 1
        if known["last"] or first > covered:
            if not known["last"] and columns[3] not in UPOS:
                raise BadInputError(
                    f"{where}: {columns[3]!r} is no universal part of speech; known: {', '.join(sorted(UPOS))}"
                )
            forms.append((columns[1], "" if known["last"] else columns[3]))
            lemmas.append([])
            features.append([])
            text += columns[1] + ("" if "SpaceAfter=No" in columns[9].split("|") else " ")
        if not known["last"]:
            lemmas[-1] += [columns[2]] if columns[2] != "_" or columns[1] == "_" else []
            features[-1] += _features(columns[5], where)
    if expected <= covered:
        raise BadInputError(f"{path}, line {rows[-1][0]}: the sentence ends before word {covered}")
    said = comments.get("text", text.strip())
    where = f"{path}, line {rows[0][0]}"
    words = tuple(
        replace(word, lemma=" ".join(of_word), features=tuple(told))
        for word, of_word, told in zip(placed(said, forms, where), lemmas, features, strict=True)
    )
    return Sentence(where, comments, said, words)


def _features(text: str, where: str) -> list[str]:
    """The parts of a column of features.

    Raises:
        BadInputError: If one is not ``Name=Value``.
    """
    parts = [] if text == "_" else text.split("|")
    if wrong := [part for part in parts if not _FEATURE.fullmatch(part)]:
        raise BadInputError(f"{where}: {wrong[0]!r} in the column of features is not Name=Value; write _ for none")
    return parts
