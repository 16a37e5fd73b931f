"""A measured load beside the projection of the same load: projected over measured, by the very same metrics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from moecap.errors import MoecapError
from moecap.hardware.profile import HardwareProfile
from moecap.metrics.latency import latencies, throughput
from moecap.metrics.value import Metric, absent, measured
from moecap.metrics.window import steady_state
from moecap.models.spec import ModelSpec
from moecap.projection.record import ProjectionRecord
from moecap.projection.requests import Requests
from moecap.projection.simulation import simulate
from moecap.projection.trace import answer_tables
from moecap.projection.work import WorkModel

__all__ = ["COMPARED", "projection_ratios"]

COMPARED = ("ttft.p50", "tpot.p50", "itl.p50", "output_tokens_per_second")
"""Metrics that a measured run and the projection of its load are compared by."""

MOST_TOKENS = 1_000_000
"""Tokens of the answers of a load up to which it is simulated for the comparison."""


MOST_STEPS = 1_000_000
"""Steps that its prompts may fill."""


def projection_ratios(
    metrics: Mapping[str, Metric],
    requests: pd.DataFrame,
    record: ProjectionRecord | None,
    spec: ModelSpec,
    hardware: HardwareProfile,
    activations: str,
    *,
    concurrency: int | None,
    prefix_cache: bool,
) -> dict[str, Metric]:
    """``projection.ratio.NAME`` of each metric that is compared: projected over measured.

    The load is simulated with the lengths that it really had. A projection serves in continuous batches by an engine's
    defaults, whatever the engine that was measured did.

    Args:
        metrics: The metrics of the measured run.
        requests: Its requests of the load.
        record: What the projection rests on; ``None`` where there is none.
        spec: The model.
        hardware: The profile of one device.
        activations: Number format of the activations.
        concurrency: Requests in flight; ``None`` for an open loop.
        prefix_cache: Whether the engine served prompts from its prefix cache.
    """
    problem = _problem(requests, record, hardware, prefix_cache)
    found: Mapping[str, Metric] = {}
    if not problem and record is not None:
        try:
            found = _projected(requests, record, spec, hardware, activations, concurrency)
        except MoecapError as error:
            problem = f"its load cannot be projected: {error}"
    return {f"projection.ratio.{name}": _ratio(found.get(name), metrics[name], problem) for name in COMPARED}


def _problem(
    requests: pd.DataFrame, record: ProjectionRecord | None, hardware: HardwareProfile, prefix_cache: bool
) -> str:
    """Why the load is not compared; empty where it is."""
    counted = requests[["input_tokens", "output_tokens"]].notna().all(axis=None)
    plain = not prefix_cache and requests["session"].isna().all() and (requests["choices"].fillna(1) == 1).all()
    problems = {
        "this run is not held against a projection": record is None,
        "the peak memory bandwidth is not known": hardware.peak_bandwidth is None,
        "not every request of the load completed": requests.empty or not (requests["status"] == "completed").all(),
        "the engine did not count the tokens of every request": not counted,
        "sessions, several choices and prefix caches are not compared": not plain,
        f"its answers have more than {MOST_TOKENS:,} tokens": requests["output_tokens"].sum() > MOST_TOKENS,
    }
    problem = next((problem for problem, given in problems.items() if given), "")
    if not problem and record is not None and requests["input_tokens"].sum() > MOST_STEPS * record.limits.step_tokens:
        return f"its prompts fill more than {MOST_STEPS:,} steps"
    return problem


def _projected(
    requests: pd.DataFrame,
    record: ProjectionRecord,
    spec: ModelSpec,
    hardware: HardwareProfile,
    activations: str,
    concurrency: int | None,
) -> dict[str, Metric]:
    """The metrics of the same load, projected."""
    sent = requests.sort_values(["scheduled_ns", "request"])
    due = sent["scheduled_ns"].to_numpy(np.int64)
    load = Requests(
        input_tokens=sent["input_tokens"].to_numpy(np.int64),
        output_tokens=sent["output_tokens"].to_numpy(np.int64),
        arrivals=None if concurrency is not None else (due - due[0]) * 1e-9,
        concurrency=concurrency or 1,
    )
    model = WorkModel(record.deployment(spec, hardware, activations))
    tables = answer_tables(simulate(model, record.coefficients, load, record.limits), load)
    made, chunks = (tables[name].to_pandas() for name in ("requests.parquet", "chunks.parquet"))
    window = steady_state(made, concurrency)
    return latencies(made, chunks) | throughput(made, chunks, window, record.split.devices)


def _ratio(projected: Metric | None, found: Metric, problem: str) -> Metric:
    if problem or projected is None:
        return absent("1", problem)
    if not found.value:
        return absent("1", found.reason or "the measured value is 0")
    if projected.value is None:
        return absent("1", projected.reason or "")
    return measured(projected.value / found.value, "1", found.n or 0)
