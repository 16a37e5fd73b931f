"""Inflected words in the format of UniMorph: lemma, form and features with tabs between, a line each.

A fourth column, which newer files have for the parts of the form, is passed over, as are empty lines between paradigms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from moecap.errors import BadInputError

__all__ = ["InflectedWord", "unimorph_words"]


@dataclass(frozen=True, slots=True)
class InflectedWord:
    """One line.

    Attributes:
        where: File and line.
        lemma: The lemma.
        form: The inflected form.
        features: Its features in the order of the file, such as ``V``, ``IND``, ``PRS``, ``1``, ``SG``.
    """

    where: str
    lemma: str
    form: str
    features: tuple[str, ...]


def unimorph_words(path: Path) -> Iterator[InflectedWord]:
    """Yield the words of a file.

    Raises:
        BadInputError: If a line is none of the format; file and line are named.
    """
    if path.exists() and not path.is_file():
        raise BadInputError(f"{path} is no plain file; give a file of UniMorph")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror}); give a file of UniMorph") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) not in (3, 4) or not all(columns[:3]):
            raise BadInputError(f"{where}: not lemma, form and features with tabs between; mend or remove the line")
        features = tuple(columns[2].split(";"))
        if not all(features):
            raise BadInputError(f"{where}: {columns[2]!r} has an empty feature; write one semicolon between two")
        yield InflectedWord(where, columns[0], columns[1], features)
