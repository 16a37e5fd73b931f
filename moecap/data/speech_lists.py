"""Lists of utterances with their languages: tab-separated lines without a header, in UTF-8.

A manifest: ``id  path  language  domain  speaker``, the path of a sound or of a ``.npy`` of MFCC, [frames, dimensions].
Right answers: a manifest, or ``id  language``. Answers, as SIGTYP 2021 takes them: ``id  language``; or JSON lines
``{"id": "...", "lang": "hin", "scores": {"hin": 0.9}}``, in which a ``lang`` of null is an answer that names none.
Languages are codes of ISO 639-3. A byte-order mark and ends of lines as on Windows are passed over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from moecap.data.languages import language_named
from moecap.data.published import json_lines
from moecap.errors import BadInputError

__all__ = ["Answered", "Listed", "answers_of", "golds_of", "manifest_of"]

MANIFEST = ("id", "path", "language", "domain", "speaker")
ANSWER = ("id", "language")


class Listed(NamedTuple):
    """An utterance of a manifest.

    Attributes:
        where: File and line.
        id: Its name.
        path: Its sound or features; an empty path in a list of right answers.
        language: Its language.
        domain: The kind of its recording; empty where it is not told.
        speaker: Who speaks; empty where it is not told.
    """

    where: str
    id: str
    path: Path
    language: str
    domain: str
    speaker: str


class Answered(NamedTuple):
    """An answer.

    Attributes:
        where: File and line.
        id: The utterance.
        language: The language that it names; empty where it names none.
    """

    where: str
    id: str
    language: str


Entry = TypeVar("Entry", Listed, Answered)


def manifest_of(path: Path, below: Path | None) -> list[Listed]:
    """The utterances of a manifest.

    Args:
        path: The manifest.
        below: Folder from which paths in it start; ``None`` for that of the manifest.

    Raises:
        BadInputError: If it cannot be read, is empty, or a line is malformed or repeats an id.
    """
    folder = below or path.parent
    return _once(path, "a manifest", (_of_manifest(where, cells, folder, ()) for where, cells in _lines(path)))


def golds_of(path: Path, known: tuple[str, ...]) -> list[Listed]:
    """Right answers, from a manifest or from ``id  language``.

    Args:
        path: The file.
        known: Languages that can be; all if empty.

    Raises:
        BadInputError: If it cannot be read, is empty, or a line is malformed or repeats an id.
    """

    def gold(where: str, cells: Sequence[str]) -> Listed:
        if len(cells) == len(MANIFEST):
            return _of_manifest(where, cells, Path(), known)
        _, name, language = _answer(where, cells, known)
        return Listed(where, name, Path(), language, "", "")

    return _once(path, "right answers", (gold(where, cells) for where, cells in _lines(path)))


def answers_of(path: Path, known: tuple[str, ...]) -> list[Answered]:
    """Answers; JSON lines where the name of the file ends in ``.jsonl``.

    Args:
        path: The file.
        known: Languages that can be answered.

    Raises:
        BadInputError: If it cannot be read, is empty, or a line is malformed or repeats an id.
    """
    if path.suffix == ".jsonl":
        return _once(path, "answers", (_object(where, row, known) for where, row in json_lines(path)))
    return _once(path, "answers", (_answer(where, cells, known) for where, cells in _lines(path)))


def _of_manifest(where: str, cells: Sequence[str], folder: Path, known: tuple[str, ...]) -> Listed:
    _refuse_columns(where, cells, MANIFEST)
    name, sound, language, domain, speaker = cells
    return Listed(where, name, folder / sound, language_named(language, where, known), domain, speaker)


def _answer(where: str, cells: Sequence[str], known: tuple[str, ...]) -> Answered:
    _refuse_columns(where, cells, ANSWER)
    return Answered(where, cells[0], language_named(cells[1], where, known))


def _object(where: str, row: Mapping[str, Any], known: tuple[str, ...]) -> Answered:
    name, language, scores = row.get("id"), row.get("lang", ...), row.get("scores", {})
    if not isinstance(name, str) or not name:
        raise BadInputError(f"{where}: no id; give it as text")
    if language is not None and not isinstance(language, str):
        raise BadInputError(f"{where}: no lang; give a code of ISO 639-3, or null where none was answered")
    if not isinstance(scores, dict):
        raise BadInputError(f"{where}: scores is no object of languages and numbers; mend it or leave it out")
    for code, score in scores.items():
        language_named(code, where, known)
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise BadInputError(f"{where}: the score of {code} is no number; mend it or leave it out")
    return Answered(where, name, "" if language is None else language_named(language, where, known))


def _once(path: Path, kind: str, entries: Iterable[Entry]) -> list[Entry]:
    """The entries, if there are some and each has an id of its own.

    Raises:
        BadInputError: If not, or if the file cannot be read.
    """
    found: dict[str, Entry] = {}
    try:
        for entry in entries:
            if entry.id in found:
                earlier = found[entry.id].where.rpartition(", ")[2]
                raise BadInputError(f"{entry.where}: the id {entry.id!r} comes twice, first in {earlier}; take one out")
            found[entry.id] = entry
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror}); give {kind}") from None
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: not UTF-8 at byte {error.start}; write the file again") from None
    if not found:
        raise BadInputError(f"{path}: nothing in it; give {kind}")
    return list(found.values())


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """File and line, and the cells of each line that is not empty."""
    with path.open(encoding="utf-8-sig", newline=None) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f"{path}, line {number}", [cell.strip() for cell in line.rstrip("\n").split("\t")]


def _refuse_columns(where: str, cells: Sequence[str], names: Sequence[str]) -> None:
    if len(cells) != len(names):
        raise BadInputError(f"{where}: {len(cells)} columns; give {', '.join(names)} with tabs between them")
    empty = next((name for name, cell in zip(names, cells, strict=True) if not cell), None)
    if empty is not None:
        raise BadInputError(f"{where}: the column {empty} is empty; fill it")
