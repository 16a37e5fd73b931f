"""Recorded speech of three Debian packages, read where they are installed.

- ``asterisk-core-sounds-{en,es,fr,it,ru}-wav``: prompts of a telephone exchange at 8 kHz; folders name the speakers,
  of whom one speaks two languages;
- ``klettres-data``: letters and syllables in 19 languages, English by two speakers; one speaker for each other language
  is an assumption made here;
- ``tuxpaint-stamps-default``: what a picture shows, in 14 languages; one speaker each, by the same assumption.

Speech in languages that ``moecap.data.languages`` does not have, as another version of a package may add, is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from moecap.data.languages import language_of
from moecap.errors import NotAvailableError, UnknownNameError
from moecap.files import file_sha256

__all__ = ["INSTALLED", "PACKAGES", "SOURCES", "Recording", "recordings"]

INSTALLED = Path("/usr/share")
"""Below which the packages are installed."""

SOURCES: Mapping[str, str] = {"asterisk": "asterisk/sounds", "klettres": "klettres", "tuxpaint": "tuxpaint/stamps"}
"""Folder of each source below ``INSTALLED``."""

PACKAGES: Mapping[str, str] = {
    "asterisk": "asterisk-core-sounds-en-wav asterisk-core-sounds-es-wav asterisk-core-sounds-fr-wav "
    "asterisk-core-sounds-it-wav asterisk-core-sounds-ru-wav",
    "klettres": "klettres-data",
    "tuxpaint": "tuxpaint-stamps-default",
}
"""Debian's packages of each source."""

NO_SPEECH = frozenset({"ascending-2tone", "beep", "beeperr", "descending-2tone", "tt-monkeys"})
"""Names of sounds of Asterisk in which nobody speaks; those of the folder ``silence`` are others."""

_VOICE = re.compile(r"(?P<language>[a-z]{2})_[A-Z]{2}_[fm]_(?P<speaker>\w+)")
_SPOKEN = re.compile(r"(?P<stamp>.+)_desc(_(?P<language>[a-z]{2}(_[A-Z]{2})?))?\.(ogg|wav)")


class Recording(NamedTuple):
    """A file in which somebody speaks.

    Attributes:
        path: The file.
        name: Its path below the folder of its source.
        language: Code of ISO 639-3.
        source: A name out of ``SOURCES``.
        speaker: Who speaks: ``Allison``, ``klettres-en_GB``, ``tuxpaint-fr``.
    """

    path: Path
    name: str
    language: str
    source: str
    speaker: str


def recordings(source: str, below: Path | None = None) -> list[Recording]:
    """All recordings of a source, in the order of their names; of files with the same bytes the first.

    Args:
        source: A name out of ``SOURCES``.
        below: The folder that holds the source's folder; ``None`` where the packages install it.

    Raises:
        UnknownNameError: If there is no such source.
        NotAvailableError: If it is not installed.
    """
    if source not in SOURCES:
        raise UnknownNameError("source of recorded speech", source, SOURCES)
    folder = (below or INSTALLED) / SOURCES[source]
    found = _different(sorted(_READERS[source](folder), key=lambda recording: recording.name))
    if not found:
        raise NotAvailableError(
            f"{folder}: no recorded speech; apt-get install {PACKAGES[source]}, or name the folder that holds "
            f"{SOURCES[source]} with --data DIR"
        )
    return found


def _different(spoken: list[Recording]) -> list[Recording]:
    """Each sound once: Tux Paint has one under several stamps, and a copy of a training sound is no test."""
    found: dict[str, Recording] = {}
    for one in spoken:
        found.setdefault(file_sha256(one.path), one)
    return list(found.values())


def _asterisk(folder: Path) -> Iterator[Recording]:
    for path in folder.glob("*/**/*.wav"):
        inside = path.relative_to(folder)
        voice = _VOICE.fullmatch(inside.parts[0])
        if voice is None or inside.parts[1] == "silence" or path.stem in NO_SPEECH:
            continue
        if (code := language_of(voice["language"])) is not None:
            yield Recording(path, inside.with_suffix("").as_posix(), code, "asterisk", voice["speaker"])


def _klettres(folder: Path) -> Iterator[Recording]:
    for path in folder.glob("*/*/*.ogg"):
        inside = path.relative_to(folder)
        language, name = inside.parts[0], inside.with_suffix("").as_posix()
        if (code := language_of(language)) is not None:
            yield Recording(path, name, code, "klettres", f"klettres-{language}")


def _tuxpaint(folder: Path) -> Iterator[Recording]:
    for path in folder.rglob("*_desc*"):
        spoken = _SPOKEN.fullmatch(path.name)
        if spoken is not None:
            language = spoken["language"] or "en"
            name = f"{path.relative_to(folder).parent.as_posix()}/{spoken['stamp']}-{language}"
            if (code := language_of(language)) is not None:
                yield Recording(path, name, code, "tuxpaint", f"tuxpaint-{language}")


_READERS: Mapping[str, Callable[[Path], Iterator[Recording]]] = {
    "asterisk": _asterisk,
    "klettres": _klettres,
    "tuxpaint": _tuxpaint,
}
