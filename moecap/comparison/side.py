"""One side of a comparison: what a result says of itself, and what its observations add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moecap.metrics.difference import Spread
from moecap.metrics.repeats import split
from moecap.metrics.routing_source import SeenSteps
from moecap.metrics.steps import StepWork, step_work
from moecap.metrics.summary import RunFacts, phase_masks
from moecap.metrics.value import Metric
from moecap.metrics.window import steady_state
from moecap.metrics.within_run import LoadInTime, Sums, joined, spreads
from moecap.report.figures import TIMES
from moecap.report.reported_run import ReportedRun, read_run
from moecap.result import Flag, Result

__all__ = ["Side", "read_side"]

LOAD = (
    *("load", "concurrency", "rate", "arrival", "rate_start", "trace_speed", "burstiness"),
    *("lengths", "input_len", "output_len", "length_spread", "shared_prefix_len", "preset"),
    *("turns", "turn_wait", "n", "natural_end", "stop", "temperature", "top_p", "allow_prefix_cache"),
)
"""Settings that make another load; the number of requests, the seed and the repeats do not."""

VOCABULARY = ("vocab_size", "bos_token_id", "eos_token_id")
"""What a model's configuration says of its tokenizer."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side.

    Attributes:
        name: Its path as it was given.
        title: What ran on what.
        kind: ``measured``, ``projected`` or ``imported``.
        status: How the run ended.
        id: Identity of the result.
        metrics: Its metrics.
        flags: Remarks on its validity.
        about: What it is, by name, in words.
        load: Its load, by name, in words; two that differ are of different workloads.
        model: Id of the model.
        vocabulary: What is known of the tokenizer, by name; ``None`` where nothing is.
        spreads: Within-run spreads of metrics, or why there is none.
        values: Latencies of the completed requests in seconds, by name.
        scores: Scores of items by task and item.
        problem: Why there are no observations; empty where there are.
    """

    name: str
    title: str
    kind: str
    status: str
    id: str
    metrics: Mapping[str, Metric]
    flags: tuple[Flag, ...]
    about: Mapping[str, str]
    load: Mapping[str, str]
    model: str | None
    vocabulary: Mapping[str, str] | None
    spreads: Mapping[str, Spread | str] = field(default_factory=dict)
    values: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    problem: str = ""


def read_side(path: Path) -> Side:
    """Read a run directory, or the result file in one.

    Raises:
        BadInputError: If there is no readable result.
    """
    run = read_run(path)
    result, evidence = run.result, run.evidence
    seen = {} if evidence is None else _spreads(evidence.seen, evidence.facts, result)
    return Side(
        name=str(path),
        title=run.title,
        kind=result.kind,
        status=result.status if result.reason is None else f"{result.status}: {result.reason}",
        id=result.id,
        metrics=result.metrics,
        flags=result.flags,
        about=_about(result),
        load=_load(result),
        model=result.model.id,
        vocabulary={name: str(result.model.config.get(name)) for name in VOCABULARY},
        spreads=seen,
        values={} if evidence is None else evidence.latencies,
        scores=_scores(run),
        problem=run.problem,
    )


def _about(result: Result) -> dict[str, str]:
    hardware, model = result.hardware, result.model
    rent = "not known" if hardware.usd_per_hour is None else f"${hardware.usd_per_hour:g}"
    return {
        "model": model.id,
        "revision": model.revision or "not stated",
        "weights": model.weight_dtype,
        "KV cache": model.kv_dtype,
        "hardware": f"{hardware.count} {TIMES} {hardware.name}" if hardware.count > 1 else hardware.name,
        "rent of one device an hour": rent,
        "engine": result.engine,
        "engine arguments": ", ".join(result.workload.engine_arg) or "none",
        "tensor parallel": str(result.workload.tensor_parallel or 1),
        "requests": f"{result.workload.num_requests:,}",
        "repeats": str(result.workload.repeats),
        "seed": str(result.workload.seed),
        "moecap": result.provenance.moecap,
    }


def _load(result: Result) -> dict[str, str]:
    """The load in words; lengths that a data set gives are those of its file."""
    workload = result.workload
    stated = workload.model_dump(mode="json", include=set(LOAD))
    said: dict[str, Any] = {"load": workload.load} | {name: stated[name] for name in LOAD if name in stated}
    if workload.load == "open":
        del said["concurrency"]
    if workload.lengths == "data" or workload.dataset == "tasks":
        said = {name: value for name, value in said.items() if name not in ("input_len", "turns", "preset")}
    said["dataset"] = workload.dataset_sha256 or workload.dataset
    if workload.dataset == "tasks":
        said["dataset"] = ", ".join(f"{t.name} {(t.prompts_sha256 or '')[:12]}" for t in result.tasks if t.in_load)
    return {name: "none" if value in (None, []) else str(value) for name, value in said.items()}


def _scores(run: ReportedRun) -> dict[str, dict[str, dict[str, float]]]:
    """Scores of each item by task with the digest of what it asked, so that only the same items are the same."""
    if run.evidence is None:
        return {}
    versions = {task.name: f"{task.name} {task.version}" for task in run.result.tasks}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for sample in run.evidence.observations.samples:
        if sample.get("id") is None or not isinstance(sample.get("scores"), dict):
            continue
        item = f"{versions.get(sample['task'])}: {sample['id']}: {sample.get('prompt')}"
        for name, score in sample["scores"].items():
            task = f"accuracy.{sample['task']}" + ("" if name == "accuracy" else f"_{name}")
            found.setdefault(task, {}).setdefault(item, {})[name] = float(score)
    return found


def _spreads(seen: SeenSteps, facts: RunFacts, result: Result) -> dict[str, Spread | str]:
    """Within-run spreads; of several repeats that of their mean."""
    if facts.projected:
        return {}
    parts = split(seen, facts.repeats, facts.num_requests)
    each = []
    for number, part in enumerate(parts):
        observations = part.observations
        requests = observations.requests[observations.requests["stage"] == "load"]
        window = steady_state(requests, facts.concurrency, static=facts.static)
        work = step_work(facts.spec, observations.steps, facts.parallelism, facts.compute_dtype)
        sums = _step_sums(part, work, window) | _energy(part, window)
        of = result.metrics
        if len(parts) > 1:
            of = {
                name: metric.model_copy(update={"value": metric.repeats[number]})
                for name, metric in of.items()
                if metric.repeats is not None and len(metric.repeats) == len(parts)
            }
        each.append(spreads(LoadInTime(requests, observations.chunks, window, sums), of))
    return joined(each) if len(each) > 1 else dict(each[0])


def _step_sums(seen: SeenSteps, work: StepWork, window: tuple[int, int] | None) -> dict[str, Sums]:
    """Utilisation of each phase: what its steps had to do, over their time."""
    steps = seen.observations.steps
    found: dict[str, Sums] = {}
    amounts = {"s_mfu": work.flops, "mfu": work.dense_flops, "mbu": work.dense_bytes}
    if work.bytes is not None and work.paper_bytes is not None:
        total = work.bytes.total()
        amounts |= {"s_mbu": total, "s_mbu_probed": total, "s_mbu_paper": work.paper_bytes}
    for phase, mask in phase_masks(seen.observations, work, window).items():
        if phase == "score" or not mask.any():
            continue
        when, lasted = steps.start_ns[mask], steps.duration_ns[mask].astype(np.float64)
        found |= {f"{phase}.{name}": Sums(when, amount[mask], when, lasted) for name, amount in amounts.items()}
    return found


def _energy(seen: SeenSteps, window: tuple[int, int] | None) -> dict[str, Sums]:
    """Joules of the device's counter over the output tokens of the steady state."""
    telemetry = seen.observations.telemetry.dropna(subset=["energy_joules"])
    if window is None or len(telemetry) < 2:
        return {}
    when = telemetry["time_ns"].to_numpy(np.int64)
    joules = np.diff(telemetry["energy_joules"].to_numpy(np.float64))
    chunks = seen.observations.chunks
    bearing = chunks[chunks["kind"].isin(("content", "reasoning"))].sort_values(["request", "time_ns"], kind="stable")
    if bearing["tokens"].isna().any():
        return {}
    gained = bearing["tokens"] - bearing.groupby("request")["tokens"].shift(fill_value=0)
    tokens = bearing["time_ns"].to_numpy(np.int64), gained.to_numpy(np.float64)
    middle = (when[1:] + when[:-1]) // 2
    return {"energy_per_output_token": Sums(middle, joules, *tokens)}
