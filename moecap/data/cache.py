"""The folder where models and data sets that were fetched or made once are kept.

``<root>/models/<name>``, ``<root>/packages/<name>`` and so on are its entries; ``<root>/locks`` holds the locks that
keep two processes from making the same entry. An entry appears complete or not at all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moecap.data.progress import SILENT, Progress
from moecap.errors import NotAvailableError, UnknownNameError

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["CacheEntry", "cache_lock", "cache_root", "clean", "entries", "require_room", "staged_folder", "staging"]

PATIENCE_S = 60.0
"""How long the holder of a lock may write nothing before it is given up."""

NOTICE_S = 2.0
"""A wait is told once it has lasted this long."""

_LOCKS = "locks"
_PARTIAL = ".partial-"
_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One thing in the cache: ``name`` is its path below the root, ``bytes`` the sum of its files' sizes."""

    name: str
    path: Path
    bytes: int
    files: int


def cache_root() -> Path:
    """Return the cache's folder, created if need be.

    It is ``$MOECAP_CACHE``, else ``$XDG_CACHE_HOME/moecap``, else ``~/.cache/moecap``.

    Raises:
        NotAvailableError: It cannot be created or written.
    """
    if own := os.environ.get("MOECAP_CACHE"):
        root = Path(own).expanduser()
    elif xdg := os.environ.get("XDG_CACHE_HOME"):
        root = Path(xdg).expanduser() / "moecap"
    else:
        root = Path("~/.cache/moecap").expanduser()
    root = root.absolute()
    remedy = "set MOECAP_CACHE to a folder that you may write"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotAvailableError(f"the cache folder {root} cannot be created: {error.strerror}; {remedy}") from error
    if not os.access(root, os.W_OK | os.X_OK):
        raise NotAvailableError(f"the cache folder {root} cannot be written; {remedy}")
    return root


@contextlib.contextmanager
def cache_lock(name: str, patience: float = PATIENCE_S, *, progress: Progress = SILENT) -> Iterator[None]:
    """Hold the lock of one cache entry; while another process holds it and the cache grows, wait.

    Args:
        name: The entry's name, such as ``models/smollm2-135m-moe-4x-top2``.
        patience: The longest time in seconds to wait while nothing is written to the cache; 0 does not wait.
        progress: Hears of a wait that lasts, with the process that is waited for.

    Raises:
        NotAvailableError: Another process held the lock and wrote nothing for that long.
    """
    from filelock import FileLock

    path = cache_root() / _LOCKS / (name.replace("/", "--") + ".lock")
    path.parent.mkdir(exist_ok=True)
    lock = FileLock(path)
    _acquire(lock, name, path, patience, progress)
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: BaseFileLock, name: str, path: Path, patience: float, progress: Progress) -> None:
    """Take the lock; a holder that dies loses it, one that lives is waited for as long as the cache grows."""
    from filelock import Timeout

    began = grown = time.monotonic()
    size, told = _cached_bytes(), False
    while True:
        try:
            lock.acquire(timeout=min(_POLL_S, patience))
            return
        except Timeout:
            now = time.monotonic()
        if size != (size := _cached_bytes()):
            grown = now
        if now - grown >= patience:
            break
        if not told and now - began >= NOTICE_S:
            told = True
            progress.say(f"{_holder(path)} is at work on {name}; waiting for it to let go of {path}")
    idle = f" and has written nothing for {patience:.0f} s" if patience else ""
    raise NotAvailableError(
        f"{name} is in use: {_holder(path)} holds {path}{idle}; wait for that process or end it, then try again"
    )


