"""Published results as points to hold the projection against: what each row means as a deployment and a load.

A file holds ``points``, rows with ``id, model, hw_id, gpus, engine, precision, parallel, isl, osl, concurrency, metric,
value`` and optionally ``task, date, group, note, split``. What a row leaves open is filled by rules that are written
here, and a row that no rule can fill is named with the reason, never dropped in silence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.errors import BadInputError, MoecapError
from moecap.projection.bench_limits import TUNED_BENCH, tuned_limits
from moecap.projection.deployment import Deployment
from moecap.projection.published_deployment import Served, published_deployment
from moecap.strict_json import parse_json

__all__ = ["METRICS", "Point", "Skipped", "read_points", "resolve"]

METRICS = {
    "ttft": 1e-3,
    "tpot": 1e-3,
    "itl_median": 1e-3,
    "output_throughput": 1.0,
    "gpu_power_avg_sum": 1.0,
    "energy_per_output_token": 1.0,
    "prefill_speed": 1.0,
    "decode_speed": 1.0,
}
"""What the projection answers, by the names that the rows use, with what turns their unit into an SI unit: times are in
ms, rates in tokens/s of all devices, power in watts of all devices, energy in joules. Of one request, the speed of
prefill is its prompt's tokens over the time to the first token, and that of decode is 1 / TPOT."""

TASK_INPUTS = {"gpqa": 250.0, "lm-arena-chat": 650.0, "sourcegraph-fim": 1100.0}
"""Prompt tokens of tasks whose rows publish none. Of questions: assumed, from their length. Of chats and code: from
calibration rows whose batch stayed below the configured one because the cache was full (473 of 512 on four H100, 89 of
96 on one and 750 of 768 on two): with what weights and 2 to 4 GB of buffers leave of the memory, so many tokens fit."""

BENCH_REQUESTS = {
    (128, 128): 30_000,
    (128, 2048): 3000,
    (128, 4096): 1500,
    (500, 2000): 3000,
    (1000, 1000): 3000,
    (1000, 2000): 1500,
    (2048, 128): 3000,
    (2048, 2048): 1500,
    (5000, 500): 1500,
    (20_000, 2000): 1000,
}
"""Requests that NVIDIA's tables of TensorRT-LLM queue at once, by tokens of a prompt and of an answer (the table in
``docs/source/performance/perf-overview.md`` of the engine's repository, versions 0.14, 0.17 and 1.0)."""

_NOMINAL = 0.9
"""InferenceMAX draws lengths evenly from 0.8 to 1.0 of the nominal ones."""


@dataclass(frozen=True, slots=True)
class Point:
    """One published number that can be projected.

    Attributes:
        id: Its name in the file.
        model: The model as the row names it.
        engine: The engine as the row names it.
        split: ``calibration`` or ``validation``; empty where the file has no such mark.
        metric: One of :data:`METRICS`.
        value: The published number: seconds, tokens a second, watts or joules.
        deployment: What was served.
        concurrency: Requests in flight; at maximum load all that the run has, infinite where it does not say.
        input_tokens: Mean tokens of a prompt.
        output_tokens: Mean tokens of an answer.
        burst: Share of the requests that arrive together at the start.
        together: Whether the requests in flight are all that there are, queued at once (maximum load).
        sequences: Most sequences at once that the engine was given; 0 where that is not known.
        step_tokens: Most tokens in a step that it was given; 0 where that is not known.
    """

    id: str
    model: str
    engine: str
    split: str
    metric: str
    value: float
    deployment: Deployment
    concurrency: float
    input_tokens: float
    output_tokens: float
    burst: float
    together: bool = False
    sequences: int = 0
    step_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that cannot be projected, and why."""

    id: str
    reason: str


def read_points(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of published points.

    Raises:
        BadInputError: If it is no such file.
    """
    try:
        if path.exists() and not path.is_file():
            raise BadInputError(f"the points {str(path)!r} are no plain file; give a file of published points")
        table = parse_json(path.read_bytes())
    except OSError as error:
        raise BadInputError(f"cannot read the points {str(path)!r}: {error.strerror}; check the path") from None
    except ValueError as error:
        raise BadInputError(f"{str(path)!r} is no JSON: {error}; give a file of published points") from None
    rows = table.get("points") if isinstance(table, dict) else table
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInputError(f"{str(path)!r} has no list of points; give a file with a key points")
    return rows


def resolve(row: Mapping[str, Any]) -> Point | Skipped:
    """What a row means, or why it cannot be projected."""
    name = str(row.get("id", "?"))
    try:
        return _point(name, row)
    except MoecapError as error:
        return Skipped(name, str(error))
    except (KeyError, TypeError, ValueError) as error:
        return Skipped(name, f"the row lacks or misstates {error}")


def _point(name: str, row: Mapping[str, Any]) -> Point | Skipped:
    metric = str(row["metric"])
    if metric not in METRICS:
        return Skipped(name, f"{metric} is not projected")
    value = float(row["value"])
    if not 0 < value < math.inf:
        return Skipped(name, "the published value is not above 0, or is infinite")
    drawn = "RANDOM_RANGE_RATIO" in str(row.get("note") or "") and row.get("date") is not None
    nominal = _NOMINAL if drawn else 1.0
    task = row.get("task")
    given, made = row.get("isl"), row.get("osl")
    if given is None and task in TASK_INPUTS:
        given = TASK_INPUTS[str(task)]
    if made is None and metric in ("prefill_speed", "decode_speed"):
        made = 1.0  # such rows time a phase: the context of decoding is then the prompt's
    if given is None or made is None:
        return Skipped(name, "the row has no length of prompts or answers")
    given, made = float(given), float(made)
    engine, group = str(row["engine"]), str(row.get("group") or "")
    deployment = published_deployment(
        Served(
            model=str(row["model"]),
            hardware=str(row["hw_id"]),
            machine=str(row.get("hardware") or ""),
            engine=engine,
            precision=str(row["precision"]),
            parallel=str(row.get("parallel") or ""),
            devices=int(row["gpus"]),
            group=group,
        )
    )
    concurrency = row.get("concurrency")
    together = concurrency is None
    if together and group.startswith("trtllm-"):
        concurrency = BENCH_REQUESTS.get((round(given), round(made)))
    at_once = math.inf if concurrency is None else float(concurrency)
    if not (given >= 1 and made >= 1 and at_once > 0):
        return Skipped(name, "the row has no token in or out, or no request in flight")
    given_sequences, step_tokens = int(row.get("max_num_seqs") or 0), 0
    if group in TUNED_BENCH:
        given_sequences, step_tokens = tuned_limits(deployment, given, made)
    return Point(
        id=name,
        model=str(row["model"]).split("/")[-1],
        engine=engine,
        split=str(row.get("split", "")),
        metric=metric,
        value=value * METRICS[metric],
        deployment=deployment,
        concurrency=at_once,
        input_tokens=given * nominal,
        output_tokens=made * nominal,
        burst=1.0 if group == "inferencemax" and not drawn else 0.1,
        together=together,
        sequences=given_sequences,
        step_tokens=step_tokens,
    )
