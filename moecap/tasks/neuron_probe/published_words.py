"""Words of Universal Dependencies' treebanks and of UniMorph's tables, from a folder as they are published.

A treebank is a file such as ``fr_gsd-ud-train.conllu``; all files of a language count as one, as the words are split
anew by lemma. A table of UniMorph is a file whose name is the language's code of three letters, without an ending.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from moecap.data.conllu import conllu_sentences
from moecap.data.morphology import attributes_of_ud, attributes_of_unimorph
from moecap.data.unimorph import InflectedWord, unimorph_words
from moecap.errors import BadInputError, NotAvailableError
from moecap.tasks.neuron_probe.words import NAMES, Word

__all__ = ["folder_words"]

DRAW_SEED = 0
"""Seed with which sentences or forms are drawn, the same in every run."""

LONGEST = 2_000
"""Characters of a sentence that is not left out; BERT's 512 tokens hold about as many."""

_TABLE = re.compile(r"[a-z]{3}")

_Found = tuple[str, str, Mapping[str, str], str, int]
"""Form, lemma, attributes, text and first character in it."""


def folder_words(folder: Path, languages: Sequence[str], count: int) -> tuple[list[Word], str, bool]:
    """The words, what they are, and whether any were left out.

    Args:
        folder: Holds the files, or folders with them.
        languages: Languages to take; all of them where there are none.
        count: Words of a language, at most.

    Raises:
        NotAvailableError: If the folder holds no such file, or none of a language that is asked for.
        BadInputError: If a line is malformed; file and line are named.
    """
    treebanks = _by_language(folder, lambda path: path.suffix == ".conllu")
    tables = _by_language(folder, lambda path: bool(_TABLE.fullmatch(path.name)))
    if treebanks and tables:
        raise BadInputError(
            f"{folder} holds treebanks (.conllu) and tables of UniMorph; give a folder with one of both"
        )
    files = treebanks or tables
    if not files:
        raise NotAvailableError(f"{folder} holds no file of CoNLL-U (fr_gsd-ud-train.conllu) or UniMorph (fra)")
    if missing := [language for language in languages if language not in files]:
        raise NotAvailableError(f"{folder} holds no language {missing[0]!r}; it has {', '.join(files)}")
    read = _sentences if treebanks else _forms
    words: list[Word] = []
    limited = False
    for language in languages or files:
        groups = [*read(files[language])]
        kept = _drawn(groups, count)
        limited |= len(kept) < sum(map(len, groups))
        words += (Word(f"{language}-{number}", language, *found) for number, found in enumerate(kept))
    return words, "treebanks of Universal Dependencies" if treebanks else "tables of UniMorph", limited


def _by_language(folder: Path, is_one: Callable[[Path], bool]) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and is_one(path):
            language = path.stem.partition("_")[0]
            if not NAMES["language"].fullmatch(language):
                raise BadInputError(f"{path}: the name does not begin with a language, such as fr_; rename the file")
            files.setdefault(language, []).append(path)
    return files


def _sentences(paths: Sequence[Path]) -> Iterator[list[_Found]]:
    """The words with attributes of each sentence; where a word has no lemma its form stands for one."""
    for path in paths:
        for sentence in conllu_sentences(path):
            found: list[_Found] = []
            for word in sentence.words if len(sentence.text) <= LONGEST else ():
                form, attributes = sentence.text[word.start : word.end], attributes_of_ud(word.features)
                if attributes:
                    found.append((form, word.lemma or form.casefold(), attributes, sentence.text, word.start))
            if found:
                yield found


def _forms(paths: Sequence[Path]) -> Iterator[list[_Found]]:
    """Forms of one word and one lemma each, with the attributes on which all lines of the form agree."""
    lines: dict[str, list[InflectedWord]] = {}
    for path in paths:
        for word in unimorph_words(path):
            lines.setdefault(word.form, []).append(word)
    for form, of in lines.items():
        if " " in form or len({word.lemma for word in of}) > 1:
            continue
        told = [attributes_of_unimorph(word.features) for word in of]
        agreed = {name: value for name, value in told[0].items() if all(one.get(name) == value for one in told)}
        if agreed:
            yield [(form, of[0].lemma, agreed, form, 0)]


def _drawn(groups: Sequence[Sequence[_Found]], count: int) -> list[_Found]:
    """The words of groups in the order in which these are drawn."""
    order = np.random.default_rng(DRAW_SEED).permutation(len(groups))
    return [found for group in order for found in groups[group]][:count]
