"""A run as a person drops it: the archive of a run directory, or result.json with the archive of its observations."""

from __future__ import annotations

import errno
import gzip
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from moecap.errors import BadInputError
from moecap.publishing.archive import (
    MAX_FILES,
    MAX_UNPACKED_BYTES,
    UNREADABLE,
    copy_member,
    pack,
    pass_over,
    tar_members,
)
from moecap.publishing.submission import SAMPLES
from moecap.result import MAX_RESULT_BYTES, RESULT_FILE, read_result

__all__ = ["Dropped", "read_dropped"]

_DIRECTORY_BYTES = 1_000_000
"""Most bytes of a zip's directory, which is read as a whole."""

_AT_ONCE = 1 << 20
_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class Dropped:
    """What goes on of the files that came, as a submission is sent.

    Attributes:
        result: The bytes of ``result.json``.
        archive: Its observation files, as ``moecap.publishing.archive`` packs them; ``None`` where none came.
        left_out: Files that came and go no further.
    """

    result: bytes
    archive: Path | None
    left_out: tuple[str, ...]


def read_dropped(paths: Sequence[Path], folder: Path, *, with_samples: bool) -> Dropped:
    """Take the files of a run out of what came, which may come from anyone.

    Args:
        paths: A zip, tar or tar.gz of a run directory; or ``result.json`` and such an archive of its observations.
        folder: An empty folder for the files.
        with_samples: Whether prompts and answers go on too.

    Raises:
        BadInputError: If it is no run, or holds too much.
    """
    results = [path for path in paths if path.suffix.lower() == ".json"]
    archives = [path for path in paths if path not in results]
    if len(results) > 1 or len(archives) > 1 or not paths:
        raise BadInputError(
            f"{len(paths)} files came; give one archive of a run directory, or result.json and one archive"
        )
    run = folder / "run"
    run.mkdir()
    for path in archives:
        _unpack(path, run)
    for path in results:
        if (run / RESULT_FILE).exists():
            raise BadInputError(f"{RESULT_FILE} came twice, alone and in the archive; leave one out")
        shutil.copyfile(path, run / RESULT_FILE)
    if not (run / RESULT_FILE).is_file():
        raise BadInputError(f"no {RESULT_FILE} came; give the archive of a run directory that moecap run made")
    if (run / RESULT_FILE).stat().st_size > MAX_RESULT_BYTES:
        raise BadInputError(f"{RESULT_FILE} is larger than {MAX_RESULT_BYTES} bytes")
    came = {path.name for path in run.iterdir()} - {RESULT_FILE}
    named = came & set(read_result(run).observations)
    going = {name: run / name for name in named if with_samples or name != SAMPLES}
    archive = folder / "observations.tar.gz" if going else None
    if archive is not None:
        with archive.open("wb") as target:
            pack(going, target)
    return Dropped((run / RESULT_FILE).read_bytes(), archive, tuple(sorted(came - going.keys())))


def _unpack(archive: Path, run: Path) -> None:
    try:
        with archive.open("rb") as file:
            zipped = file.read(2) == b"PK"  # not zipfile.is_zipfile, which finds the arrays in a tar
        (_unpack_zip if zipped else _unpack_tar)(archive, run)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, *UNREADABLE) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # the disk's fault
            raise
        raise BadInputError(
            f"the archive cannot be read ({error or type(error).__name__}); give a zip, a tar or a tar.gz"
        ) from None


def _unpack_tar(archive: Path, run: Path) -> None:
    left = MAX_UNPACKED_BYTES
    with archive.open("rb") as file, _plain(file) as stream:
        for member in tar_members(stream):
            left -= max(member.size, 0)
            if left < 0 or member.size < 0:
                raise BadInputError(f"the archive holds more than {MAX_UNPACKED_BYTES} bytes")
            name = _name(member.name) if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else None
            if name is None:
                pass_over(stream, member)
            else:
                copy_member(stream, member, _place(run, name))


def _plain(file: IO[bytes]) -> gzip.GzipFile | IO[bytes]:
    """A tar without its compression."""
    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if compressed else file


def _unpack_zip(archive: Path, run: Path) -> None:
    left = MAX_UNPACKED_BYTES
    _bound_directory(archive)
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            name = _name(entry.filename) if entry.filename and not entry.is_dir() else None
            if name is None:
                continue
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others may ask for gigabytes
                raise BadInputError("the zip is packed by another method than deflate; pack it anew")
            with opened.open(entry) as source, _place(run, name).open("xb") as target:
                for part in _parts(source):
                    left -= len(part)
                    if left < 0:
                        raise BadInputError(f"the archive holds more than {MAX_UNPACKED_BYTES} bytes")
                    target.write(part)


def _bound_directory(archive: Path) -> None:
    """Refuse a zip whose directory, which ``zipfile`` reads as a whole, is far beyond that of a run's files."""
    with archive.open("rb") as file:
        file.seek(max(0, archive.stat().st_size - 66_000))
        end = file.read()
    at = end.rfind(b"PK\x05\x06")
    size = int.from_bytes(end[at + 12 : at + 16], "little")
    if at >= 0 and size > _DIRECTORY_BYTES:
        raise BadInputError("the zip names far more files than a run has; give the archive of one run directory")


def _parts(source: IO[bytes]) -> Iterator[bytes]:
    while part := source.read(_AT_ONCE):
        yield part


def _name(path: str) -> str | None:
    """The name of a file at the top or in one folder; ``None`` of what is hidden, lies deeper or fits no disk."""
    parts = [part for part in PurePosixPath(path.replace("\\", "/")).parts if part != "."]
    if not 1 <= len(parts) <= 2 or "\0" in path or any(p in ("..", "/", "__MACOSX") or p[0] == "." for p in parts):
        return None
    return parts[-1] if len(parts[-1].encode("utf-8", "surrogatepass")) <= _NAME_BYTES else None


def _place(run: Path, name: str) -> Path:
    if (run / name).exists():
        raise BadInputError(f"the archive holds {name[:80]!r} twice; give the archive of one run directory")
    if sum(1 for _ in run.iterdir()) == MAX_FILES:
        raise BadInputError(f"the archive holds more than {MAX_FILES} files; give the archive of one run directory")
    return run / name
