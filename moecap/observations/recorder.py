"""Collects what a backend observes while it runs, and writes it to the run directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from moecap.files import replace_file
from moecap.observations.schema import TABLES, Phase

__all__ = ["Recorder", "RequestRecord"]


@dataclass(slots=True)
class RequestRecord:
    """One request as the load generator saw it; times in monotonic nanoseconds, lengths in tokens."""

    request: int
    stage: str
    prompt_id: str
    scheduled_ns: int
    sent_ns: int
    input_tokens_asked: int
    output_tokens_asked: int
    first_token_ns: int | None = None
    last_token_ns: int | None = None
    ended_ns: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    status: str = "unfinished"
    error: str | None = None


@dataclass(slots=True)
class Recorder:
    """Facts in the order in which they happened; nothing is aggregated here.

    Attributes:
        stage: The stage to which new requests and steps belong.
        capture: How routed experts were captured, or ``None`` where they were not.
    """

    stage: str = "warmup"
    capture: str | None = None
    requests: list[RequestRecord] = field(default_factory=list)
    samples: list[Mapping[str, Any]] = field(default_factory=list)
    _chunks: list[tuple[int, int, int | None, str]] = field(default_factory=list)
    _steps: dict[str, list[Any]] = field(default_factory=lambda: {n: [] for n in TABLES["steps.parquet"].names})
    _telemetry: list[tuple[Any, ...]] = field(default_factory=list)
    _experts: list[npt.NDArray[np.integer[Any]]] = field(default_factory=list)
    _token_step: list[npt.NDArray[np.int32]] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Number of steps recorded so far."""
        return len(self._steps["step"])

    def durations(self, first: int) -> list[int]:
        """Durations of the steps from number ``first`` on, ns."""
        return list(self._steps["duration_ns"][first:])

    def send(self, prompt_id: str, input_tokens: int, output_tokens: int, at_ns: int) -> RequestRecord:
        """Open the record of a request that is sent as scheduled."""
        record = RequestRecord(
            len(self.requests),
            self.stage,
            prompt_id,
            at_ns,
            at_ns,
            input_tokens,
            output_tokens,
            input_tokens=input_tokens,
        )
        self.requests.append(record)
        return record

    def chunk(self, request: int, time_ns: int, tokens: int | None, kind: str = "content") -> None:
        """One received chunk; ``tokens`` counts the answer's tokens so far."""
        self._chunks.append((request, time_ns, tokens, kind))

    def step(
        self,
        *,
        start_ns: int,
        duration_ns: int,
        seq_request: Sequence[int],
        seq_start: Sequence[int],
        seq_new: Sequence[int],
        phase: Phase,
        logits_tokens: int,
        experts: npt.NDArray[np.integer[Any]] | None,
        num_experts: int,
    ) -> None:
        """One engine step of sequences that are all in one phase.

        Args:
            start_ns: Start of the pass, monotonic ns.
            duration_ns: Device time of the pass where the engine gives it, else the host's.
            seq_request: Request of each sequence, [S].
            seq_start: KV entries before the step, [S].
            seq_new: Tokens fed, padding not counted, [S].
            phase: What the sequences do.
            logits_tokens: Rows that went through the language-model head.
            experts: Selected routed experts, [tokens, MoE layers, k], padding removed; ``None`` if not captured.
            num_experts: Routed experts of a MoE layer.
        """
        row = self.steps
        columns = self._steps
        columns["step"].append(row)
        columns["stage"].append(self.stage)
        columns["start_ns"].append(start_ns)
        columns["duration_ns"].append(duration_ns)
        columns["seq_request"].append(list(seq_request))
        columns["seq_start"].append(list(seq_start))
        columns["seq_new"].append(list(seq_new))
        columns["seq_phase"].append([int(phase)] * len(seq_new))
        columns["logits_tokens"].append(logits_tokens)
        distinct: list[int] = []
        if experts is not None:
            distinct = distinct_experts(experts, num_experts).tolist()
            self._experts.append(experts.astype(np.uint8 if num_experts <= 256 else np.uint16))
            self._token_step.append(np.full(experts.shape[0], row, np.int32))
        columns["distinct_experts"].append(distinct)

    def telemetry(self, row: tuple[Any, ...]) -> None:
        """One sample, in the order of the telemetry schema."""
        self._telemetry.append(row)

    def write(self, directory: Path) -> list[str]:
        """Write every observation file atomically and return the names that were written."""
        rows = [[getattr(r, name) for r in self.requests] for name in TABLES["requests.parquet"].names]
        columns = {
            "requests.parquet": rows,
            "chunks.parquet": _columns(self._chunks, 4),
            "steps.parquet": list(self._steps.values()),
            "telemetry.parquet": _columns(self._telemetry, len(TABLES["telemetry.parquet"].names)),
        }
        for name, schema in TABLES.items():
            table = pa.table(dict(zip(schema.names, columns[name], strict=True)), schema=schema)
            with replace_file(directory / name) as file:
                pq.write_table(table, file, compression="zstd")
        written = list(TABLES)
        if self._experts:
            with replace_file(directory / "routing.npz") as file:
                np.savez_compressed(
                    file,
                    experts=np.concatenate(self._experts),
                    token_step=np.concatenate(self._token_step),
                    capture=np.array(self.capture),
                )
            written.append("routing.npz")
        if self.samples:
            with replace_file(directory / "samples.jsonl") as file:
                for sample in self.samples:
                    file.write(json.dumps(sample, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            written.append("samples.jsonl")
        return written


def distinct_experts(experts: npt.NDArray[np.integer[Any]], num_experts: int) -> npt.NDArray[np.int64]:
    """Number of distinct experts in each MoE layer.

    Args:
        experts: Selected experts, [tokens, layers, k].
        num_experts: Routed experts of a layer.

    Returns:
        [layers].
    """
    layers = experts.shape[1]
    seen = np.zeros((layers, num_experts), bool)
    seen[np.arange(layers)[None, :, None], experts] = True
    distinct: npt.NDArray[np.int64] = seen.sum(1)
    return distinct


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
