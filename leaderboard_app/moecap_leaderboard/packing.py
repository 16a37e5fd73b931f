"""The archive of a result's files, as it is sent."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from moecap.publishing.archive import pack

__all__ = ["packed"]

_IN_MEMORY = 8 << 20
_PART = 1 << 18


def packed(files: Mapping[str, Path]) -> Iterator[bytes]:
    """The ``tar.gz`` of files, in parts; one that is large lies on disk meanwhile."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as target:
        pack(files, target)
        target.seek(0)
        while part := target.read(_PART):
            yield part
