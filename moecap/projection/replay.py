"""The files of a projected run against a second simulation of its load, which has to give the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from moecap.observations.reader import Observations, Ragged
from moecap.projection.deployment import Deployment
from moecap.projection.record import ProjectionRecord
from moecap.projection.requests import Requests
from moecap.projection.simulation import simulate
from moecap.projection.trace import observation_tables
from moecap.projection.work import WorkModel

__all__ = ["replay_pairs"]

Floats = npt.NDArray[np.float64]

TOLERANCE_NS = 100
"""Nanoseconds by which times may differ, since processors round the last digit of a power differently."""

COLUMNS = {
    "requests.parquet": ("sent_ns", "first_token_ns", "last_token_ns", "cached_tokens", "recomputed_tokens"),
    "chunks.parquet": ("request", "time_ns", "tokens"),
}
STEPS = ("start_ns", "duration_ns", "seq_request", "seq_start", "seq_new", "seq_phase", "logits_tokens")
STEPS_WITHIN_ONE = "distinct_experts"


def replay_pairs(
    observations: Observations, record: ProjectionRecord, deployment: Deployment, concurrency: int | None
) -> dict[str, tuple[int | None, int | None]]:
    """The first value of each column that a projection stores with what the simulation gives there, where they differ.

    Args:
        observations: What the run directory holds; no prefix cache served its prompts.
        record: What the projection rests on.
        deployment: What was projected.
        concurrency: Requests or sessions in flight; ``None`` for an open loop.
    """
    requests = observations.requests.sort_values("request")
    load = _load(requests, concurrency)
    if short := _sizes(observations, load, record.limits.over(deployment.parallelism.data).step_tokens):
        return short
    found = observation_tables(
        simulate(WorkModel(deployment), record.coefficients, load, record.limits),
        load,
        deployment.spec,
        record.routing,
    )
    stored: dict[str, dict[str, Any]] = {
        "requests.parquet": {name: requests[name].to_numpy() for name in COLUMNS["requests.parquet"]},
        "chunks.parquet": {name: observations.chunks[name].to_numpy() for name in COLUMNS["chunks.parquet"]},
        "steps.parquet": {name: getattr(observations.steps, name) for name in (*STEPS, STEPS_WITHIN_ONE)},
    }
    return {
        f"{file}.{name}": pair
        for file, columns in stored.items()
        for name, values in columns.items()
        if (pair := _first_other(values, found[file][name], _allowed(name))) is not None
    }


def _sizes(observations: Observations, load: Requests, step_tokens: int) -> dict[str, tuple[int | None, int | None]]:
    """Numbers of rows that cannot be; a load is served again only where its files are as long as its serving takes."""
    answers, steps = int(load.output_tokens.sum()), -(-int(load.prompts.sum()) // step_tokens)
    if len(observations.chunks) != answers:
        return {"chunks.parquet.tokens": (len(observations.chunks), answers)}
    if len(observations.steps) < steps:
        return {"steps.parquet.seq_new": (len(observations.steps), steps)}
    return {}


def _allowed(name: str) -> int:
    """By how much a stored number may differ."""
    if name.endswith("_ns"):
        return TOLERANCE_NS
    return int(name == STEPS_WITHIN_ONE)


def _load(requests: pd.DataFrame, concurrency: int | None) -> Requests:
    """The load that the requests of a projection, in their order, were."""
    prompts, answers = (requests[f"{way}_tokens"].to_numpy(np.int64) for way in ("input", "output"))
    new, sessions, waits = prompts.copy(), None, None
    first = np.ones(len(prompts), bool)
    if requests["session"].notna().all():
        sessions = requests["session"].to_numpy(np.int64)
        waits = requests["wait_ns"].to_numpy(np.int64) * 1e-9
        first = requests["turn"].to_numpy(np.int64) == 0
        new[~first] -= (prompts + answers)[np.flatnonzero(~first) - 1]
    arrivals = None if concurrency is not None else requests["sent_ns"].to_numpy(np.int64)[first] * 1e-9
    return Requests(
        input_tokens=new,
        output_tokens=answers,
        arrivals=arrivals,
        concurrency=concurrency or 1,
        sessions=sessions,
        waits=waits,
    )


def _first_other(stored: Any, found: pa.ChunkedArray, allowed: int) -> tuple[int | None, int | None] | None:
    """The first stored value that differs from what was found; the numbers of values where those differ."""
    values, again = _flat(stored), _column(found)
    if len(values) != len(again):
        return len(values), len(again)
    other = np.flatnonzero(~(np.abs(values - again) <= allowed))
    if not len(other):
        return None
    here = values[other[0]]
    return None if np.isnan(here) else int(here), int(again[other[0]])


def _flat(stored: Any) -> Floats:
    """The values of a column; of one of lists their lengths before them."""
    if isinstance(stored, Ragged):
        stored = np.concatenate([stored.lengths(), stored.values])
    return np.asarray(stored, np.float64)


def _column(found: pa.ChunkedArray) -> Floats:
    """The same of a table's."""
    whole = found.combine_chunks()
    if pa.types.is_list(whole.type):
        whole = np.concatenate([np.diff(whole.offsets), np.asarray(whole.flatten())])
    return np.asarray(whole, np.float64)
