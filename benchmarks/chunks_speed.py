"""How long the latency metrics and steps of a very long streamed load take: a million chunks, no step told.

2,000 requests of 500 tokens, 64 at a time, each token a chunk that comes up to half a millisecond after its step.

usage: python benchmarks/chunks_speed.py [--requests 2000] [--concurrency 64]

The observations are drawn at random as an endpoint leaves them for Qwen3-30B-A3B. Timed is what `moecap verify` does
with them: reading, reconstructing the steps from the arrivals, and computing every metric. Printed: seconds of each,
the best of five, and how many steps there were and were found.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moecap.hardware.registry import load_profile
from moecap.metrics.routing_source import seen_steps
from moecap.metrics.summary import RunFacts, run_metrics
from moecap.models.registry import load_model
from moecap.observations.reader import read_observations
from moecap.observations.schema import CHUNKS, REQUESTS, STEPS, TELEMETRY

STEP_NS, JITTER_NS = 20_000_000, 500_000
PROMPT, OUTPUT = 1000, 500
REPEATS = 5


def write_observations(folder: Path, requests: int, concurrency: int) -> int:
    """Draw and write the files of a closed loop whose requests start a step apart; gives the number of steps."""
    rng = np.random.default_rng(0)
    number = np.arange(requests)
    first = number % concurrency + number // concurrency * (OUTPUT + 1)  # step of the first token
    steps = first[:, None] + np.arange(OUTPUT)
    times = (steps + 1) * STEP_NS + rng.integers(0, JITTER_NS, steps.shape)
    sent = first * STEP_NS + JITTER_NS
    rows = {
        "request": pa.array(number, pa.int32()),
        "stage": pa.array(np.full(requests, "load")),
        "prompt_id": pa.array(np.char.add("p", number.astype(str))),
        "scheduled_ns": pa.array(sent),
        "sent_ns": pa.array(sent),
        "first_token_ns": pa.array(times[:, 0]),
        "last_token_ns": pa.array(times[:, -1]),
        "ended_ns": pa.array(times[:, -1]),
        "input_tokens_asked": pa.array(np.full(requests, PROMPT), pa.int32()),
        "output_tokens_asked": pa.array(np.full(requests, OUTPUT), pa.int32()),
        "input_tokens": pa.array(np.full(requests, PROMPT), pa.int32()),
        "output_tokens": pa.array(np.full(requests, OUTPUT), pa.int32()),
        "status": pa.array(np.full(requests, "completed")),
    }
    table = [rows[f.name] if f.name in rows else pa.nulls(requests, f.type) for f in REQUESTS]
    pq.write_table(pa.table(table, schema=REQUESTS), folder / "requests.parquet")
    order = np.argsort(times, axis=None, kind="stable")
    columns = {
        "request": pa.array(np.repeat(number, OUTPUT)[order], pa.int32()),
        "time_ns": pa.array(times.ravel()[order]),
        "tokens": pa.array(np.tile(np.arange(1, OUTPUT + 1), requests)[order], pa.int32()),
        "kind": pa.array(np.full(times.size, "content")),
    }
    table = [columns[f.name] if f.name in columns else pa.nulls(times.size, f.type) for f in CHUNKS]
    pq.write_table(pa.table(table, schema=CHUNKS), folder / "chunks.parquet")
    pq.write_table(STEPS.empty_table(), folder / "steps.parquet")
    pq.write_table(TELEMETRY.empty_table(), folder / "telemetry.parquet")
    return len(np.unique(steps))


def main() -> None:
    """Write, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    arguments = parser.parse_args()
    spec, _ = load_model("qwen3-30b-a3b")
    facts = RunFacts(spec, load_profile("h100"), 1, "bf16", arguments.concurrency, 2.0)
    spent = []
    with tempfile.TemporaryDirectory() as name:
        steps = write_observations(Path(name), arguments.requests, arguments.concurrency)
        for _ in range(REPEATS):
            moments = [time.perf_counter()]
            observations = read_observations(Path(name))
            moments.append(time.perf_counter())
            seen = seen_steps(observations, spec)
            moments.append(time.perf_counter())
            metrics = run_metrics(seen, facts)
            moments.append(time.perf_counter())
            spent.append(np.diff(moments))
    read, reconstructed, computed = min(spent, key=sum)
    together = read + reconstructed + computed
    print(
        f"{arguments.requests * OUTPUT:,} chunks: read {read:.2f} s, steps {reconstructed:.2f} s, metrics "
        f"{computed:.2f} s, together {together:.2f} s; {len(seen.observations.steps)} of {steps} steps found; "
        f"TPOT {metrics['tpot.p50'].value * 1e3:.2f} ms"
    )


if __name__ == "__main__":
    main()
