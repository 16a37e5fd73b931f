"""Columns of the observation files; one schema serves the recorder, the reader and the documentation."""

from __future__ import annotations

from enum import IntEnum

import pyarrow as pa

__all__ = [
    "BEARING",
    "BOARDS",
    "CHUNKS",
    "MOMENTS",
    "OPTIONAL_TABLES",
    "PEAKS",
    "REQUESTS",
    "SERVER_METRICS",
    "SERVER_MOMENTS",
    "STAGES",
    "STATUSES",
    "STEPS",
    "TABLES",
    "TELEMETRY",
    "Phase",
]

STAGES = ("warmup", "load", "score")
"""Parts of a run: warm-up (in no metric), the load (speed), and passes that score given answers (accuracy)."""

MOMENTS = ("before", "after")
"""When the memory bandwidth of a probed host is checked: before the warm-up, and after the load."""

BEARING = ("content", "reasoning")
"""Kinds of chunks that bear tokens."""

SERVER_MOMENTS = ("before", "during", "after")
"""When a server's own metrics are read, in respect to the load."""

STATUSES = ("completed", "failed", "unfinished")
"""How a request ended; an unfinished one was in flight when the run ended."""


class Phase(IntEnum):
    """What one sequence does in one engine step."""

    PREFILL = 0
    DECODE = 1
    SCORE = 2


