"""The captions of a run: what they say, what they are about, and the class of each word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from moecap.data.conllu import Sentence, TaggedWord, conllu_sentences, placed
from moecap.data.published import json_lines
from moecap.data.stamps import INSTALLED, Stamp, stamps
from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.tasks.groundedness.digits import CLASSES, template
from moecap.tasks.groundedness.tagging import tag_sources, tagged

__all__ = ["Caption", "Pictures", "digit_captions", "file_captions", "spread", "stamp_captions", "with_classes"]

TAGGED_FILE = "give captions with their classes (--data FILE)"
PIVOT, OF_PIVOT = "en", "de"
"""The language whose caption is what those of the others are about, and the language whose caption it is about."""


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption.

    Attributes:
        id: Its name.
        picture: The picture that it is of; other captions may be of the same.
        language: Its language.
        text: What it says.
        about: A text that says what the picture shows.
        words: Its words with their classes, in their order; ``None`` where a tagger is to find them.
    """

    id: str
    picture: str
    language: str
    text: str
    about: str
    words: tuple[TaggedWord, ...] | None


Pictures = list[list[Caption]]
"""The captions of each picture."""


def spread(pictures: Pictures, count: int) -> list[Caption]:
    """Captions of pictures that are spread evenly over all.

    Args:
        pictures: The captions of each picture, of all as many.
        count: Captions at most; whole pictures if that is one at least.
    """
    chosen = min(len(pictures), max(1, count // len(pictures[0])))
    some = [pictures[place * len(pictures) // chosen] for place in range(chosen)]
    return [caption for captions in some for caption in captions][:count]


def with_classes(captions: Sequence[Caption]) -> list[Caption]:
    """Captions whose words have classes, found by the tagger where they bring none.

    Raises:
        NotAvailableError: If the tagger is needed and not installed.
        UnknownNameError: If there is none of the language.
    """
    return [c if c.words is not None else replace(c, words=tagged(c.language, c.text)) for c in captions]


def digit_captions() -> Pictures:
    """The 40 captions that the template makes, each about a digit in words and figures of its own."""
    found = []
    for digit, bold, verb in product(range(10), (True, False), ("has", "shows")):
        forms = template(digit, bold, verb)
        text = f"{' '.join(forms[:-1])}{forms[-1]}"
        about = f"A handwritten {digit} in {'thick' if bold else 'fine'} strokes."
        words = placed(text, list(zip(forms, CLASSES, strict=True)), "the template")
        name = f"{digit}-{forms[1]}-{verb}"
        found.append([Caption(name, name, "en", text, about, words)])
    return found


def stamp_captions(folder: Path | None, languages: Sequence[str]) -> Pictures:
    """Captions of the stamps, each about the English caption of its picture; the English about the German one.

    A picture counts only if it has a caption in every language that is needed, so that all are about the same things.
    Pictures whose captions are those of an earlier one are left out.

    Args:
        folder: Where the stamps are; ``None`` where the package installs them.
        languages: Of the captions.

    Raises:
        NotAvailableError: If there are none.
        BadInputError: If a file of captions is malformed, or a language is asked for twice.
        UnknownNameError: If there is no tagger of a language.
    """
    for language in languages:
        if language not in tag_sources():
            raise UnknownNameError("tagger of the language", language, tag_sources(), TAGGED_FILE)
    if len(set(languages)) < len(languages):
        raise BadInputError(f"--task-arg languages={','.join(languages)}: a language comes twice")
    needed = {*languages, PIVOT, *([OF_PIVOT] if PIVOT in languages else [])}
    chosen: dict[tuple[str, ...], Stamp] = {}
    for stamp in stamps(folder or INSTALLED):
        if needed <= set(stamp.captions):
            chosen.setdefault(tuple(stamp.captions[language] for language in sorted(needed)), stamp)
    if not chosen:
        raise NotAvailableError(f"no stamp has captions in all of {', '.join(sorted(needed))}; ask for other languages")
    about = {language: OF_PIVOT if language == PIVOT else PIVOT for language in languages}
    return [
        [
            Caption(
                f"{stamp.name}-{language}",
                stamp.name,
                language,
                stamp.captions[language],
                stamp.captions[about[language]],
                None,
            )
            for language in languages
        ]
        for stamp in chosen.values()
    ]


def file_captions(path: Path, language: str | None) -> Pictures:
    """Captions out of a user's file: CoNLL-U, or JSON lines.

    Of CoNLL-U, ``# context = ...`` says what a sentence is about and ``# lang = ...`` its language. An object of JSON
    lines has ``context``, ``caption``, ``lang`` and, where the classes are known, ``upos``: pairs of word and class. In
    both ``picture`` names the picture where several captions are of the same.

    Args:
        path: The file; the ending ``.conllu`` says what it is.
        language: Language of captions that do not name theirs.

    Raises:
        BadInputError: If something is missing or malformed; file and line are named.
    """
    known: dict[str, Caption] = {}
    for where, caption in _file_captions(path, language):
        if caption.id in known:
            raise BadInputError(f"{where}: a caption before it is named {caption.id!r} too; names are used once")
        known[caption.id] = caption
    if not known:
        raise BadInputError(f"{path}: no caption; a file of captions holds one at least")
    return [[caption] for caption in known.values()]


def _file_captions(path: Path, language: str | None) -> Iterator[tuple[str, Caption]]:
    if path.suffix == ".conllu":
        for number, sentence in enumerate(conllu_sentences(path)):
            yield sentence.where, _of_sentence(number, sentence, language)
        return
    for number, (where, row) in enumerate(json_lines(path)):
        yield where, _of_row(number, where, row, language)


def _of_sentence(number: int, sentence: Sentence, language: str | None) -> Caption:
    said = sentence.comments
    about = said.get("context")
    if not about:
        raise BadInputError(
            f"{sentence.where}: the sentence does not say what it is about; add a line '# context = ...'"
        )
    spoken = said.get("lang") or language
    if not spoken:
        raise BadInputError(f"{sentence.where}: no language; add a line '# lang = ...', or give --task-arg lang=en")
    name = said.get("sent_id", str(number))
    return Caption(name, said.get("picture", name), spoken, sentence.text, about, sentence.words)


def _of_row(number: int, where: str, row: dict[str, Any], language: str | None) -> Caption:
    if "image" in row and "context" not in row:
        raise BadInputError(
            f"{where}: an image without a 'context'; no backend scores texts after images; say in words what it shows"
        )
    values = {name: row.get(name) for name in ("context", "caption")} | {"lang": row.get("lang") or language}
    for name, value in values.items():
        if not isinstance(value, str) or not value.strip():
            raise BadInputError(f"{where}: no text under {name!r}; an object has context, caption and lang")
    context, caption, spoken = str(values["context"]), str(values["caption"]), str(values["lang"])
    classes = row.get("upos")
    if classes is None:
        if spoken not in tag_sources():
            raise BadInputError(f"{where}: no 'upos', and no tagger of {spoken!r}; add 'upos', pairs of word and class")
        words = None
    elif isinstance(classes, list) and classes and all(_is_pair(entry) for entry in classes):
        words = placed(caption, [(form, upos) for form, upos in classes], where)
    else:
        raise BadInputError(f'{where}: \'upos\' is no list of pairs of word and class, such as [["A", "DET"]]')
    name = str(row.get("id", number))
    return Caption(name, str(row.get("picture", name)), spoken, caption, context, words)


def _is_pair(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)
