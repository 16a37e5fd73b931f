"""A folder for what a process is working on, which goes with it; what a killed one left goes at the next start."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

__all__ = ["Workplace"]


class Workplace:
    """A new folder, which is locked for as long as this process uses it.

    The lock is the kernel's (``flock``): it ends with the process, however that ends, so that a folder without one is
    nobody's. Folders of nobody are taken away first.

    Args:
        parent: Where the workplaces of all processes are; made if need be.

    Attributes:
        folder: The folder.
    """

    def __init__(self, parent: Path) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        with _locked(parent):  # or one that is new could be taken for nobody's
            for other in parent.iterdir():
                _remove_unused(other)
            self.folder = Path(tempfile.mkdtemp(dir=parent, prefix=""))
            self._lock = os.open(self.folder, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Take the folder away, with what is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # closed before
            os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_unused(folder: Path) -> None:
    """Take a workplace away if no process holds it."""
    with suppress(OSError):  # held, or taken away meanwhile
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(descriptor)
