"""What of a run goes to a leaderboard: the files, the manifest that names them, and the check for what is private."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from moecap.errors import BadInputError, VerificationError
from moecap.files import file_sha256
from moecap.publishing.archive import pack
from moecap.publishing.disclosure import Finding, find_private, machine_private
from moecap.publishing.signing import SigningKey, sign_result
from moecap.publishing.withholding import verify_without
from moecap.result import RESULT_FILE, read_result, write_result
from moecap.verification.recomputation import Verification, verify_run

__all__ = ["LeftOut", "Manifest", "Package", "SentFile", "prepare"]

SAMPLES = "samples.jsonl"
OBSERVATIONS = "observations.tar.gz"

NAMED_AT_MOST = 5
"""So many findings are named; the rest is counted."""


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file that goes: its name there, its size and its SHA-256."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file of the run directory that stays, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What leaves this machine, and what does not.

    Attributes:
        result: Id of the result.
        signed_by: The public key that signs it, or ``None``.
        files: ``result.json`` and the observation files that go.
        left_out: The files that stay.
        not_recomputed: Metrics that a leaderboard cannot recompute without the files that stay.
    """

    result: str
    signed_by: str | None
    files: tuple[SentFile, ...]
    left_out: tuple[LeftOut, ...]
    not_recomputed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Package:
    """A submission that is ready to be sent.

    Attributes:
        manifest: What it holds.
        result: Its ``result.json``, signed.
        observations: The archive of its observation files; ``None`` where there are none.
    """

    manifest: Manifest
    result: Path
    observations: Path | None


def prepare(
    run: Path,
    folder: Path,
    *,
    key: SigningKey | None = None,
    with_samples: bool = False,
    allowed: Collection[str] = (),
) -> Package:
    """Make the files that go to a leaderboard; the run directory stays as it is.

    Args:
        run: The run directory.
        folder: An empty folder for the files.
        key: The key that signs the result.
        with_samples: Whether prompts and answers go too.
        allowed: Texts that look private and may go all the same.

    Raises:
        BadInputError: If there is no result, or a file holds something private.
        VerificationError: If the result does not follow from its observations.
    """
    result = read_result(run)
    found = verify_run(run) if result.observations else Verification((), (), 0)
    if not found.ok:
        raise VerificationError(f"{run}: the result does not follow from its observations; see moecap verify {run}")
    going = {name: run / name for name in result.observations if with_samples or name != SAMPLES}
    write_result(folder, sign_result(result, key) if key else result)
    private = machine_private()
    tells = find_private(folder / RESULT_FILE, private, allowed)
    for path in going.values():
        tells += find_private(path, private, allowed)
    if tells:
        raise BadInputError(_refusal(tells))
    archive = folder / OBSERVATIONS if going else None
    if archive is not None:
        with archive.open("wb") as file:
            pack(going, file)
    sent = [_sent(folder / RESULT_FILE), *(_sent(path) for path in going.values())]
    changed = [s.file for s in sent[1:] if s.sha256 != result.observations[s.file]]
    if changed:
        raise BadInputError(f"{run}: {changed[0]} changed while it was packed; submit again once nothing writes there")
    partial = verify_without(found, result.observations.keys() - going.keys(), result.metrics)
    public = key.public if key else None
    manifest = Manifest(result.id, public, tuple(sent), _left_out(run, going), partial.not_recomputed)
    return Package(manifest, folder / RESULT_FILE, archive)


def _sent(path: Path) -> SentFile:
    return SentFile(path.name, path.stat().st_size, file_sha256(path))


def _left_out(run: Path, going: Collection[str]) -> tuple[LeftOut, ...]:
    names = sorted(path.name for path in run.iterdir() if path.name != RESULT_FILE and path.name not in going)
    return tuple(LeftOut(name, _reason(name)) for name in names)


def _reason(name: str) -> str:
    if name == SAMPLES:
        return "prompts and answers; --with-samples sends them"
    return "no observation of the result"


def _refusal(found: list[Finding]) -> str:
    named = "; ".join(f"{f.file} holds {f.what} ({f.shown})" for f in found[:NAMED_AT_MOST])
    more = f"; and {len(found) - NAMED_AT_MOST} more" if len(found) > NAMED_AT_MOST else ""
    return f"nothing is sent: {named}{more}; --allow TEXT lets a text go that is no secret"
