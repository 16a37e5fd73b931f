"""How long the metrics of a very long run take: a million steps of 16 sequences and 48 MoE layers.

All but one step in 500 decode; that one prefills the prompts of the next 16 requests.

usage: python benchmarks/metrics_speed.py [--steps 1000000] [--sequences 16]

The observations are drawn at random in the shape of Qwen3-30B-A3B (48 MoE layers, 128 experts, 8 selected) and written
as a run's files are; timed is what `moecap verify` does with them: reading and computing every metric. Printed: seconds
and the peak memory of the process that reads and computes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moecap.observations.schema import CHUNKS, REQUESTS, STEPS, TELEMETRY

MODEL = "qwen3-30b-a3b"
LAYERS = 48
STEP_NS = 20_000_000
PROMPT = 1000
OUTPUT = 500


def write_observations(folder: Path, steps: int, sequences: int) -> None:
    """Draw and write the observation files of a closed loop of ``sequences`` requests at a time."""
    rng = np.random.default_rng(0)
    number = np.arange(steps, dtype=np.int64)
    place = np.repeat(number % OUTPUT, sequences)
    prefill = place == 0
    start = np.where(prefill, 0, PROMPT + place - 1).astype(np.int32)
    new = np.where(prefill, PROMPT, 1).astype(np.int32)

    def lists(values: np.ndarray, width: int, kind: pa.DataType) -> pa.Array:
        offsets = pa.array(np.arange(0, len(values) + 1, width, dtype=np.int32))
        return pa.ListArray.from_arrays(offsets, pa.array(values, kind))

    request = (np.repeat(number // OUTPUT * sequences, sequences) + np.tile(np.arange(sequences), steps)).astype(
        np.int32
    )
    columns = {
        "step": pa.array(number, pa.int32()),
        "stage": pa.array(np.full(steps, "load")),
        "start_ns": pa.array(number * STEP_NS),
        "duration_ns": pa.array(rng.integers(STEP_NS // 2, STEP_NS, steps)),
        "seq_request": lists(request, sequences, pa.int32()),
        "seq_start": lists(start, sequences, pa.int32()),
        "seq_new": lists(new, sequences, pa.int32()),
        "seq_phase": lists((~prefill).astype(np.int8), sequences, pa.int8()),
        "logits_tokens": pa.array(np.full(steps, sequences), pa.int32()),
        "distinct_experts": lists(rng.integers(60, 90, steps * LAYERS, dtype=np.int32), LAYERS, pa.int32()),
    }
    pq.write_table(pa.table([columns[n] for n in STEPS.names], schema=STEPS), folder / "steps.parquet")
    batches = -(-steps // OUTPUT)
    requests = batches * sequences
    sent = np.repeat(np.arange(batches) * OUTPUT * STEP_NS, sequences)
    ended = sent + OUTPUT * STEP_NS
    rows = {
        "request": pa.array(np.arange(requests), pa.int32()),
        "stage": pa.array(np.full(requests, "load")),
        "prompt_id": pa.array(np.char.add("p", np.arange(requests).astype(str))),
        "scheduled_ns": pa.array(sent),
        "sent_ns": pa.array(sent),
        "first_token_ns": pa.array(sent + STEP_NS),
        "last_token_ns": pa.array(ended),
        "ended_ns": pa.array(ended),
        "input_tokens_asked": pa.array(np.full(requests, PROMPT), pa.int32()),
        "output_tokens_asked": pa.array(np.full(requests, OUTPUT), pa.int32()),
        "input_tokens": pa.array(np.full(requests, PROMPT), pa.int32()),
        "output_tokens": pa.array(np.full(requests, OUTPUT), pa.int32()),
        "status": pa.array(np.full(requests, "completed")),
        "error": pa.nulls(requests, pa.string()),
        "answer_sha256": pa.nulls(requests, pa.string()),
        "cached_tokens": pa.nulls(requests, pa.int32()),
    }
    known = [rows[f.name] if f.name in rows else pa.nulls(requests, f.type) for f in REQUESTS]  # no sessions
    pq.write_table(pa.table(known, schema=REQUESTS), folder / "requests.parquet")
    ends = np.repeat(np.arange(requests, dtype=np.int32), 2)
    times = np.stack([sent + STEP_NS, ended], 1).ravel()
    chunks = [ends, times, np.tile([1, OUTPUT], requests).astype(np.int32), np.full(len(ends), "content")]
    told = [*map(pa.array, chunks), pa.nulls(len(ends), pa.int32())]  # one choice
    pq.write_table(pa.table(told, schema=CHUNKS), folder / "chunks.parquet")
    pq.write_table(TELEMETRY.empty_table(), folder / "telemetry.parquet")


def measure(folder: str, queue: multiprocessing.Queue) -> None:
    """Read and compute in a process of its own."""
    from moecap.hardware.registry import load_profile
    from moecap.metrics.routing_source import seen_steps
    from moecap.metrics.summary import RunFacts, run_metrics
    from moecap.models.registry import load_model
    from moecap.observations.reader import read_observations

    spec, _ = load_model(MODEL)
    facts = RunFacts(spec, load_profile("h100"), 1, "bf16", 16, 2.0)
    start = time.perf_counter()
    observations = read_observations(Path(folder))
    read = time.perf_counter()
    metrics = run_metrics(seen_steps(observations, facts.spec), facts)
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    queue.put((read - start, done - read, peak, metrics["decode.s_mbu"].value))


def main() -> None:
    """Write, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--sequences", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spawn = multiprocessing.get_context("spawn")
        writer = spawn.Process(target=write_observations, args=(Path(folder), arguments.steps, arguments.sequences))
        writer.start()
        writer.join()
        queue = spawn.Queue()
        reader = spawn.Process(target=measure, args=(folder, queue))
        reader.start()
        read, compute, peak, s_mbu = queue.get(timeout=300)
        reader.join()
    shape = f"{arguments.steps:,} steps of {arguments.sequences} sequences and {LAYERS} MoE layers"
    times = f"read {read:.2f} s, metrics {compute:.2f} s, together {read + compute:.2f} s"
    print(f"{shape}: {times}; peak memory {peak / 1e9:.2f} GB; S-MBU {s_mbu:.3f}")


if __name__ == "__main__":
    main()
