"""Verbs with their paradigms in six languages, out of the files of mlconjug3.

A language has two JSON files. One gives each verb its root and the name of a template; the other gives each template
its endings by mood and tense, with the number of the person, from 0 (first singular) to 5 (third plural).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from moecap.data.package_files import PackageFiles
from moecap.data.published import Row
from moecap.errors import BadInputError, NotAvailableError, UnknownNameError

__all__ = ["FILES", "LANGUAGES", "NAME", "PARADIGMS", "VERBS", "verb_file", "verb_rows"]

NAME = "mlconjug3_verbs"
LANGUAGES = ("en", "es", "fr", "it", "pt", "ro")
VERBS, PARADIGMS = "verbs", "paradigms"
"""The splits: verbs, and templates with their endings."""

_FOLDER = "mlconjug3/data/conjug_manager"
_STEMS = {VERBS: "verbs", PARADIGMS: "conjugation"}


def verb_file(split: str, language: str) -> str:
    """The path of a file within the package."""
    return f"{_FOLDER}/{_STEMS[split]}-{language}.json"


FILES = PackageFiles(
    package="mlconjug3",
    version="4.0.1",
    archive="mlconjug3-4.0.1-py3-none-any.whl",
    archive_bytes=5_462_274,
    archive_sha256="fbac083da0be5ca670bbde736111d0740867c39ae70da2ba345b369a5c9c3136",
    members={
        verb_file(VERBS, "en"): "773cfc668bed10ba83184e4fbbd79313be0740498c7027eb4bdec6f96f06dfef",
        verb_file(VERBS, "es"): "ce8620599a8de59d4f3e430f60b1654424c850797d15a943c1cf6fe16de985c4",
        verb_file(VERBS, "fr"): "d09e08ef23e919683471cadbab0ae986c59cd134e3d9dfccdce07667467de526",
        verb_file(VERBS, "it"): "1720f199c7e1a234105cd91d37670e8086f39cc6914ace1bd671822bdb606e9e",
        verb_file(VERBS, "pt"): "9388192e0dd8003e7ffd84ef066e9a36ffd9b874c0c39ead3d153ee700b6e787",
        verb_file(VERBS, "ro"): "5da8bd569d6a2c7d23d870d652f272c0b7d366a217a4cc8ec2900554376740e9",
        verb_file(PARADIGMS, "en"): "617d1325ad8f1abf3c652a0d570588d01de41ace2c3647d10ddbd8cf4cbec50d",
        verb_file(PARADIGMS, "es"): "53ab6e801449695d449b06dcedd1fb10c96b87c7071d0bfa10ccc86ec8396b64",
        verb_file(PARADIGMS, "fr"): "cc2642a2bf6a493d1473255d08d24fb47d3bb22f1bb2785c606ef86987573f35",
        verb_file(PARADIGMS, "it"): "5cff1a2f165e8f5a4c8a1482714882a7c8173ff67c73f4abf59313be575090ff",
        verb_file(PARADIGMS, "pt"): "053429adc2de9faf71f0cd09566bc03b6d6c8a4e5330330442c3e0f8717bd91d",
        verb_file(PARADIGMS, "ro"): "dc5cac237c45ba94994a7d07bb2f69f5afa4cac082d9660c0374edb769d850c4",
    },
    licence="MIT, as the package states",
)


def verb_rows(folder: Path, language: str, split: str) -> Iterator[Row]:
    """Yield the verbs of a language (``lemma``, ``root``, ``template``) or its templates (``template``, ``moods``).

    ``moods`` holds, by mood and tense, pairs of a person's number and an ending, as the file has them.

    Args:
        folder: Holds the files, or is the package's folder.
        language: A name out of ``LANGUAGES``.
        split: ``verbs`` or ``paradigms``.

    Raises:
        UnknownNameError: There is no such language.
        NotAvailableError: The folder lacks the file.
        BadInputError: The file is no JSON, or an entry is malformed; it is named.
    """
    if language not in LANGUAGES:
        raise UnknownNameError(f"language of {NAME}", language, LANGUAGES)
    inside = Path(verb_file(split, language))
    path = next((place for place in (folder / inside, folder / inside.name) if place.is_file()), None)
    if path is None:
        raise NotAvailableError(f"{folder} holds no {inside.name}; give the folder with the files of mlconjug3")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read ({error}); fetch it again") from None
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path}, line {error.lineno}: no JSON ({error.msg}); fetch it again") from None
    if not isinstance(content, dict):
        raise BadInputError(f"{path}: no JSON object; fetch it again")
    for name, entry in content.items():
        where = f"{path}, entry {name!r}"
        if not isinstance(entry, dict):
            raise BadInputError(f"{where}: no JSON object; fetch the file again")
        if split == PARADIGMS:
            yield where, {"template": name, "moods": entry}
            continue
        root, template = entry.get("root"), entry.get("template")
        if not isinstance(root, str) or not isinstance(template, str):
            raise BadInputError(f"{where}: no root or no template; fetch the file again")
        yield where, {"lemma": name, "root": root, "template": template}
