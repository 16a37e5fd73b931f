"""Reads a run directory's observation files back as columns, and refuses what does not fit the schemas."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from moecap.errors import BadInputError
from moecap.files import place_stored
from moecap.observations.integrity import (
    check_chunks,
    check_feeding,
    check_request_routing,
    check_requests,
    check_routing,
    check_steps,
)
from moecap.observations.repeats import repeat_of_looks
from moecap.observations.schema import BOARDS, MOMENTS, PEAKS, SERVER_METRICS, SERVER_MOMENTS, TABLES
from moecap.observations.task_tables import TaskTables, read_task_tables
from moecap.packed_files import read_arrays, read_table, refuse_swelling
from moecap.strict_json import memory_of, parse_json

__all__ = ["Observations", "Ragged", "RequestRouting", "Routing", "Steps", "read_observations", "steps_of"]

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ragged:
    """A column of lists as flat values with offsets: row i is ``values[offsets[i]:offsets[i + 1]]``.

    The values keep the type in which they are stored, since a long run has tens of millions of them; estimates are
    fractions.
    """

    values: npt.NDArray[np.integer[Any] | np.floating[Any]]
    offsets: IntArray

    def lengths(self) -> IntArray:
        """Length of each list, [rows]."""
        return np.diff(self.offsets)

    def where(self, mask: npt.NDArray[np.bool_]) -> Ragged:
        """The masked lists."""
        lengths = self.lengths()
        offsets = np.concatenate([[0], np.cumsum(lengths[mask])]).astype(np.int64)
        return Ragged(self.values[np.repeat(mask, lengths)], offsets)


@dataclass(frozen=True, slots=True)
class Steps:
    """Engine steps as columns, [steps], with one entry a sequence or MoE layer in the ragged ones."""

    stage: npt.NDArray[np.str_]
    start_ns: IntArray
    duration_ns: IntArray
    seq_request: Ragged
    seq_start: Ragged
    seq_new: Ragged
    seq_phase: Ragged
    logits_tokens: IntArray
    distinct_experts: Ragged

    def __len__(self) -> int:
        return len(self.start_ns)

    def tokens(self) -> IntArray:
        """Tokens fed in each step, [steps]; every step must feed a sequence."""
        tokens: IntArray = np.add.reduceat(self.seq_new.values, self.seq_new.offsets[:-1], dtype=np.int64)
        return tokens

    def where(self, mask: npt.NDArray[np.bool_]) -> Steps:
        """The masked steps."""
        return Steps(
            stage=self.stage[mask],
            start_ns=self.start_ns[mask],
            duration_ns=self.duration_ns[mask],
            seq_request=self.seq_request.where(mask),
            seq_start=self.seq_start.where(mask),
            seq_new=self.seq_new.where(mask),
            seq_phase=self.seq_phase.where(mask),
            logits_tokens=self.logits_tokens[mask],
            distinct_experts=self.distinct_experts.where(mask),
        )


@dataclass(frozen=True, slots=True)
class Routing:
    """Routed experts of each token.

    Attributes:
        experts: Expert ids, [tokens, MoE layers, k].
        token_step: Step in which each token was fed, [tokens].
        capture: How they were captured.
    """

    experts: npt.NDArray[np.unsignedinteger[Any]]
    token_step: npt.NDArray[np.int32]
    capture: str


@dataclass(frozen=True, slots=True)
class RequestRouting:
    """Routed experts of each token by its place in a request, where the engine does not say in which step it was fed.

    Attributes:
        experts: Expert ids, [tokens, MoE layers, k].
        token_request: Request of each token, [tokens].
        token_position: Position of each in its request, prompt and answer, [tokens].
        capture: How they were captured.
    """

    experts: npt.NDArray[np.unsignedinteger[Any]]
    token_request: npt.NDArray[np.int32]
    token_position: npt.NDArray[np.int32]
    capture: str


@dataclass(frozen=True, slots=True)
class Observations:
    """Everything that one run observed; routed experts are known by step, by request, or not at all."""

    requests: pd.DataFrame
    chunks: pd.DataFrame
    steps: Steps
    telemetry: pd.DataFrame
    peaks: pd.DataFrame
    routing: Routing | None
    samples: tuple[dict[str, Any], ...]
    server_metrics: pd.DataFrame
    boards: pd.DataFrame = dataclasses.field(default_factory=lambda: pd.DataFrame(BOARDS.empty_table().to_pandas()))
    request_routing: RequestRouting | None = None
    tables: TaskTables = dataclasses.field(default_factory=dict)


def read_observations(directory: Path) -> Observations:
    """Read the observation files of a run directory, which are put in place first where the run was killed before.

    Raises:
        BadInputError: If a file is missing, cannot be read, does not fit its schema, or contradicts itself or another.
    """
    place_stored(directory)
    tables = {name: _read_table(directory / name, schema) for name, schema in TABLES.items()}
    requests, chunks = tables["requests.parquet"].to_pandas(), tables["chunks.parquet"].to_pandas()
    steps, routing = steps_of(tables["steps.parquet"]), _read_routing(directory / "routing.npz")
    check_steps(steps, tables["steps.parquet"]["step"].to_numpy().astype(np.int64))
    check_requests(requests)
    check_chunks(chunks, requests)
    check_feeding(steps, requests)
    if isinstance(routing, Routing):
        check_routing(routing, steps)
    elif routing is not None:
        check_request_routing(routing, requests)
    return Observations(
        requests=requests,
        chunks=chunks,
        steps=steps,
        telemetry=tables["telemetry.parquet"].to_pandas(),
        peaks=_read_peaks(directory / "peaks.parquet"),
        routing=routing if isinstance(routing, Routing) else None,
        request_routing=routing if isinstance(routing, RequestRouting) else None,
        samples=_read_samples(directory / "samples.jsonl"),
        server_metrics=_read_server_metrics(directory / "server_metrics.parquet", requests),
        boards=_read_boards(directory / "boards.parquet"),
        tables=read_task_tables(directory),
    )


def _read_table(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        table = read_table(path)
    except FileNotFoundError:
        raise BadInputError(f"{path.name} is missing from the run directory; copy the whole directory") from None
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path.name} cannot be read as Parquet ({error}); the run has to be repeated") from None
    for index, field in enumerate(schema):
        if field.nullable and field.name not in table.column_names:  # an older version did not observe it
            table = table.add_column(min(index, table.num_columns), field, pa.nulls(len(table), field.type))
    if not table.schema.remove_metadata().equals(schema.remove_metadata(), check_metadata=False):
        raise BadInputError(f"{path.name} does not have the columns of its schema; it was not written by this version")
    for field in schema:
        lists = table[field.name].chunks if pa.types.is_list(field.type) else []
        if any(part.flatten().null_count for part in lists):
            raise BadInputError(f"{path.name}: a list of {field.name} has an empty entry; the run has to be repeated")
    return table


def _read_peaks(path: Path) -> pd.DataFrame:
    """The checks of the memory bandwidth; no row where the run made none."""
    if not path.exists():
        return pd.DataFrame(PEAKS.empty_table().to_pandas())
    peaks = pd.DataFrame(_read_table(path, PEAKS).to_pandas())
    if not (peaks["moment"].isin(MOMENTS).all() and peaks["moment"].is_unique):
        raise BadInputError(f"{path.name}: each moment must be one of {', '.join(MOMENTS)} and come once")
    if not (np.isfinite(peaks["bytes_per_second"]) & (peaks["bytes_per_second"] > 0)).all():
        raise BadInputError(f"{path.name}: a bandwidth is not above zero; every bytes_per_second must be")
    return peaks


def _read_server_metrics(path: Path, requests: pd.DataFrame) -> pd.DataFrame:
    """What the server said of itself; no row where it said nothing."""
    if not path.exists():
        return pd.DataFrame(SERVER_METRICS.empty_table().to_pandas())
    said = pd.DataFrame(_read_table(path, SERVER_METRICS).to_pandas())
    if not (said["moment"].isin(SERVER_MOMENTS).all() and np.isfinite(said["value"]).all()):
        raise BadInputError(f"{path.name}: each value must be finite and of one of {', '.join(SERVER_MOMENTS)}")
    looks = said.assign(repeat=repeat_of_looks(said, requests))
    times = looks[looks["moment"] != "during"].groupby(["repeat", "moment"])["time_ns"].nunique()
    if (times > 1).any():
        raise BadInputError(f"{path.name}: the server is read once before and once after a load, not several times")
    return said


def _read_boards(path: Path) -> pd.DataFrame:
    """The states of the boards; no row where none was read."""
    table = _read_table(path, BOARDS) if path.exists() else BOARDS.empty_table()
    return pd.DataFrame(table.to_pandas())


def _ragged(column: pa.ChunkedArray) -> Ragged:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    offsets = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    return Ragged(array.flatten().to_numpy(zero_copy_only=False), offsets - offsets[0])


def _names(column: pa.ChunkedArray) -> npt.NDArray[np.str_]:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    names = np.array(encoded.dictionary.to_pylist() or [""], dtype=np.str_)
    named: npt.NDArray[np.str_] = names[encoded.indices.to_numpy(zero_copy_only=False)]
    return named


def steps_of(table: pa.Table) -> Steps:
    """The steps of a table with the columns of ``steps.parquet``; whether they can have been is not checked."""

    def column(name: str) -> IntArray:
        values: IntArray = table[name].to_numpy().astype(np.int64)
        return values

    return Steps(
        stage=_names(table["stage"]),
        start_ns=column("start_ns"),
        duration_ns=column("duration_ns"),
        seq_request=_ragged(table["seq_request"]),
        seq_start=_ragged(table["seq_start"]),
        seq_new=_ragged(table["seq_new"]),
        seq_phase=_ragged(table["seq_phase"]),
        logits_tokens=column("logits_tokens"),
        distinct_experts=_ragged(table["distinct_experts"]),
    )


def _read_routing(path: Path) -> Routing | RequestRouting | None:
    if not path.exists():
        return None
    try:
        data = read_arrays(path)
        experts, capture = data["experts"], str(data["capture"])
        if "token_step" in data:
            return Routing(experts, data["token_step"], capture)
        return RequestRouting(experts, data["token_request"], data["token_position"], capture)
    except (KeyError, OSError, ValueError) as error:
        raise BadInputError(f"routing.npz cannot be read ({error}); the run has to be repeated") from None


def _read_samples(path: Path) -> tuple[dict[str, Any], ...]:
    if not path.exists():
        return ()
    if not path.is_file():
        raise BadInputError(f"{path.name} is no plain file; copy the file itself to its place")
    samples, taken = [], 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode()
                sample = parse_json(text)
            except ValueError as error:
                raise BadInputError(f"samples.jsonl line {number} is not JSON ({error})") from None
            if not isinstance(sample, dict):
                raise BadInputError(f"samples.jsonl line {number} is no JSON object; the run has to be repeated")
            samples.append(sample)
            taken += memory_of(text)
            refuse_swelling(path, taken)
    return tuple(samples)
