"""Files that are either whole or absent, alone or together, and their digests."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

__all__ = ["STORED", "file_sha256", "place_stored", "replace_file", "replace_files", "unique_keys", "write_text"]

WRITING, STORED = ".writing", ".stored"
"""Folders in a directory: of files that are being written, and of files that are whole and not all at their places."""


@contextmanager
def replace_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path`` that takes its place when the block ends without an error."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def replace_files(directory: Path) -> Iterator[Path]:
    """A folder for new files of a directory, which count together as soon as the block ends without an error.

    The one step in which they come to count is the renaming of the folder; :func:`place_stored` puts them in place,
    here or, where this process is killed before, in the next one that reads the directory.
    """
    place_stored(directory)
    folder = directory / WRITING
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir()
        yield folder
        _sync(folder)
        folder.rename(directory / STORED)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _sync(directory)
    place_stored(directory)


def place_stored(directory: Path) -> None:
    """Put the files in place that a process has stored in a directory and was killed before it had put all in place."""
    folder = directory / STORED
    if folder.is_symlink() or not folder.is_dir():
        return
    with suppress(FileNotFoundError):  # another process that reads the directory does the same at once
        for path in sorted(folder.iterdir()):
            with suppress(FileNotFoundError):
                path.replace(directory / path.name)
        folder.rmdir()


def _sync(directory: Path) -> None:
    """See to it that the names in a directory are on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically (temporary file, fsync, rename)."""
    with replace_file(path) as file:
        file.write(text.encode())


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys come once: of two, readers differ in which one counts.

    Raises:
        ValueError: With the key that comes twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"the key {twice[:80]!a} comes twice in one object")
    return found
