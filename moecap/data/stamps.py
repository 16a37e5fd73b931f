"""Pictures with captions in many languages: the stamps of Tux Paint (GPL-2), where a folder of them is installed.

Beside each picture ``NAME.png`` or ``NAME.svg`` lies ``NAME.txt``: the English caption in the first line, then a line
``LANGUAGE.utf8=CAPTION`` for each translation. On Debian the package ``tuxpaint-stamps-default`` installs them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moecap.errors import BadInputError, NotAvailableError

__all__ = ["INSTALLED", "Stamp", "stamps"]

INSTALLED = Path("/usr/share/tuxpaint/stamps")
"""Where the package installs them."""

PICTURES = (".png", ".svg")
_TRANSLATION = re.compile(r"(?P<language>[A-Za-z_@]+)\.utf8=(?P<caption>.*)")


@dataclass(frozen=True, slots=True)
class Stamp:
    """A picture with its captions.

    Attributes:
        name: Its path below the folder, without the ending.
        picture: The picture.
        captions: The caption by language: ``en``, ``de``, ``pt_BR``, ...
    """

    name: str
    picture: Path
    captions: Mapping[str, str]


def stamps(folder: Path = INSTALLED) -> list[Stamp]:
    """All pictures that have captions, in the order of their names.

    Raises:
        NotAvailableError: If there is none.
        BadInputError: If a line of captions is none; file and line are named.
    """
    found = []
    for path in sorted(folder.rglob("*.txt")):
        picture = next((path.with_suffix(ending) for ending in PICTURES if path.with_suffix(ending).is_file()), None)
        if picture is not None:
            found.append(Stamp(path.relative_to(folder).with_suffix("").as_posix(), picture, _captions(path)))
    if not found:
        raise NotAvailableError(
            f"{folder}: no pictures with captions; install them (apt-get install tuxpaint-stamps-default), or "
            "name their folder with --data"
        )
    return found


def _captions(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: not UTF-8 at byte {error.start}; mend the file") from None
    captions = {"en": lines[0].strip()} if lines else {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        found = _TRANSLATION.fullmatch(line.strip())
        if found is None:
            raise BadInputError(f"{path}, line {number}: not LANGUAGE.utf8=CAPTION; mend or remove the line")
        captions[found["language"]] = found["caption"].strip()
    return {language: caption for language, caption in captions.items() if caption}
