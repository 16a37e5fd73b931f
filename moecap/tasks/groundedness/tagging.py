"""Word classes of captions that bring none: HanTa's taggers of English, German and Dutch (C. Wartena, 2019)."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from moecap.data.conllu import TaggedWord
from moecap.errors import NotAvailableError, UnknownNameError

__all__ = ["tag_sources", "tagged", "tagger_version"]

NO_TAGGER = (
    'the captions bring no word classes and HanTa, which finds them, is not installed; pip install "moecap[methods]"'
)
_WORD = re.compile(r"\w+(?:['\u2019.,-]\w+)*|[^\w\s]")
"""A word with the apostrophes, hyphens and points inside it, or one mark of punctuation."""


def tag_sources() -> dict[str, Any]:
    """What is known of each language's tagger: its model and the universal class of its tags."""
    return _sources()


def tagged(language: str, text: str) -> tuple[TaggedWord, ...]:
    """The words of a text with their classes.

    Args:
        language: ``en``, ``de`` or ``nl``.
        text: The text.

    Raises:
        NotAvailableError: If HanTa is not installed.
        UnknownNameError: If there is no tagger of the language.
    """
    spans = [found.span() for found in _WORD.finditer(text)]
    found = _tagger(language).tag_sent([text[start:end] for start, end in spans])
    return tuple(
        TaggedWord(start, end, _class(language, tag, lemma))
        for (start, end), (_, lemma, tag) in zip(spans, found, strict=True)
    )


def tagger_version() -> str:
    """The tagger with its version.

    Raises:
        NotAvailableError: If it is not installed.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"HanTa {version('HanTa')}"
    except PackageNotFoundError:
        raise NotAvailableError(NO_TAGGER) from None


def _class(language: str, tag: str, lemma: str) -> str:
    rules: list[list[Any]] = tag_sources()[language]["tags"]
    fitting = (u for begin, u, *lemmas in rules if tag.startswith(begin) and (not lemmas or lemma in lemmas[0]))
    return str(next(fitting))


@cache
def _sources() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(
        files("moecap.tasks.groundedness").joinpath("hanta_tags.yaml").read_text(encoding="utf-8")
    )
    return read


@cache
def _tagger(language: str) -> Any:
    known = tag_sources()
    if language not in known:
        raise UnknownNameError(
            "tagger of the language", language, known, "give captions with their classes (--data FILE)"
        )
    try:
        from HanTa.HanoverTagger import HanoverTagger
    except ImportError:
        raise NotAvailableError(NO_TAGGER) from None
    return HanoverTagger(known[language]["model"])
