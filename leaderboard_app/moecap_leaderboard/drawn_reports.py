"""Reports of rows as pages of charts, drawn from their observations when they are asked for; the last ones are kept."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from moecap_leaderboard.blobs import Blobs
from moecap_leaderboard.examiners import Examiners

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
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def page(self, submission: str, files: Mapping[str, str]) -> bytes:
        """The report of a submission as HTML.

        Args:
            submission: Its id.
            files: Digests of the files that were sent, by their names.

        Raises:
            BadInputError: If it cannot be drawn.
            NotAvailableError: If too many submissions and reports wait.
        """
        with self._lock:
            if submission in self._kept:
                self._kept.move_to_end(submission)
                return self._kept[submission]
        with tempfile.TemporaryDirectory(prefix="moecap-report-") as name, self._examiners.place():
            for file, sha256 in files.items():
                Path(name, file).symlink_to(self._blobs.path(sha256).absolute())
            drawn = self._examiners.draw(Path(name)).encode()
        with self._lock:
            self._kept[submission] = drawn
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return drawn
