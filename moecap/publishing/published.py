"""A published result brought to this machine: its files, whether they hold, and the configuration that repeats it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.client import Leaderboard
from moecap.config import RunConfig
from moecap.data.cache import cache_root
from moecap.errors import BadInputError, VerificationError
from moecap.hardware.resolve import resolve_hardware
from moecap.publishing.archive import unpack
from moecap.publishing.signing import signer
from moecap.publishing.withholding import WITHHOLDABLE, Partial, verify_without
from moecap.result import RESULT_FILE, Result, read_result
from moecap.settings import with_settings
from moecap.verification.recomputation import verify_run

__all__ = ["Checked", "asked_result", "check_published", "differing", "fetched", "repeating_config"]


@dataclass(frozen=True, slots=True)
class Checked:
    """What the recomputation of a published result found here.

    Attributes:
        partial: What its files say, and which metrics rest on files that were not published.
        signed_by: The public key that has signed it, or ``None``.
    """

    partial: Partial
    signed_by: str | None


@contextmanager
def fetched(board: Leaderboard, identifier: str) -> Iterator[tuple[Path, Result]]:
    """A folder with a published result and its observation files, which goes at the end, and the result.

    Raises:
        LeaderboardError: If there is none.
        VerificationError: If what came is another result.
    """
    with tempfile.TemporaryDirectory(prefix="moecap-") as place:
        archive, folder = Path(place, "archive"), Path(place, "run")
        folder.mkdir()
        board.download_observations(identifier, archive)
        unpack(archive, folder)
        archive.unlink()
        yield folder, _asked_for(read_result(folder), identifier)


def asked_result(board: Leaderboard, identifier: str) -> Result:
    """A published result alone.

    Raises:
        LeaderboardError: If there is none.
        BadInputError: If it is none that this version reads.
        VerificationError: If what came is another result.
    """
    with tempfile.TemporaryDirectory(prefix="moecap-") as place:
        path = Path(place, RESULT_FILE)
        board.download_result(identifier, path)
        return _asked_for(read_result(path), identifier)


def _asked_for(result: Result, identifier: str) -> Result:
    if result.id != identifier or result.canonical_id() != identifier:
        raise VerificationError(
            f"what the leaderboard gave for {identifier[:12]}… is not that result ({result.canonical_id()[:12]}…): "
            "it was changed after it was measured"
        )
    return result


def check_published(folder: Path, result: Result, data: Path | None = None) -> Checked:
    """Recompute a fetched result from its files, and check its signature.

    Args:
        folder: Its files.
        result: The result.
        data: Folder with the data sets of its tasks, in place of the cache.

    Raises:
        VerificationError: If what it carries is no signature of it.
    """
    signed_by = signer(result)
    away = [name for name in WITHHOLDABLE if name in result.observations and not (folder / name).exists()]
    return Checked(verify_without(verify_run(folder, data), away, result.metrics), signed_by)


def repeating_config(
    result: Result, own: dict[str, Any], settings: tuple[str, ...] = (), *, arguments: bool = False
) -> RunConfig:
    """The configuration that repeats a result on this machine, where it must be measured.

    Args:
        result: The result.
        own: What this machine gives in place of what the result states: model, hw, endpoint, dataset, texts, data,
            output.
        settings: Other keys as ``KEY=VALUE``.
        arguments: Whether the arguments of the result for engine and tasks, which are a stranger's, may be used.

    Raises:
        BadInputError: If there was no run, something is needed that the result names and does not hold, or this machine
            is other hardware.
    """
    workload = result.workload
    if result.kind != "measured":
        raise BadInputError(f"the result is {result.kind}: there is no run to repeat")
    needed = {
        "model": f"its model {result.model.id!r} was a local folder" if result.model.source == "local" else "",
        "hw": f"its hardware was the profile file {workload.hw!r}" if result.hardware.source == "file" else "",
        "endpoint": "it is of a server that ran already" if workload.endpoint is not None else "",
        "dataset": f"its data set was the file {workload.dataset!r}" if Path(workload.dataset).suffix else "",
        "texts": f"its texts were the file {workload.texts!r}" if Path(workload.texts).suffix else "",
    }
    for name, why in needed.items():
        if why and name not in own:
            raise BadInputError(f"the result cannot be repeated from itself: {why}; give yours with --{name}")
    strange = (*workload.engine_arg, *workload.task_arg)
    if strange and not arguments:
        raise BadInputError(
            f"the result has arguments that its author chose ({' '.join(strange)}); read them and add --with-arguments"
        )
    stated = workload.model_dump(mode="json", exclude_defaults=True, exclude={"output", "data"})
    config = with_settings({**stated, **own, "measured": True}, settings)
    here = resolve_hardware(config.hw, count=config.num_gpus, cache_dir=cache_root())
    if here.profile.id != result.hardware.id or not here.is_local:
        raise BadInputError(
            f"the result is of {result.hardware.count} x {result.hardware.id}, which are not here; repeat it there"
        )
    return config


def differing(first: Result, second: Result) -> list[str]:
    """What two results must share to be one run and its repetition, where they do not."""
    pairs = {
        "the model's configuration": (first.model.config, second.model.config),
        "the weights": (first.model.weights_sha256, second.model.weights_sha256),
        "the format of the weights": (first.model.weight_dtype, second.model.weight_dtype),
        "the hardware": (first.hardware.id, second.hardware.id),
        "the number of devices": (first.hardware.count, second.hardware.count),
        "the backend": (first.backend.name, second.backend.name),
        "the data set": (first.workload.dataset_sha256, second.workload.dataset_sha256),
    }
    return [f"{name} was {_short(was)} and is {_short(now)}" for name, (was, now) in pairs.items() if was != now]


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return f"one of {len(value)} keys"
    text = str(value)
    return f"{text[:12]}…" if len(text) > 40 else text
