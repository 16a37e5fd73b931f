"""The result file of an import: what a source says, null with the reason for what it does not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from moecap.errors import BadInputError
from moecap.files import write_text
from moecap.metrics.value import Metric
from moecap.result import MAX_RESULT_BYTES, RESULT_FILE, Flag
from moecap.settings import first_problem
from moecap.strict_json import parse_json

__all__ = ["ImportedResult", "Source", "is_imported", "read_imported", "write_imported"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(_Record):
    """The file that was imported, and what wrote it."""

    tool: str
    version: str | None
    file: str
    sha256: str
    part: int
    date: str | None


class ImportedModel(_Record):
    """Which model, as the source or the importer says."""

    id: str | None
    precision: str | None


class ImportedHardware(_Record):
    """On which devices, as the source or the importer says."""

    id: str | None
    count: int | None


class ImportedBackend(_Record):
    """Which engine, as the source or the importer says."""

    name: str | None
    version: str | None


class ImportedWorkload(_Record):
    """The load, as the source says; lengths in tokens, a rate in requests a second."""

    load: Literal["closed", "open"] | None
    concurrency: int | None
    rate: float | None
    input_len: int | None
    output_len: int | None
    num_requests: int | None
    dataset: str | None


class ImportedResult(_Record):
    """The content of ``result.json`` of an import.

    Attributes:
        id: SHA-256 of the canonical JSON (RFC 8785) without ``id``.
        metrics: Recomputed from the observations where there are any, else the source's own.
        recomputed: Names of those that were recomputed; all others are as stated.
        stated: Every number that the source states, under moecap's name for it.
        missing: Why fields are null, by their dotted names.
        given: Fields that whoever imported gave, since the source lacks them.
        observations: SHA-256 of every observation file.
    """

    schema_version: Literal[1] = 1
    id: str = ""
    kind: Literal["imported"] = "imported"
    status: Literal["complete"] = "complete"
    source: Source
    model: ImportedModel
    hardware: ImportedHardware
    backend: ImportedBackend
    workload: ImportedWorkload
    metrics: dict[str, Metric]
    recomputed: tuple[str, ...]
    stated: dict[str, Metric]
    missing: dict[str, str]
    given: tuple[str, ...]
    flags: tuple[Flag, ...]
    moecap: str
    observations: dict[str, str]

    @model_validator(mode="after")
    def _recomputed_are_metrics(self) -> ImportedResult:
        if not self.metrics.keys() >= set(self.recomputed):
            raise ValueError("recomputed names what is no metric of the result")
        return self

    def canonical_id(self) -> str:
        """The identity that the content has."""
        import rfc8785

        return hashlib.sha256(rfc8785.dumps(self.model_dump(mode="json", exclude={"id"}))).hexdigest()

    @property
    def title(self) -> str:
        """Model on hardware."""
        devices = f"{self.hardware.count} x " if (self.hardware.count or 1) > 1 else ""
        return f"{self.model.id or 'a model not stated'} on {devices}{self.hardware.id or 'hardware not stated'}"

    @property
    def engine(self) -> str:
        """What answered, and what measured."""
        name = " ".join(part for part in (self.backend.name, self.backend.version) if part) or "engine not stated"
        return f"{name}, measured by {self.source.tool} {self.source.version or ''}".rstrip()


def write_imported(directory: Path, result: ImportedResult) -> ImportedResult:
    """Write the result with its identity."""
    identified = result.model_copy(update={"id": result.canonical_id()})
    text = json.dumps(identified.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(directory / RESULT_FILE, text + "\n")
    return identified


def is_imported(path: Path) -> bool:
    """Whether a run directory or a result file is of an import; false where it cannot be read."""
    content = _content(path)
    return content.get("kind") == "imported" and "source" in content


def read_imported(path: Path) -> ImportedResult:
    """Read the result of an import.

    Raises:
        BadInputError: If it does not fit the schema.
    """
    try:
        return ImportedResult.model_validate(_content(path))
    except ValidationError as error:
        raise BadInputError(f"{RESULT_FILE}: {first_problem(error)}") from None


def _content(path: Path) -> Mapping[str, Any]:
    file = path / RESULT_FILE if path.is_dir() else path
    if not file.is_file() or file.stat().st_size > MAX_RESULT_BYTES:
        return {}
    try:
        content = parse_json(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
