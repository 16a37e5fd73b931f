"""The result file: its model, its identity, and how it is stored."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from moecap.config import RunConfig
from moecap.errors import BadInputError
from moecap.files import place_stored, write_text
from moecap.hardware.profile import HardwareProfile, ProfileSource
from moecap.metrics.constants import Constant, constant_value
from moecap.metrics.routing_source import RoutingSource
from moecap.metrics.value import Metric
from moecap.projection.record import ProjectionRecord
from moecap.settings import first_problem
from moecap.strict_json import parse_json

__all__ = [
    "RESULT_FILE",
    "SCHEMA_VERSION",
    "BackendRecord",
    "Flag",
    "HardwareRecord",
    "ModelRecord",
    "Provenance",
    "Result",
    "TaskRecord",
    "read_result",
    "write_result",
]

SCHEMA_VERSION: Literal[1] = 1
RESULT_FILE = "result.json"
MAX_RESULT_BYTES = 32_000_000


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelRecord(_Record):
    """Which model ran, with its whole configuration so that anyone can recompute its bytes and FLOPs.

    Attributes:
        weight_dtype: Number format of the weights; of a checkpoint that is quantised by itself those of its classes,
            that of most bytes first, joined by ``+``.
        kv_dtype: Number format of the KV cache.
        compute_dtype: Number format in which everything is computed whose inputs are not quantised.
        quantised: Whether each class of weights is in the format that the checkpoint's own configuration says.
        weight_dtypes: Number format of each class of weights.
        compute_dtypes: Number format in which each class is multiplied, and the scores of attention.
    """

    id: str
    name: str
    revision: str | None
    source: str
    config: dict[str, Any]
    weights_sha256: str | None
    weight_dtype: str
    kv_dtype: str
    compute_dtype: str
    quantised: bool = False
    weight_dtypes: dict[str, str] = {}
    compute_dtypes: dict[str, str] = {}
    total_params: int
    active_params: int
    is_moe: bool


def _unstated_source(record: dict[str, Any]) -> ProfileSource:
    """Where a profile came from of which the first version did not say it: what was not probed may be a file's."""
    return "probed" if "profile" in record and record["profile"].probe is not None else "file"


class HardwareRecord(_Record):
    """On which hardware, with the whole profile, where it came from, and the probe."""

    id: str
    name: str
    count: int
    usd_per_hour: float | None
    price_source: str
    profile: HardwareProfile
    source: ProfileSource = Field(default_factory=_unstated_source)

    @classmethod
    def of(
        cls, profile: HardwareProfile, count: int, source: ProfileSource, constants: tuple[Constant, ...]
    ) -> HardwareRecord:
        """The record that follows from a profile and from the constants in force, the rent among them."""
        rent = next(c for c in constants if c.name == "usd_per_hour")
        return cls(
            id=profile.id,
            name=profile.name,
            count=count,
            usd_per_hour=rent.value,
            price_source=f"{rent.source} ({rent.date})" if rent.date else rent.source,
            source=source,
            profile=profile,
        )


class BackendRecord(_Record):
    """Through which engine."""

    name: str
    version: str
    device: str
    timer: str
    batching: str
    details: dict[str, str]
    client_chunks_per_second: float | None = None
    client_processes: Annotated[int, Field(gt=0)] | None = None
    step_tokens: Annotated[int, Field(gt=0)] | None = None
    attached: bool = False


class Flag(_Record):
    """A remark on the validity of a result; ``invalid`` bars it from comparison."""

    name: str
    level: Literal["info", "warning", "invalid"]
    text: str


class TaskRecord(_Record):
    """Which accuracy task ran, and on which prompts.

    Attributes:
        version: Changes with the task's prompts, data and grading.
        items: Items that were asked for.
        in_load: Whether its requests are those of the load, whose speed the result states.
        prompts_sha256: SHA-256 over all its prompts in their order, as text with a zero byte after each.
        few_shot: Solved examples before each question; null where that does not apply.
        few_shot_seed: Seed with which they were drawn; null where none were.
        chat: Whether the model's chat template was applied; null where that does not apply.
        source: Where the data came from.
        limited: Whether a limit or an argument left items of the data set out; null where the task does not know.
        chat_date: The day that the chat template was told, YYYY-MM-DD; null where it did not ask.
    """

    name: str
    version: str
    items: Annotated[int, Field(ge=0)]
    in_load: bool = False
    prompts_sha256: str | None = None
    few_shot: int | None = None
    few_shot_seed: int | None = None
    chat: bool | None = None
    source: str = ""
    limited: bool | None = None
    chat_date: str | None = None


