"""How fast the projection is: closed forms a second, and a simulation of continuous batching with its files.

usage: python benchmarks/projection_speed.py [--requests 10000] [--tokens 500] [--concurrency 256]

The deployment is Mixtral-8x7B in bf16 on four A100s with vLLM's costs. Printed: closed forms a second, one by one and
as one array; seconds of simulating the load, of making the observation tables and of writing them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from moecap.hardware.registry import load_profile
from moecap.models.parallelism import Parallelism
from moecap.models.registry import load_model
from moecap.projection.coefficients import calibrated
from moecap.projection.deployment import Deployment
from moecap.projection.routing import Popularity
from moecap.projection.simulation import Requests, simulate
from moecap.projection.steady import Load, steady_plan, steady_state
from moecap.projection.trace import observation_tables, write_observations
from moecap.projection.work import WorkModel

ONE_BY_ONE, AT_ONCE = 500, 20_000


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--concurrency", type=int, default=256)
    asked = parser.parse_args()
    spec, _ = load_model("mixtral", weights="bf16")
    model = WorkModel(Deployment(spec, load_profile("a100"), Parallelism(tensor=4)))
    coefficients = calibrated()

    begun = time.perf_counter()
    for concurrency in range(1, ONE_BY_ONE + 1):
        steady_state(steady_plan(model, Load.of(concurrency, 500, 500)), coefficients, "vllm")
    print(f"closed forms one by one: {ONE_BY_ONE / (time.perf_counter() - begun):,.0f} a second")
    begun = time.perf_counter()
    steady_state(steady_plan(model, Load.of(np.arange(1, AT_ONCE + 1), 500, 500)), coefficients, "vllm")
    print(f"closed forms in one array: {AT_ONCE / (time.perf_counter() - begun):,.0f} a second")

    lengths = np.full(asked.requests, asked.tokens)
    requests = Requests(lengths, lengths, concurrency=asked.concurrency)
    begun = time.perf_counter()
    run = simulate(model, coefficients, requests)
    simulated = time.perf_counter()
    tables = observation_tables(run, requests, spec, Popularity(coefficients.shared.popularity))
    made = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        write_observations(tables, Path(folder))
    written = time.perf_counter()
    print(f"{asked.requests:,} requests of {asked.tokens} tokens in and out, {len(run.start):,} steps:")
    print(f"simulating {simulated - begun:.2f} s, tables {made - simulated:.2f} s, writing {written - made:.2f} s")


if __name__ == "__main__":
    main()
