"""Rated snippets of four domains: movie reviews, tweets, product reviews, newspaper editorials (Hutto, Gilbert 2014).

Each line of a domain's file is an id, the mean of some 20 ratings from -4 (extremely negative) to 4 (extremely
positive), and the text. The files lie in an archive within the sdist of vaderSentiment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from moecap.data.package_files import PackageFiles
from moecap.data.published import Row
from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.publishing.archive import UNREADABLE, member_content

__all__ = ["ARCHIVE", "DOMAINS", "FILES", "NAME", "snippet_rows"]

NAME = "vader_snippets"
ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
DOMAINS = {
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "editorials": "nytEditorialSnippets_GroundTruth.txt",
}
"""The file of each domain."""
FILES = PackageFiles(
    package="vaderSentiment",
    version="3.3.2",
    archive="vaderSentiment-3.3.2.tar.gz",
    archive_bytes=2_466_783,
    archive_sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    members={ARCHIVE: "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"},
    licence="MIT",
)

STRONGEST = 4.0

MOST_BYTES = 64_000_000
"""Bytes of a domain's file; the largest has 2 million."""


def snippet_rows(place: Path, domain: str) -> Iterator[Row]:
    """Yield ``id``, ``valence`` (-4 to 4) and ``text`` of each snippet of a domain, in the file's order.

    Args:
        place: The archive, or a folder with the domains' files.
        domain: A name out of ``DOMAINS``.

    Raises:
        UnknownNameError: There is no such domain.
        NotAvailableError: The folder lacks its file.
        BadInputError: A line is malformed; it is named.
    """
    if domain not in DOMAINS:
        raise UnknownNameError(f"domain of {NAME}", domain, DOMAINS)
    name = DOMAINS[domain]
    if place.is_dir():
        path = place / name
        if not path.is_file():
            raise NotAvailableError(f"{place} holds no {name}; give the folder with the four *_GroundTruth.txt files")
        with path.open("rb") as file:
            yield from _rows(file, str(path))
        return
    try:
        content = member_content(place, name, MOST_BYTES)
    except (OSError, *UNREADABLE) as error:
        raise BadInputError(f"{place} cannot be read ({error}); fetch it again") from error
    if content is None:
        raise BadInputError(f"{place} holds no {name}; fetch it again")
    yield from _rows(content.splitlines(keepends=True), name)


def _rows(lines: Iterable[bytes], file: str) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        where = f"{file}, line {number}"
        try:
            identifier, valence, text = line.decode("utf-8-sig").rstrip("\r\n").split("\t")
            value = float(valence)
            if not (math.isfinite(value) and abs(value) <= STRONGEST):
                raise ValueError(f"valence {valence}")
            if not text.strip():
                raise ValueError("no text")
        except ValueError as error:
            raise BadInputError(f"{where}: not id, valence and text with tabs between ({error}); mend it") from error
        yield where, {"id": identifier, "valence": value, "text": text.strip()}
