"""Published results as points to hold the projection against: what each row means as a deployment and a load.

A file holds ``points``, rows with ``id, model, hw_id, gpus, engine, precision, parallel, isl, osl, concurrency, metric,
value`` and optionally ``task, date, group, note, split``. What a row leaves open is filled by rules that are written
here, and a row that no rule can fill is named with the reason, never dropped in silence.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from moecap.errors import BadInputError, MoecapError
from moecap.hardware.registry import load_profile
from moecap.models.parallelism import Parallelism
from moecap.models.reading import read_model
from moecap.models.registry import load_model_config
from moecap.models.spec import ModelSpec
from moecap.projection.coefficients import engine_family, generation
from moecap.projection.deployment import Deployment

__all__ = ["METRICS", "Point", "Skipped", "read_points", "resolve"]

METRICS = {
    "ttft": 1e-3,
    "tpot": 1e-3,
    "itl_median": 1e-3,
    "output_throughput": 1.0,
    "gpu_power_avg_sum": 1.0,
    "energy_per_output_token": 1.0,
}
"""What the projection answers, by the names that the rows use, with what turns their unit into an SI unit: times are in
ms, rates in tokens/s of all devices, power in watts of all devices, energy in joules."""

TASK_INPUTS = {"gpqa": 250.0, "lm-arena-chat": 300.0, "sourcegraph-fim": 1000.0}
"""Prompt tokens of tasks whose rows publish none: assumed, from the length of such questions, chats and files."""

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

_NAMES = {
    "mixtral-8x22b": "mixtral-8x22b",
    "minimax-m2.5": "minimax-m2.5",
    "qwen3-235b-a22b": "qwen3-235b-a22b",
    "qwen3-235b-a22b-fp8": "qwen3-235b-a22b",
    "qwen3-30b-a3b": "qwen3-30b-a3b",
    "qwen3-coder-30b-a3b-instruct": "qwen3-30b-a3b",
    "gpt-oss-120b": "gpt-oss-120b",
    "gpt-oss-20b": "gpt-oss-20b",
    "llama-4-scout-17b-16e": "llama-4-scout",
    "llama-4-scout-17b-16e-instruct": "llama-4-scout",
    "llama-4-maverick-17b-128e": "llama-4-maverick",
    "deepseek-v3": "deepseek-v3",
}

_KEPT_WIDE = ["lm_head", "router", "*.mlp.gate", "*.block_sparse_moe.gate"]
_FP8 = {"quant_method": "modelopt", "quant_algo": "FP8", "exclude_modules": _KEPT_WIDE}
_FP8_BLOCK = {"quant_method": "fp8", "weight_block_size": [128, 128]}
_FP4 = {"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": _KEPT_WIDE}


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
        sequences: Most sequences at once that the row says the engine was given; 0 where it does not say.
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
        table = json.loads(path.read_text(encoding="utf-8"))
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
    if "+" in str(row.get("hardware", "")):
        return Skipped(name, "experts on the host's processors are not projected")
    value = float(row["value"])
    if not 0 < value < math.inf:
        return Skipped(name, "the published value is not above 0, or is infinite")
    drawn = "RANDOM_RANGE_RATIO" in str(row.get("note") or "") and row.get("date") is not None
    nominal = _NOMINAL if drawn else 1.0
    task = row.get("task")
    given, made = row.get("isl"), row.get("osl")
    if given is None and task in TASK_INPUTS:
        given = TASK_INPUTS[str(task)]
    if given is None or made is None:
        return Skipped(name, "the row has no length of prompts or answers")
    given, made = float(given), float(made)
    engine, group = str(row["engine"]), str(row.get("group") or "")
    deployment = _deployment(
        str(row["model"]),
        str(row["hw_id"]),
        engine_family(_versioned(engine)),
        str(row["precision"]),
        str(row.get("parallel") or ""),
        int(row["gpus"]),
        group,
    )
    concurrency = row.get("concurrency")
    together = concurrency is None
    if together and group.startswith("trtllm-"):
        concurrency = BENCH_REQUESTS.get((round(given), round(made)))
    at_once = math.inf if concurrency is None else float(concurrency)
    if not (given >= 1 and made >= 1 and at_once > 0):
        return Skipped(name, "the row has no token in or out, or no request in flight")
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
        sequences=int(row.get("max_num_seqs") or 0),
    )


def _versioned(engine: str) -> str:
    """An engine with the version that it must have had, where the row gives none.

    InferenceMAX's rows without a version, of November 2025, are of an older vLLM that was told ``async-scheduling``: it
    schedules as the newer family does.
    """
    return "vllm 0.11" if "ML.ENERGY v3" in engine else engine


@lru_cache(maxsize=512)
def _deployment(
    model: str, hardware: str, family: str, precision: str, parallel: str, devices: int, group: str
) -> Deployment:
    split, profile = _parallelism(parallel, devices), load_profile(hardware)
    if family == "trtllm" and group.startswith("trtllm-"):
        split = _replicated(split)
    # InferenceMAX's script for MiniMax-M2.5 on H200 turns expert parallelism on also where the field says EP 1; its
    # experts, 1,536 wide, would not be whole blocks of 128 over 8 ranks.
    if group == "inferencemax" and family == "vllm" and "minimax-m2.5" in model.lower():
        split = replace(split, expert=split.tensor)
    # InferenceMAX's scripts for gpt-oss on vLLM ask for kv-cache-dtype: fp8 on Blackwell; those on Hopper do not.
    blackwell = generation(profile) == "Blackwell"
    narrow = group == "inferencemax" and family == "vllm" and blackwell and "gpt-oss" in model.lower()
    spec = _spec(model, precision, family, narrow)
    split.check(spec)
    return Deployment(spec, profile, split, family)


def _replicated(split: Parallelism) -> Parallelism:
    """The split of NVIDIA's tables of TensorRT-LLM 1.0, whose columns name the ranks alone.

    Their page gives all mixtures ``enable_attention_dp`` and ``--ep``: a replica of everything but the routed experts
    on each rank. It names no number for ``--ep``; all ranks are assumed.
    """
    ranks = split.tensor
    return Parallelism(expert=ranks, pipeline=split.pipeline, data=ranks, whole_replicas=ranks > 1)


def _parallelism(text: str, devices: int) -> Parallelism:
    """The split that a row describes: ``TP4 attnDP1 moeTP2 EP2 PP1``, ``TP8``, ``tp=1 ep=4 dp=1``."""
    if not text:
        return Parallelism(tensor=devices)
    numbers = {key.lower(): int(n) for key, n in re.findall(r"(attnDP|moeTP|TP|EP|PP|tp|ep|dp)=?(\d+)", text)}
    expert, pipeline = numbers.get("ep", 1), numbers.get("pp", 1)
    data = numbers.get("attndp", numbers.get("dp", 1))
    tensor = numbers.get("tp", devices)
    if "leaderboard" in text:
        tensor = max(tensor, expert)
    split = Parallelism(tensor=tensor, expert=expert, pipeline=pipeline, data=data)
    if split.devices != devices:
        raise BadInputError(f"{text!r} is a split over {split.devices} devices and the row has {devices}; mend the row")
    return split


@lru_cache(maxsize=128)
def _spec(model: str, precision: str, family: str, narrow_cache: bool) -> ModelSpec:
    short = model.rsplit("/", maxsplit=1)[-1].lower()
    config, ref = load_model_config(_NAMES.get(short, short))
    first = precision.lower().split(" ")[0]
    quantised = bool(config.get("quantization_config"))
    narrow_cache |= family.startswith("trtllm") and first in ("fp8", "fp4") and not quantised
    cache = "fp8" if narrow_cache else None
    if first in ("bfloat16", "bf16", "fp16", "float16"):
        return read_model(config, ref.id, weights="bf16", kv=cache)
    if quantised and first in ("fp8", "mxfp4", "fp4"):
        return read_model(config, ref.id, kv=cache)
    added = {"fp8": _FP8_BLOCK if "block" in precision else _FP8, "fp4": _FP4, "nvfp4": _FP4}.get(first)
    if added is None:
        raise BadInputError(f"no rule for precision {precision!r}; known: bf16, fp16, fp8, fp4, mxfp4")
    return read_model({**config, "quantization_config": added}, ref.id, kv=cache)
