"""Files under the SHA-256 of their content, in a folder; the same content is kept once and never changed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from moecap.errors import NotAvailableError
from moecap.files import file_sha256
from moecap_leaderboard.workplace import Workplace

__all__ = ["WORKPLACES", "Blobs", "blob_files", "blob_path"]

WORKPLACES = ".work"
"""Folder of what is not whole yet, beside the files: a renaming brings it to its place."""

_DIGEST_DIGITS = 64


class Blobs:
    """The folder.

    Args:
        folder: Made if need be.

    Attributes:
        work: What this process is working on; taken away when it ends, or by the next one.

    Raises:
        NotAvailableError: If it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._workplace = Workplace(folder / WORKPLACES)
        except OSError as error:
            raise NotAvailableError(
                f"the folder of observations {folder} cannot be made ({error.strerror}); set MOECAP_LEADERBOARD_DATA"
            ) from None
        self.folder, self.work = folder, self._workplace.folder

    def path(self, sha256: str) -> Path:
        """Where the content with this digest is, if it is here."""
        return blob_path(self.folder, sha256)

    def add(self, source: Path) -> str:
        """Copy a file into the folder and return its digest; it is on the disk then, with its name."""
        sha256 = file_sha256(source)
        target = self.path(sha256)
        if not target.exists():
            if not target.parent.exists():
                target.parent.mkdir(exist_ok=True)
                _keep_names(self.folder)
            with tempfile.TemporaryDirectory(dir=self.work) as place:
                coming = Path(place, sha256)
                with source.open("rb") as content, coming.open("xb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
                    file.flush()
                    os.fsync(file.fileno())
                coming.replace(target)
            _keep_names(target.parent)
        return sha256

    def close(self) -> None:
        """Take away what this process was working on."""
        self._workplace.close()


def blob_path(folder: Path, sha256: str) -> Path:
    """Where a folder of files has the content with a digest."""
    return folder / sha256[:2] / sha256


def blob_files(folder: Path) -> Iterator[Path]:
    """Every file of such a folder, whole ones alone."""
    return (path for path in sorted(folder.glob("??/*")) if len(path.name) == _DIGEST_DIGITS)


def _keep_names(folder: Path) -> None:
    """See to it that the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
