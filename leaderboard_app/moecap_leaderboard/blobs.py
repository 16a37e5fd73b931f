"""Files under the SHA-256 of their content, in a folder; the same content is kept once and never changed."""

from __future__ import annotations

import shutil
from pathlib import Path

from moecap.errors import NotAvailableError
from moecap.files import file_sha256, replace_file

__all__ = ["Blobs"]


class Blobs:
    """The folder.

    Args:
        folder: Made if need be.

    Raises:
        NotAvailableError: If it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotAvailableError(
                f"the folder of observations {folder} cannot be made ({error.strerror}); set MOECAP_LEADERBOARD_DATA"
            ) from None
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where the content with this digest is, if it is here."""
        return self.folder / sha256[:2] / sha256

    def add(self, source: Path) -> str:
        """Copy a file into the folder and return its digest."""
        sha256 = file_sha256(source)
        target = self.path(sha256)
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            with source.open("rb") as content, replace_file(target) as file:
                shutil.copyfileobj(content, file, 1 << 20)
        return sha256
