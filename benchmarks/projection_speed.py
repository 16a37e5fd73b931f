"""How fast the projection is: closed forms a second, and a simulation of continuous batching with its files.

usage: python benchmarks/projection_speed.py [--requests 10000] [--tokens 500] [--concurrency 256]

The deployment is Mixtral-8x7B in bf16 on four A100s with vLLM's costs. Printed: closed forms a second, one by one and
as one array; those of a sweep of models, chips, numbers of devices, engines and loads, from the profiles to the
numbers (in seconds of the processor); seconds of simulating the load, of making the tables and of writing them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from moecap.errors import MoecapError
from moecap.hardware.registry import load_profile
from moecap.models.parallelism import Parallelism
from moecap.models.registry import load_model
from moecap.observations.recorder import Recorder
from moecap.projection.coefficients import Coefficients, calibrated
from moecap.projection.deployment import Deployment
from moecap.projection.requests import Requests
from moecap.projection.routing import Popularity
from moecap.projection.simulation import simulate
from moecap.projection.steady import Load, steady_plan, steady_state
from moecap.projection.trace import observation_tables
from moecap.projection.work import WorkModel

ONE_BY_ONE, AT_ONCE = 500, 20_000
MODELS = ("mixtral", "qwen3-30b-a3b", "deepseek-v3", "gpt-oss-120b", "llama-4-scout")
CHIPS = ("a100", "h100", "h200", "b200", "mi300x", "l40s", "rtx-4090", "gb200")
LOADS = np.unique(np.rint(np.geomspace(1, 512, 25)))


def sweep(coefficients: Coefficients) -> int:
    """Project every model on every chip in every split at every load; how many that are.

    Those that do not fit are projected too (to no number) and count; a split that a model does not allow does not.
    """
    count = 0
    for name in MODELS:
        spec, _ = load_model(name)
        for chip in CHIPS:
            profile = load_profile(chip)
            for tensor in (1, 2, 4, 8):
                for engine in ("vllm", "sglang", "trtllm"):
                    load = Load.of(np.tile(LOADS, 2), np.repeat([1024, 8192], len(LOADS)), 512)
                    try:
                        plan = steady_plan(
                            WorkModel(Deployment(spec, profile, Parallelism(tensor=tensor), engine)), load
                        )
                    except MoecapError:
                        continue
                    steady_state(plan, coefficients, engine)
                    count += 2 * len(LOADS)
    return count


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

    begun = time.process_time()
    for concurrency in range(1, ONE_BY_ONE + 1):
        steady_state(steady_plan(model, Load.of(concurrency, 500, 500)), coefficients, "vllm")
    print(f"closed forms one by one: {ONE_BY_ONE / (time.process_time() - begun):,.0f} a second")
    begun = time.process_time()
    steady_state(steady_plan(model, Load.of(np.arange(1, AT_ONCE + 1), 500, 500)), coefficients, "vllm")
    print(f"closed forms in one array: {AT_ONCE / (time.process_time() - begun):,.0f} a second")
    begun = time.process_time()
    count = sweep(coefficients)
    print(f"a sweep of {count:,} configurations: {count / (time.process_time() - begun):,.0f} a second")

    lengths = np.full(asked.requests, asked.tokens)
    requests = Requests(lengths, lengths, concurrency=asked.concurrency)
    begun = time.perf_counter()
    run = simulate(model, coefficients, requests)
    simulated = time.perf_counter()
    tables = observation_tables(run, requests, spec, Popularity(coefficients.shared.popularity))
    made = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        Recorder(simulated=tables).write(Path(folder))
    written = time.perf_counter()
    print(f"{asked.requests:,} requests of {asked.tokens} tokens in and out, {len(run.start):,} steps:")
    print(f"simulating {simulated - begun:.2f} s, tables {made - simulated:.2f} s, writing {written - made:.2f} s")


if __name__ == "__main__":
    main()
