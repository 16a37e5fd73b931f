"""Reports of rows as pages of charts, drawn from their observations when they are asked for; the last ones are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from moecap_leaderboard.blobs import Blobs
from moecap_leaderboard.examiners import Examiners
from moecap_leaderboard.kept_drawings import KeptDrawings

__all__ = ["DrawnReports"]

_KEPT = 8
"""Reports in memory; each is about 5 MB, most of which is the library of its charts."""


class DrawnReports:
    """All reports.

    Args:
        blobs: Where files are.
        examiners: Who draws.
    """

    def __init__(self, blobs: Blobs, examiners: Examiners) -> None:
        self._blobs, self._examiners = blobs, examiners
        self._kept: KeptDrawings[str, bytes] = KeptDrawings(examiners, _KEPT)

    def page(self, submission: str, files: Mapping[str, str]) -> bytes:
        """The report of a submission as HTML.

        Args:
            submission: Its id.
            files: Digests of the files that were sent, by their names.

        Raises:
            BadInputError: If it cannot be drawn.
            NotAvailableError: If too many submissions and reports wait.
        """
        return self._kept.get(submission, lambda: self._drawn(files))

    def _drawn(self, files: Mapping[str, str]) -> bytes:
        with tempfile.TemporaryDirectory(prefix="moecap-report-") as name:
            for file, sha256 in files.items():
                Path(name, file).symlink_to(self._blobs.path(sha256).absolute())
            return self._examiners.draw(Path(name)).encode()
