"""The directory of a run: refused before anything starts, made and taken, and taken back where nothing was observed."""

from __future__ import annotations

import secrets
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from moecap.errors import BadInputError
from moecap.result import RESULT_FILE

__all__ = ["make_directory", "refuse_output", "remove_directory"]


def refuse_output(output: Path | None) -> None:
    """Refuse a place that cannot become the run directory.

    Raises:
        BadInputError: If it exists and is not empty, or nothing can be written there.
    """
    if output is None:
        return
    try:
        if output.exists() and not output.is_dir():
            raise BadInputError(f"--output {output}: it exists and is no directory; name a new one")
        if output.is_dir() and any(output.iterdir()):
            raise BadInputError(f"--output {output}: it exists and is not empty; name a new one")
        existing = next(p for p in (output, *output.absolute().parents) if p.exists())
        if not existing.is_dir():
            raise BadInputError(f"--output {output}: {existing} is no directory; name another place")
        _refuse_unwritable(existing, output)
    except OSError as error:
        raise BadInputError(f"--output {output}: {error.strerror or error}; name another place") from None


def make_directory(output: Path | None, model: str, hardware: str, backend: str) -> tuple[Path, bool]:
    """Make the run directory and take it.

    Args:
        output: What the user named; else it is one under ``runs`` with a name of its own.
        model: The model's id.
        hardware: The profile's id.
        backend: The backend's name.

    Returns:
        The directory, and whether it was not there before.

    Raises:
        BadInputError: If another run has it, or it cannot be made.
    """
    directory = output
    if directory is None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        short = "".join(c if c.isalnum() or c in ".-_" else "-" for c in model.rsplit("/", maxsplit=1)[-1].lower())
        directory = Path("runs") / f"{stamp}-{short}-{hardware}-{backend}-{secrets.token_hex(4)}"
    made = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / RESULT_FILE).touch(exist_ok=False)
    except FileExistsError:
        raise BadInputError(f"{directory}: another run has taken it; name another place with --output") from None
    except OSError as error:
        raise BadInputError(
            f"{directory}: cannot be made ({error.strerror}); name another place with --output"
        ) from None
    return directory, made


def remove_directory(directory: Path, made: bool) -> None:
    """Take back the directory of a run that observed nothing; one that was there before stays, empty."""
    (directory / RESULT_FILE).unlink(missing_ok=True)  # first, since it names the others
    for path in directory.iterdir():
        path.unlink()
    if made:
        directory.rmdir()


def _refuse_unwritable(existing: Path, output: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise BadInputError(f"--output {output}: cannot write there ({error.strerror}); name another place") from None