class Provenance(_Record):
    """Who made the result, when and with what."""

    moecap: str
    started: str
    finished: str
    seconds: dict[str, float]
    command: str
    environment: dict[str, str]


class Result(_Record):
    """The content of ``result.json``.

    Attributes:
        schema_version: Version of this file's schema.
        id: SHA-256 of the canonical JSON (RFC 8785) without ``id`` and ``signature``.
        kind: Whether the numbers were measured, projected or imported.
        status: How the run ended; ``reason`` says why where it did not complete.
        workload: The run configuration that was in force.
        constants: The constants of the cost model that are in force; ``hardware.usd_per_hour`` is among them.
        routing_source: How the experts of the load's steps are known; null for a dense model, or without steps.
        projection: What the projection rests on: the one that this result is, or the one that a measured result is held
            against; null where there is none.
        tasks: The accuracy tasks, in their order.
        metrics: Every metric by name.
        observations: SHA-256 of every observation file.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    id: str = ""
    kind: Literal["measured", "projected", "imported"]
    status: Literal["complete", "failed", "interrupted"]
    reason: str | None = None
    model: ModelRecord
    hardware: HardwareRecord
    backend: BackendRecord
    workload: RunConfig
    constants: tuple[Constant, ...] = ()
    routing_source: RoutingSource | None = None
    projection: ProjectionRecord | None = None
    tasks: tuple[TaskRecord, ...] = ()
    metrics: dict[str, Metric]
    flags: tuple[Flag, ...]
    provenance: Provenance
    observations: dict[str, str]
    signature: str | None = None

    @model_validator(mode="after")
    def _one_rent(self) -> Result:
        if self.constants and constant_value(self.constants, "usd_per_hour") != self.hardware.usd_per_hour:
            raise ValueError("hardware.usd_per_hour is not the usd_per_hour among the constants")
        return self

    @property
    def engine(self) -> str:
        """What answered, with its version; of a projection the engine that it is of, and what computed it."""
        backend = self.backend
        if self.kind != "projected" or self.projection is None:
            return f"{backend.name} {backend.version}"
        return f"{self.projection.engine} as moecap {backend.version} projects it"

    def canonical_id(self) -> str:
        """The identity that the content has: of every field that is stated, and of none that a later version knows."""
        import rfc8785

        content = self.model_dump(mode="json", exclude_unset=True, exclude={"id", "signature"})
        return hashlib.sha256(rfc8785.dumps(content)).hexdigest()

    def identified(self) -> Result:
        """The same result with every field stated, its ``id`` set and no signature."""
        stated = Result.model_validate(self.model_dump(mode="json") | {"id": "", "signature": None})
        return stated.model_copy(update={"id": stated.canonical_id()})


def write_result(directory: Path, result: Result) -> None:
    """Write ``result.json`` atomically, with the fields that the result states."""
    content = result.model_dump(mode="json", exclude_unset=True)
    write_text(directory / RESULT_FILE, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_result(directory: Path) -> Result:
    """Read the result of a run directory, whose files are put in place first where the run was killed before it had.

    Raises:
        BadInputError: If there is none or it does not fit the schema.
    """
    try:
        place_stored(directory if directory.is_dir() else directory.parent)
    except OSError as error:
        raise BadInputError(
            f"{directory}: the run was killed before all its files were in place, and they cannot be put there "
            f"({error.strerror}); make the directory writable"
        ) from None
    path = directory / RESULT_FILE if directory.is_dir() else directory
    if not path.is_file():
        raise BadInputError(f"{directory}: no {RESULT_FILE} there; give a run directory that `moecap run` made")
    size = path.stat().st_size
    if not size:
        raise BadInputError(f"{directory}: the run there has only just begun, or was killed then; nothing is stored")
    if size > MAX_RESULT_BYTES:
        raise BadInputError(f"{path}: larger than {MAX_RESULT_BYTES} bytes; this is no result file")
    try:
        content = parse_json(path.read_bytes())
        if isinstance(content, dict) and content.get("kind") == "imported" and "source" in content:
            raise BadInputError(f"{path}: imported from another tool; verify, report and compare alone take it")
        return Result.model_validate(content)
    except ValidationError as error:
        raise BadInputError(f"{path.name}: {first_problem(error)}") from None
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path.name}: not a JSON result ({str(error).splitlines()[0]})") from None
