"""The archive of a result's files: made alike from the same files, and read as if a stranger had made it."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from moecap.errors import BadInputError

__all__ = ["MAX_FILES", "MAX_UNPACKED_BYTES", "pack", "unpack"]

MAX_FILES = 64
MAX_UNPACKED_BYTES = 1_000_000_000

_COPIED_AT_ONCE = 1 << 20


def pack(files: Mapping[str, Path | bytes], target: IO[bytes]) -> None:
    """Write a ``tar.gz`` that says nothing but the names and contents of files: no times, owners or rights.

    Args:
        files: Content, or the file that holds it, by its name in the archive.
        target: Where the archive goes.
    """
    with (
        gzip.GzipFile("", "wb", 6, target, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in sorted(files):
            source = files[name]
            member = tarfile.TarInfo(name)
            with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as content:
                member.size = content.seek(0, io.SEEK_END)
                content.seek(0)
                archive.addfile(member, content)


def unpack(archive: Path, folder: Path) -> tuple[str, ...]:
    """Write the files of a ``tar.gz`` into a folder and return their names.

    Args:
        archive: The archive, which may come from anyone.
        folder: An empty folder.

    Raises:
        BadInputError: If it holds anything but plain files without folders, a name twice, or too much.
    """
    names: list[str] = []
    left = MAX_UNPACKED_BYTES
    try:
        with gzip.open(archive) as stream:
            while (header := stream.read(tarfile.BLOCKSIZE)).strip(b"\0"):
                member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
                name = member.name
                if not member.isreg() or Path(name).name != name or name in ("", ".", "..") or "\0" in name:
                    raise BadInputError(f"the archive holds {name[:80]!r}, which is no plain file without a folder")
                if name in names or len(names) == MAX_FILES:
                    raise BadInputError(f"the archive holds {name[:80]!r} twice, or more than {MAX_FILES} files")
                left -= member.size
                if left < 0 or member.size < 0:
                    raise BadInputError(f"the archive holds more than {MAX_UNPACKED_BYTES} bytes")
                _copy(stream, folder / name, member.size)
                names.append(name)
            if not header:
                raise EOFError("it ends without an end")
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError, zlib.error) as error:
        raise BadInputError(f"the archive cannot be read ({error or type(error).__name__}); fetch it again") from None
    return tuple(names)


def _copy(stream: gzip.GzipFile, path: Path, size: int) -> None:
    """Write the content of a member and pass over what fills its last block.

    Headers are read one by one here, since ``tarfile`` would read an extended header of any length into memory.
    """
    with path.open("xb") as file:
        left = size
        while left:
            part = stream.read(min(left, _COPIED_AT_ONCE))
            if not part:
                raise EOFError("it ends in the middle of a file")
            file.write(part)
            left -= len(part)
    stream.read(-size % tarfile.BLOCKSIZE)