def _holder(path: Path) -> str:
    """Name the process that holds a lock, as the kernel knows it (proc_locks(5))."""
    try:
        place = path.stat()
        locked = f"{os.major(place.st_dev):02x}:{os.minor(place.st_dev):02x}:{place.st_ino}"
        rows = [row.split() for row in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
    except OSError:
        return "another process"
    # a row is: number, FLOCK, ADVISORY, WRITE, process (0 or -1 in another namespace), device:inode, start, end
    pids = [row[4] for row in rows if row[1] == "FLOCK" and row[5] == locked and row[4].isdecimal() and row[4] != "0"]
    return f"process {pids[0]}" if pids else "another process"


@contextlib.contextmanager
def staging(target: Path) -> Iterator[Path]:
    """Give an empty folder beside ``target`` to work in; it is removed when the block ends.

    Hold the entry's lock around it: what an earlier process left of such work is removed first.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{_PARTIAL}{target.name}-"
    for stale in target.parent.glob(f"{prefix}*"):
        shutil.rmtree(stale, ignore_errors=True)
    stage = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextlib.contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder that takes ``target``'s place, complete, when the block ends without an error.

    Hold the entry's lock around it.

    Args:
        target: The folder to make; one that is there already is replaced.
    """
    with staging(target) as stage:
        made = stage / target.name
        made.mkdir()
        yield made
        if target.exists():
            _remove(target)
        made.rename(target)


def require_room(folder: Path, needed: int, what: str) -> None:
    """Refuse work for which the disk has no room.

    Args:
        folder: An existing folder on the disk.
        needed: Bytes that the work will write.
        what: What is to be written, for the message.

    Raises:
        NotAvailableError: Fewer bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NotAvailableError(
            f"{what} needs {needed / 1e6:.0f} MB and {folder} has {free / 1e6:.0f} MB free; "
            "free some room or set MOECAP_CACHE to a folder on another disk"
        )


def entries() -> tuple[CacheEntry, ...]:
    """Return what is in the cache, by name; ``models/.partial-...`` is what an interrupted process left."""
    root = cache_root()
    found = [path for group in root.iterdir() if group.is_dir() and group.name != _LOCKS for path in group.iterdir()]
    return tuple(_entry(path.relative_to(root).as_posix(), path) for path in sorted(found))


def clean(names: Iterable[str]) -> tuple[CacheEntry, ...]:
    """Remove entries from the cache.

    Args:
        names: Names as ``entries()`` gives them.

    Returns:
        The entries that were removed.

    Raises:
        UnknownNameError: There is no entry of that name; nothing was removed.
        NotAvailableError: Another process is making or using the entry.
    """
    present = {entry.name: entry for entry in entries()}
    chosen = list(dict.fromkeys(names))
    for name in chosen:
        if name not in present:
            raise UnknownNameError("cache entry", name, present, "moecap cache list shows them")
    for name in chosen:
        with cache_lock(_owner(name), patience=0):
            _remove(present[name].path)
    return tuple(present[name] for name in chosen)


def _owner(name: str) -> str:
    """Return the entry whose lock guards ``name``: for an unfinished folder the entry that it was to become."""
    group, _, last = name.partition("/")
    return f"{group}/{last.removeprefix(_PARTIAL).rpartition('-')[0]}" if last.startswith(_PARTIAL) else name


def _cached_bytes() -> int:
    return sum(entry.bytes for entry in entries())


def _entry(name: str, path: Path) -> CacheEntry:
    files = [path] if path.is_file() else [Path(top) / file for top, _, files in os.walk(path) for file in files]
    sizes = []
    for file in files:
        with contextlib.suppress(FileNotFoundError):  # its maker has moved it meanwhile, or it is a broken link
            status = file.stat()
            if stat.S_ISREG(status.st_mode):
                sizes.append(status.st_size)
    return CacheEntry(name, path, sum(sizes), len(sizes))


def _remove(path: Path) -> None:
    """Remove a file or folder; a folder is renamed first, so that nobody ever sees half of it."""
    if path.is_dir() and not path.is_symlink():
        grave = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{path.name}-", dir=path.parent))
        path.rename(grave / "removed")
        shutil.rmtree(grave)
    else:
        path.unlink()
