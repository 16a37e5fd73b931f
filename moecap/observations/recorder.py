"""Collects what a backend observes while it runs, and writes it to the run directory."""

from __future__ import annotations

import hashlib
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
from moecap.observations.schema import OPTIONAL_TABLES, STEPS, TABLES, TELEMETRY, Phase
from moecap.observations.task_tables import task_table_file

__all__ = ["Glimpse", "Recorder", "RequestRecord", "chunk_gaps"]

DURATION = STEPS.names.index("duration_ns")
WATTS = TELEMETRY.names.index("power_watts")


@dataclass(slots=True)
class RequestRecord:
    """One request as the load generator saw it; times in monotonic nanoseconds, lengths in tokens.

    ``answer``, ``text`` and ``first_logprobs`` stay in memory for the tasks that grade them; no file of the requests
    holds them.
    """

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
    answer_sha256: str | None = None
    cached_tokens: int | None = None
    recomputed_tokens: int | None = None
    session: int | None = None
    turn: int | None = None
    wait_ns: int | None = None
    finish_reason: str | None = None
    choices: int | None = None
    repeat: int | None = None
    answer: tuple[int, ...] = ()
    text: str | None = None
    first_logprobs: Mapping[str, float] = field(default_factory=dict)

    def complete(
        self, answer: Sequence[int] | None, at_ns: int, finish_reason: str | None = None, text: str | None = None
    ) -> None:
        """End the request with its whole answer, of which the files keep only a digest.

        Args:
            answer: Token ids, or ``None`` where the engine gives text only.
            at_ns: When it ended, monotonic ns.
            finish_reason: ``stop``, ``length`` or the engine's own word; ``None`` where it does not say.
            text: The answer's text, or ``None`` where the engine gives token ids only.
        """
        self.status, self.ended_ns = "completed", at_ns
        self.finish_reason, self.text, self.answer = finish_reason, text, tuple(answer or ())
        if answer is not None:
            self.answer_sha256 = hashlib.sha256(np.asarray(answer, "<i4").tobytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What a served engine's client sees of a request the moment it ends, for those who watch; no file holds it.

    Attributes:
        sent_ns: When it was sent, monotonic ns.
        first_ns: When the first bytes of its answer came.
        last_ns: When the last ones came.
        tokens: Tokens of the answer as far as can be said before it is decoded.
        failed: Whether there is no whole answer.
    """

    sent_ns: int
    first_ns: int
    last_ns: int
    tokens: int
    failed: bool


@dataclass(slots=True)
class Recorder:
    """Facts in the order in which they happened; nothing is aggregated here.

    Attributes:
        stage: The stage to which new requests and steps belong.
        repeat: The repeat of the load to which new requests belong; ``None`` where it is measured once.
        capture: How routed experts were captured, or ``None`` where they were not.
        requests: Every request that was sent.
        samples: What the tasks found, one entry an item.
        continuations: Given answers that engines were asked to score so far, which numbers them over the run.
        energy_counter: What counts the energy, or ``none:`` with the reason; ``None`` where it was not looked for.
        simulated: The tables of a simulated load, which take the place of what is recorded request by request.
        glimpses: Requests that have ended on a served engine, which are recorded only when the load is over.
    """

    stage: str = "warmup"
    repeat: int | None = None
    capture: str | None = None
    requests: list[RequestRecord] = field(default_factory=list)
    samples: list[Mapping[str, Any]] = field(default_factory=list)
    continuations: int = 0
    energy_counter: str | None = None
    simulated: dict[str, pa.Table] = field(default_factory=dict)
    glimpses: list[Glimpse] = field(default_factory=list)
    _chunks: list[tuple[int, int, int | None, str, int | None]] = field(default_factory=list)
    _steps: list[tuple[Any, ...]] = field(default_factory=list)
    _telemetry: list[tuple[Any, ...]] = field(default_factory=list)
    _peaks: list[tuple[int, str, str, float]] = field(default_factory=list)
    _server_metrics: list[tuple[int, str, str, str, float]] = field(default_factory=list)
    _boards: list[tuple[Any, ...]] = field(default_factory=list)
    _routes: list[tuple[int, int, npt.NDArray[np.integer[Any]]]] = field(default_factory=list)
    _task_tables: dict[str, pa.Table] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Number of steps recorded so far."""
        return len(self._steps)

    def durations(self, first: int) -> list[int]:
        """Durations of the steps from number ``first`` on, ns."""
        return [row[DURATION] for row in self._steps[first:]]

    def steps_from(self, first: int) -> pa.Table:
        """The steps from number ``first`` on, as they will be stored."""
        return _table(STEPS, _columns([row[:-1] for row in self._steps[first:]], len(STEPS.names)))

    @property
    def watts(self) -> float | None:
        """The latest power of the devices; ``None`` where their driver does not tell it."""
        return self._telemetry[-1][WATTS] if self._telemetry else None

    @property
    def chunk_count(self) -> int:
        """Number of chunks recorded so far."""
        return len(self._chunks)

    def gaps(self, first: int) -> list[int]:
        """Times between one chunk of a request and its next, among the chunks from number ``first`` on, ns."""
        request, time_ns = np.array([row[:2] for row in self._chunks[first:]], np.int64).reshape(-1, 2).T
        return [int(gap) for gap in chunk_gaps(request, time_ns)]

    def send(
        self, prompt_id: str, input_tokens: int, output_tokens: int, scheduled_ns: int, sent_ns: int | None = None
    ) -> RequestRecord:
        """Open the record of a request; without a time of sending it was sent as scheduled."""
        record = RequestRecord(
            len(self.requests),
            self.stage,
            prompt_id,
            scheduled_ns,
            scheduled_ns if sent_ns is None else sent_ns,
            input_tokens,
            output_tokens,
            repeat=self.repeat,
        )
        self.requests.append(record)
        return record

    def chunk(self, request: int, time_ns: int, tokens: int | None, kind: str = "content") -> None:
        """One received chunk; ``tokens`` counts the answer's tokens so far."""
        self._chunks.append((request, time_ns, tokens, kind, None))

    def chunks(
        self,
        request: int,
        times: Sequence[int],
        tokens: Sequence[int | None],
        kinds: Sequence[str],
        choices: Sequence[int | None] | None = None,
    ) -> None:
        """All chunks of one request; ``choices`` says to which of several each belongs."""
        of = [None] * len(times) if choices is None else choices
        self._chunks.extend(zip([request] * len(times), times, tokens, kinds, of, strict=True))

    def step(
        self,
        *,
        start_ns: int,
        duration_ns: int,
        seq_request: Sequence[int],
        seq_start: Sequence[int],
        seq_new: Sequence[int],
        phase: Phase | Sequence[Phase],
        logits_tokens: int,
        experts: npt.NDArray[np.integer[Any]] | None,
        num_experts: int,
    ) -> None:
        """One engine step.

        Args:
            start_ns: Start of the pass, monotonic ns.
            duration_ns: Device time of the pass where the engine gives it, else the host's.
            seq_request: Request of each sequence, [S].
            seq_start: KV entries before the step, [S].
            seq_new: Tokens fed, padding not counted, [S].
            phase: What all sequences do, or each of them, [S].
            logits_tokens: Rows that went through the language-model head.
            experts: Selected routed experts, [tokens, MoE layers, k], padding removed; ``None`` if not captured.
            num_experts: Routed experts of a MoE layer.
        """
        distinct = [] if experts is None else distinct_experts(experts, num_experts).tolist()
        kept = None
        if experts is not None:
            ids = max(num_experts, int(experts.max(initial=0)) + 1)
            kept = experts.astype(np.uint8 if ids <= 256 else np.uint16)
        phases = [int(phase)] * len(seq_new) if isinstance(phase, Phase) else [int(p) for p in phase]
        row = (list(seq_request), list(seq_start), list(seq_new), phases, logits_tokens, distinct, kept)
        # one append: an interrupt leaves the whole step or nothing of it
        self._steps.append((self.steps, self.stage, start_ns, duration_ns, *row))

    def routes(self, record: RequestRecord, experts: npt.NDArray[np.integer[Any]], first: int = 0) -> None:
        """Routed experts of a request's tokens, from an engine that does not say in which step each was fed.

        Args:
            record: The request.
            experts: Selected routed experts, [positions, MoE layers, k]; without dense layers.
            first: Position of the first row: 0 is the first token of the prompt, and the answer follows the prompt.
        """
        self._routes.append((record.request, first, experts))

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
        """One sample, in the order of the telemetry schema, without what counts the energy."""
        self._telemetry.append((*row, self.energy_counter))

    def boards(self, time_ns: int, states: Sequence[tuple[Any, ...]]) -> None:
        """The state of each board at one time, in the order of the schema of boards."""
        self._boards.extend((time_ns, *state) for state in states)

    def peak(self, time_ns: int, moment: str, kernel: str, bytes_per_second: float) -> None:
        """A check of the memory bandwidth, in the order of the schema of peaks."""
        self._peaks.append((time_ns, moment, kernel, bytes_per_second))

    def server_metrics(self, time_ns: int, moment: str, samples: Sequence[tuple[str, str, float]]) -> None:
        """What a server said of itself at one time: name, labels and value of each number."""
        self._server_metrics.extend((time_ns, moment, *sample) for sample in samples)

    def table(self, task: str, name: str, table: pa.Table) -> None:
        """Facts that a task leaves beside its samples; a table of the same task and name replaces the one before."""
        self._task_tables[task_table_file(task, name)] = table

    def write(self, directory: Path) -> list[str]:
        """Write every observation file atomically and return the names that were written."""
        rows = [[getattr(r, name) for r in self.requests] for name in TABLES["requests.parquet"].names]
        columns = {
            "requests.parquet": rows,
            "chunks.parquet": _columns(self._chunks, 5),
            "steps.parquet": _columns([row[:-1] for row in self._steps], len(STEPS.names)),
            "telemetry.parquet": _columns(self._telemetry, len(TABLES["telemetry.parquet"].names)),
        }
        schemas = dict(TABLES)
        for name, optional in (
            ("peaks.parquet", self._peaks),
            ("server_metrics.parquet", self._server_metrics),
            ("boards.parquet", self._boards),
        ):
            if optional:
                schemas[name] = OPTIONAL_TABLES[name]
                columns[name] = _columns(optional, len(schemas[name].names))
        for name, schema in schemas.items():
            table = self.simulated.get(name)
            if table is None:
                table = _table(schema, columns[name])
            with replace_file(directory / name) as file:
                pq.write_table(table, file, compression="zstd")
        for name, table in self._task_tables.items():
            with replace_file(directory / name) as file:
                pq.write_table(table, file, compression="zstd")
        written = [*schemas, *self._task_tables]
        routing = self._routing()
        if routing:
            with replace_file(directory / "routing.npz") as file:
                np.savez_compressed(file, **routing, capture=np.array(self.capture))  # type: ignore[arg-type]
            written.append("routing.npz")
        if self.samples:
            with replace_file(directory / "samples.jsonl") as file:
                for sample in self.samples:
                    file.write(json.dumps(sample, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            written.append("samples.jsonl")
        return written

    def _routing(self) -> dict[str, npt.NDArray[np.integer[Any]]]:
        """Routed experts with the step of each token, or with its request and position; nothing if not captured."""
        of_steps = [(row[0], row[-1]) for row in self._steps if row[-1] is not None]
        if of_steps:
            return {
                "experts": np.concatenate([chosen for _, chosen in of_steps]),
                "token_step": np.concatenate([np.full(len(chosen), step, np.int32) for step, chosen in of_steps]),
            }
        if not self._routes:
            return {}
        experts = np.concatenate([chosen for _, _, chosen in self._routes])
        return {
            "experts": experts.astype(np.uint8 if experts.max(initial=0) < 256 else np.uint16),
            "token_request": np.concatenate([np.full(len(e), request, np.int32) for request, _, e in self._routes]),
            "token_position": np.concatenate([np.arange(f, f + len(e), dtype=np.int32) for _, f, e in self._routes]),
        }


def distinct_experts(experts: npt.NDArray[np.integer[Any]], num_experts: int) -> npt.NDArray[np.int64]:
    """Number of distinct experts in each MoE layer.

    Args:
        experts: Selected experts, [tokens, layers, k]; ids from ``num_experts`` on are experts without weights.
        num_experts: Routed experts of a layer that have weights, which alone count.

    Returns:
        [layers].
    """
    layers = experts.shape[1]
    seen = np.zeros((layers, max(num_experts, int(experts.max(initial=0)) + 1)), bool)
    seen[np.arange(layers)[None, :, None], experts] = True
    distinct: npt.NDArray[np.int64] = seen[:, :num_experts].sum(1)
    return distinct


def chunk_gaps(request: npt.NDArray[np.int64], time_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Times between one chunk of a request and the next that came later, ns; chunks of one read are one arrival.

    Args:
        request: The request of each chunk, [chunks].
        time_ns: When each came, [chunks].

    Returns:
        Those above 0, at most [chunks - requests], in the order of the requests.
    """
    order = np.lexsort((time_ns, request))
    same = request[order][1:] == request[order][:-1]
    gaps: npt.NDArray[np.int64] = np.diff(time_ns[order])[same]
    return gaps[gaps > 0]


def _table(schema: pa.Schema, columns: Sequence[Sequence[Any]]) -> pa.Table:
    return pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema)


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
