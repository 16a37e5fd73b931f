"""The archive of a result's files: made alike from the same files, and read as if a stranger had made it."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from moecap.errors import BadInputError

__all__ = [
    "MAX_FILES",
    "MAX_UNPACKED_BYTES",
    "UNREADABLE",
    "copy_member",
    "member_content",
    "pack",
    "pass_over",
    "tar_members",
    "unpack",
]

MAX_FILES = 64
MAX_UNPACKED_BYTES = 1_000_000_000

UNREADABLE = (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError, zlib.error)
"""What reading an archive that is none raises."""

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
            for member in tar_members(stream):
                name = member.name
                if not member.isreg() or Path(name).name != name or name in ("", ".", "..") or "\0" in name:
                    raise BadInputError(f"the archive holds {name[:80]!r}, which is no plain file without a folder")
                if name in names or len(names) == MAX_FILES:
                    raise BadInputError(f"the archive holds {name[:80]!r} twice, or more than {MAX_FILES} files")
                left -= member.size
                if left < 0 or member.size < 0:
                    raise BadInputError(f"the archive holds more than {MAX_UNPACKED_BYTES} bytes")
                copy_member(stream, member, folder / name)
                names.append(name)
    except UNREADABLE as error:
        raise BadInputError(f"the archive cannot be read ({error or type(error).__name__}); fetch it again") from None
    return tuple(names)


def tar_members(stream: IO[bytes] | gzip.GzipFile) -> Iterator[tarfile.TarInfo]:
    """The headers of a tar, one by one; whoever takes them reads each content to the end of its last block.

    ``tarfile`` itself would read an extended header of any length into memory.

    Raises:
        EOFError: If it ends without an end.
        TarError: If something is no header.
    """
    while (header := stream.read(tarfile.BLOCKSIZE)).strip(b"\0"):
        yield tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    if not header:
        raise EOFError("it ends without an end")


def member_content(archive: Path, name: str, most: int) -> bytes | None:
    """The content of the first plain file of that name in any folder of a ``tar.gz``; ``None`` where there is none.

    Raises:
        BadInputError: If it, or all before it, is larger than a bound.
        OSError: If the archive cannot be read; or one of ``UNREADABLE``.
    """
    left = MAX_UNPACKED_BYTES
    with gzip.open(archive) as stream:
        for member in tar_members(stream):
            wanted = member.isreg() and Path(member.name).name == name
            left -= member.size
            if left < 0 or member.size < 0 or (wanted and member.size > most):
                raise BadInputError(f"{archive} holds more than it may; fetch it again")
            if wanted:
                return b"".join(_content(stream, member.size))
            pass_over(stream, member)
    return None


def copy_member(stream: IO[bytes] | gzip.GzipFile, member: tarfile.TarInfo, path: Path) -> None:
    """Write the content of a member, and pass over what fills its last block."""
    with path.open("xb") as file:
        for part in _content(stream, member.size):
            file.write(part)


def pass_over(stream: IO[bytes] | gzip.GzipFile, member: tarfile.TarInfo) -> None:
    """Read the content of a member, and what fills its last block, for nothing."""
    for _ in _content(stream, member.size):
        pass


def _content(stream: IO[bytes] | gzip.GzipFile, size: int) -> Iterator[bytes]:
    left = size
    while left:
        part = stream.read(min(left, _COPIED_AT_ONCE))
        if not part:
            raise EOFError("it ends in the middle of a file")
        yield part
        left -= len(part)
    stream.read(-size % tarfile.BLOCKSIZE)
