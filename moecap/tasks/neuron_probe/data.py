"""The words of a run with the attributes to probe, out of a package, a folder or a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moecap.data.verbs import LANGUAGES, VERBS, verb_file
from moecap.errors import BadInputError, NotAvailableError
from moecap.tasks.location import IN_FOLDER
from moecap.tasks.neuron_probe.published_words import folder_words
from moecap.tasks.neuron_probe.settings import Settings
from moecap.tasks.neuron_probe.splits import Cell, cell_of, splits_by_lemma
from moecap.tasks.neuron_probe.verbs import verb_words
from moecap.tasks.neuron_probe.words import Word, file_words, languages_of

__all__ = ["ProbeData", "Skipped", "probe_cells", "probe_data"]


@dataclass(frozen=True, slots=True)
class ProbeData:
    """The words.

    Attributes:
        words: The words.
        source: Where they came from.
        limited: Whether any of the data were left out.
    """

    words: list[Word]
    source: str
    limited: bool


@dataclass(frozen=True, slots=True)
class Skipped:
    """An attribute of a language that is not probed.

    Attributes:
        language: Code of the language.
        attribute: Name of the attribute.
        reason: Why not.
    """

    language: str
    attribute: str
    reason: str


def probe_data(settings: Settings, data: Path | None, rows: int | None) -> ProbeData:
    """Read the words.

    Args:
        settings: Say which.
        data: A folder with treebanks, tables of UniMorph or the files of mlconjug3, or a file of words; ``None`` for
            the package.
        rows: Rows of the states that are given; ``None`` where the model gives them.

    Raises:
        UsageError: If the data cannot be had, is malformed, or has only one language.
    """
    if rows is not None and (data is None or not data.is_file()):
        raise BadInputError("--task-arg states=FILE needs the words of its rows: --data WORDS.jsonl")
    if data is not None and data.is_file():
        words = file_words(data, rows)
        if missing := [language for language in settings.languages if language not in languages_of(words)]:
            raise NotAvailableError(
                f"{data} holds no word of language {missing[0]!r}; it has {', '.join(languages_of(words))}"
            )
        asked = [word for word in words if not settings.languages or word.language in settings.languages]
        found = ProbeData(asked, f"words of one file, {IN_FOLDER}", len(asked) < len(words))
    elif data is None or list(data.glob("verbs-*.json")):
        words, limited = verb_words(settings.languages or _languages_of_verbs(data), settings.count, data)
        where = "" if data is None else f", {IN_FOLDER}"
        found = ProbeData(words, f"verb forms by the paradigms of mlconjug3 4.0.1{where}", limited)
    else:
        words, what, limited = folder_words(data, settings.languages, settings.count)
        found = ProbeData(words, f"{what}, {IN_FOLDER}", limited)
    languages = languages_of(found.words)
    if len(languages) < 2:
        named = ", ".join(languages) or "none"
        raise BadInputError(f"words of {named} alone: the overlap is of two languages; give more, or other languages=")
    return found


def _languages_of_verbs(folder: Path | None) -> tuple[str, ...]:
    """The languages of the verb forms that a folder holds, or the package."""
    if folder is None:
        return LANGUAGES
    return tuple(language for language in LANGUAGES if (folder / Path(verb_file(VERBS, language)).name).is_file())


def probe_cells(words: Sequence[Word], settings: Settings, seed: int) -> tuple[list[Cell], list[Skipped]]:
    """The cells of one split, language by language, and what is not probed.

    Args:
        words: The words.
        settings: Say which attributes.
        seed: Seed of the split.
    """
    cells: list[Cell] = []
    skipped: list[Skipped] = []
    attributes = settings.attributes or tuple(sorted({name for word in words for name in word.attributes}))
    for language, rows in languages_of(words).items():
        splits = splits_by_lemma([words[row] for row in rows], seed)
        for attribute in attributes:
            found = cell_of(words, rows, splits, attribute, settings.least)
            if isinstance(found, Cell):
                cells.append(found)
            else:
                skipped.append(Skipped(language, attribute, found))
    return cells, skipped
