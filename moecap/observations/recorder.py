"""Collects what a backend observes while it runs, and writes it to the run directory."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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

DURATION = TABLES["steps.parquet"].names.index("duration_ns")


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
    _steps: list[tuple[Any, ...]] = field(default_factory=list)
    _telemetry: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Number of steps recorded so far."""
        return len(self._steps)

    def durations(self, first: int) -> list[int]:
        """Durations of the steps from number ``first`` on, ns."""
        return [row[DURATION] for row in self._steps[first:]]

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
        distinct = [] if experts is None else distinct_experts(experts, num_experts).tolist()
        kept = None if experts is None else experts.astype(np.uint8 if num_experts <= 256 else np.uint16)
        phases = [int(phase)] * len(seq_new)
        row = (list(seq_request), list(seq_start), list(seq_new), phases, logits_tokens, distinct, kept)
        # one append: an interrupt leaves the whole step or nothing of it
        self._steps.append((self.steps, self.stage, start_ns, duration_ns, *row))

    @contextmanager
    def ending_requests(self) -> Iterator[None]:
        """Around a batch: what ends it early is written into the requests that it leaves, with the time.

        An error makes them failed; an interruption leaves them unfinished.
        """
        first = len(self.requests)
        try:
            yield
        except BaseException as error:
            now = time.monotonic_ns()
            for record in self.requests[first:]:
                if record.status == "unfinished":
                    record.ended_ns = now
                    if isinstance(error, Exception):
                        record.status, record.error = "failed", type(error).__name__
            raise

    def telemetry(self, row: tuple[Any, ...]) -> None:
        """One sample, in the order of the telemetry schema."""
        self._telemetry.append(row)

    def write(self, directory: Path) -> list[str]:
        """Write every observation file atomically and return the names that were written."""
        rows = [[getattr(r, name) for r in self.requests] for name in TABLES["requests.parquet"].names]
        columns = {
            "requests.parquet": rows,
            "chunks.parquet": _columns(self._chunks, 4),
            "steps.parquet": _columns([row[:-1] for row in self._steps], len(TABLES["steps.parquet"].names)),
            "telemetry.parquet": _columns(self._telemetry, len(TABLES["telemetry.parquet"].names)),
        }
        for name, schema in TABLES.items():
            table = pa.table(dict(zip(schema.names, columns[name], strict=True)), schema=schema)
            with replace_file(directory / name) as file:
                pq.write_table(table, file, compression="zstd")
        written = list(TABLES)
        experts = [(row[0], row[-1]) for row in self._steps if row[-1] is not None]
        if experts:
            with replace_file(directory / "routing.npz") as file:
                np.savez_compressed(
                    file,
                    experts=np.concatenate([chosen for _, chosen in experts]),
                    token_step=np.concatenate([np.full(len(chosen), step, np.int32) for step, chosen in experts]),
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