def _field(name: str, kind: pa.DataType, text: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": text})


REQUESTS = pa.schema(
    [
        _field("request", pa.int32(), "number of the request, unique in the run"),
        _field("stage", pa.string(), "warmup, load or score"),
        _field("prompt_id", pa.string(), "which prompt was sent"),
        _field("scheduled_ns", pa.int64(), "when it was to be sent, monotonic ns"),
        _field(
            "sent_ns", pa.int64(), "when it was sent, monotonic ns; of a turn that was not sent when it was given up"
        ),
        _field("first_token_ns", pa.int64(), "when its first token came, monotonic ns", nullable=True),
        _field("last_token_ns", pa.int64(), "when its last token came, monotonic ns", nullable=True),
        _field("ended_ns", pa.int64(), "when it had ended or failed, monotonic ns", nullable=True),
        _field("input_tokens_asked", pa.int32(), "prompt length that was asked for"),
        _field("output_tokens_asked", pa.int32(), "answer length that was asked for, of all choices"),
        _field("input_tokens", pa.int32(), "prompt tokens as the engine counts them", nullable=True),
        _field("output_tokens", pa.int32(), "answer tokens as the engine counts them, of all choices", nullable=True),
        _field("status", pa.string(), "completed, failed or unfinished"),
        _field("error", pa.string(), "why it failed", nullable=True),
        _field(
            "answer_sha256",
            pa.string(),
            "SHA-256 of the answer's token ids (of its first choice), little-endian int32",
            nullable=True,
        ),
        _field(
            "cached_tokens",
            pa.int32(),
            "prompt tokens that a prefix cache served, by the engine; of all choices where steps are recorded",
            nullable=True,
        ),
        _field(
            "recomputed_tokens", pa.int32(), "tokens fed again, since it had lost its place in the cache", nullable=True
        ),
        _field("session", pa.int32(), "number of its session, null for a single request", nullable=True),
        _field("turn", pa.int32(), "number of the turn in its session, from 0", nullable=True),
        _field("wait_ns", pa.int64(), "time that was to pass since the turn before it had ended", nullable=True),
        _field(
            "finish_reason",
            pa.string(),
            "why the answer ended: stop (its own end or a stop text), length (the most tokens), or the engine's word",
            nullable=True,
        ),
        _field("choices", pa.int32(), "answers that were asked for, null where it is one", nullable=True),
        _field(
            "repeat",
            pa.int32(),
            "number of the repeat of the load, from 0, null where it has one",
            nullable=True,
        ),
    ]
)

CHUNKS = pa.schema(
    [
        _field("request", pa.int32(), "number of the request"),
        _field("time_ns", pa.int64(), "when the chunk came, monotonic ns"),
        _field("tokens", pa.int32(), "answer tokens so far, of all choices, null if unknown", nullable=True),
        _field("kind", pa.string(), "role, reasoning, content, usage or empty"),
        _field("choice", pa.int32(), "which of several choices it belongs to, null where there is one", nullable=True),
    ]
)

STEPS = pa.schema(
    [
        _field("step", pa.int32(), "number of the engine step"),
        _field("stage", pa.string(), "warmup, load or score"),
        _field("start_ns", pa.int64(), "when the pass started, monotonic ns"),
        _field("duration_ns", pa.int64(), "how long the pass took"),
        _field("seq_request", pa.list_(pa.int32()), "number of each sequence's request (score: of its continuation)"),
        _field("seq_start", pa.list_(pa.int32()), "KV entries of each sequence before the step"),
        _field("seq_new", pa.list_(pa.int32()), "tokens fed to each sequence, padding not counted"),
        _field("seq_phase", pa.list_(pa.int8()), "0 prefill, 1 decode, 2 score"),
        _field("logits_tokens", pa.int32(), "rows that went through the language-model head"),
        _field("distinct_experts", pa.list_(pa.int32()), "routed experts that were selected, one entry a MoE layer"),
    ]
)

TELEMETRY = pa.schema(
    [
        _field("time_ns", pa.int64(), "monotonic ns"),
        _field(
            "rss_bytes",
            pa.int64(),
            "resident memory of this process and the ones that it started, shared pages counted in each",
        ),
        _field("cpu_seconds", pa.float64(), "processor time that this process and the ones that it started have used"),
        _field("machine_cpu_seconds", pa.float64(), "processor time that all processes of the machine have used"),
        _field("load_average", pa.float64(), "load of the machine over a minute"),
        _field("steal_seconds", pa.float64(), "processor time that the hypervisor took from this machine"),
        _field("processors", pa.int32(), "logical processors on which this process may run", nullable=True),
        _field("usable_processors", pa.float64(), "how many of them it may use at once (cgroup quota)", nullable=True),
        _field("processors_busy_seconds", pa.float64(), "time that all processes have used on them", nullable=True),
        _field("processors_steal_seconds", pa.float64(), "time that the hypervisor took from them", nullable=True),
        _field("power_watts", pa.float64(), "power of all devices as their driver reports it", nullable=True),
        _field("energy_joules", pa.float64(), "energy counters of the boards, or of a host's packages", nullable=True),
        _field("energy_counter", pa.string(), "what counts: nvml, rapl, zeus, or none with the reason", nullable=True),
    ]
)

PEAKS = pa.schema(
    [
        _field("time_ns", pa.int64(), "when the check began, monotonic ns"),
        _field("moment", pa.string(), "before (the warm-up) or after (the load)"),
        _field("kernel", pa.string(), "the kernel of the hardware probe that was run again"),
        _field("bytes_per_second", pa.float64(), "its best repeat"),
    ]
)

TABLES = {
    "requests.parquet": REQUESTS,
    "chunks.parquet": CHUNKS,
    "steps.parquet": STEPS,
    "telemetry.parquet": TELEMETRY,
}
"""Files that every run leaves."""

SERVER_METRICS = pa.schema(
    [
        _field("time_ns", pa.int64(), "when the server's answer had come, monotonic ns"),
        _field("moment", pa.string(), "before, during or after the load"),
        _field("name", pa.string(), "the name that the server gives the number, with _sum and _count of histograms"),
        _field("labels", pa.string(), "its labels as JSON with sorted keys"),
        _field("value", pa.float64(), "the number"),
    ]
)

BOARDS = pa.schema(
    [
        _field("time_ns", pa.int64(), "monotonic ns"),
        _field("board", pa.int32(), "number of the board among those of the run, from 0"),
        _field("sm_clock_mhz", pa.int32(), "clock of the multiprocessors", nullable=True),
        _field("memory_clock_mhz", pa.int32(), "clock of the memory", nullable=True),
        _field("utilisation", pa.float64(), "share of the driver's last period in which a kernel ran", nullable=True),
        _field("memory_used_bytes", pa.int64(), "memory in use, by every process", nullable=True),
        _field("temperature_celsius", pa.int32(), "temperature of the chip", nullable=True),
        _field(
            "slowdown_reasons",
            pa.int64(),
            "bits of NVML's reasons for lower clocks (ClocksEventReasons)",
            nullable=True,
        ),
    ]
)

OPTIONAL_TABLES = {"peaks.parquet": PEAKS, "server_metrics.parquet": SERVER_METRICS, "boards.parquet": BOARDS}
"""Files that a run leaves where there is something to write into them."""
