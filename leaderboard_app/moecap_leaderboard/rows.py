"""What of a result, or of figures, becomes columns, a summary and sort keys of a row."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from moecap.errors import BadInputError
from moecap.metrics.accuracy import is_score
from moecap.metrics.value import Metric
from moecap.result import Result
from moecap_leaderboard.families import family_of
from moecap_leaderboard.figures import FiguresRecord
from moecap_leaderboard.metrics import HEADLINES, is_sortable
from moecap_leaderboard.prices import COSTS, own_price

__all__ = ["Row", "configuration", "row_of_figures", "row_of_result", "setup", "tasks_text"]

_NOT_WORKLOAD = (
    *("model", "revision", "hw", "num_gpus", "precision", "backend"),  # as asked for; the row says what it was
    *("endpoint", "data", "output", "measured", "client_processes", "energy_source", "price", "cost"),
)
"""Settings of a run that do not change what is measured, or that the row states by what they came to."""

_MOST = 2**31 - 1
"""What a column of whole numbers takes."""

_CHANGED = "changes the model"
"""Begins the remark of a source that ran a model with fewer experts a token than it has."""

_BARRING = ("limited_tasks", "profile_from_file")
"""Flags that keep a row out of the main ranking, beside those of level ``invalid``."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row without its history.

    Attributes:
        columns: Values of the typed columns.
        summary: What lists show beside them.
        figures: Sort keys by name.
    """

    columns: dict[str, Any]
    summary: dict[str, Any]
    figures: dict[str, float]


def setup(result: Result) -> dict[str, Any]:
    """Model, formats, hardware, engine without its version, and workload: what a repeated run must share."""
    model, workload = result.model, result.workload.model_dump(mode="json")
    return {
        "model": [
            model.id,
            model.revision,
            model.weights_sha256,
            model.weight_dtype,
            model.kv_dtype,
            model.compute_dtype,
        ],
        "hardware": [result.hardware.id, result.hardware.count],
        "engine": [result.backend.name, result.backend.batching],
        "workload": {name: value for name, value in workload.items() if name not in _NOT_WORKLOAD},
    }


def configuration(content: Mapping[str, Any]) -> str:
    """16 digits that are the same for the same configuration."""
    return hashlib.sha256(rfc8785.dumps(dict(content))).hexdigest()[:16]


def row_of_result(
    result: Result, not_recomputed: Collection[str] = (), remarks: Collection[dict[str, str]] = ()
) -> Row:
    """The row of a result.

    Args:
        result: The result.
        not_recomputed: Metrics that are shown as stated; a measured row is not sorted by them.
        remarks: Flags that the leaderboard adds.
    """
    workload, model, aside = result.workload, result.model, set(not_recomputed)
    flags = [*(flag.model_dump(mode="json") for flag in result.flags), *remarks]
    if own := own_price(result):
        aside.update(COSTS)
        flags.append({"name": "own_price", "level": "info", "text": f"Costs are not compared: {own}."})
    barred = {flag["name"] for flag in flags if flag["level"] == "invalid" or flag["name"] in _BARRING}
    summary = {
        "model": {
            "id": model.id,
            "name": model.name,
            "revision": model.revision,
            "total_params": model.total_params,
            "active_params": model.active_params,
        },
        "hardware": {"id": result.hardware.id, "name": result.hardware.name, "count": result.hardware.count},
        "engine": {"name": result.backend.name, "version": result.backend.version},
        "precision": model.weight_dtype,
        "workload": {
            "load": workload.load,
            "concurrency": workload.concurrency if workload.load == "closed" else None,
            "rate": workload.rate,
            "input_len": workload.input_len,
            "output_len": workload.output_len,
            "num_requests": workload.num_requests,
            "dataset": workload.dataset,
            "tasks": list(workload.task),
            "tensor_parallel": workload.tensor_parallel,
        },
        "metrics": _shown(result.metrics),
        "flags": flags,
        "unranked_because": sorted(barred),
        "source": None,
    }
    version = {"version": result.backend.version}
    return _row(summary, result.metrics, aside, result.kind, configuration(setup(result) | version))


def row_of_figures(record: FiguresRecord) -> Row:
    """The row of figures of others or of projections; one of a changed model is in no ranking.

    Raises:
        BadInputError: If a number of its load is larger than its column takes.
    """
    changed = any(note.startswith(_CHANGED) for note in record.notes)
    name, level = ("model_changed", "warning") if changed else ("note", "info")
    summary = {
        "model": record.model.model_dump(mode="json"),
        "hardware": {"id": record.hardware, "name": record.hardware_name, "count": record.devices},
        "engine": {"name": record.engine, "version": record.engine_version},
        "precision": record.precision,
        "workload": record.workload.model_dump(mode="json"),
        "metrics": _shown(record.metrics),
        "flags": [{"name": name, "level": level, "text": note} for note in record.notes],
        "unranked_because": ["model_changed"] if changed else [],
        "source": record.source,
    }
    same = record.model_dump(mode="json", exclude={"metrics", "notes", "date", "model"}) | {"model": record.model.id}
    return _row(summary, record.metrics, (), record.kind, configuration(same))


def _row(summary: dict[str, Any], metrics: Mapping[str, Metric], aside: Collection[str], kind: str, config: str) -> Row:
    model, hardware, engine, workload = (summary[part] for part in ("model", "hardware", "engine", "workload"))
    names = (model["id"], model["name"], hardware["id"], hardware["name"], engine["name"], engine["version"])
    columns = {
        "kind": kind,
        "model": model["id"],
        "family": family_of(model["id"]),
        "hardware": hardware["id"],
        "devices": hardware["count"],
        "engine": engine["name"],
        "precision": summary["precision"],
        "concurrency": workload["concurrency"],
        "input_len": workload["input_len"],
        "output_len": workload["output_len"],
        "configuration": config,
        "names": " ".join(dict.fromkeys(names)).lower(),
        "tasks": tasks_text(workload["tasks"]),
        "ranked": not summary["unranked_because"],
    }
    for name in ("devices", "concurrency", "input_len", "output_len"):
        if not -_MOST <= (columns[name] or 0) <= _MOST:
            raise BadInputError(f"{name} is {columns[name]}; the leaderboard's column takes {_MOST} at most")
    figures = {
        name: metric.value
        for name, metric in metrics.items()
        if metric.value is not None and is_sortable(name) and name not in aside
    }
    return Row(columns, summary, figures)


def tasks_text(tasks: Collection[str]) -> str:
    """Names of tasks with a blank before and after each, so that one is found whole."""
    return "".join(f" {name}" for name in tasks) + (" " if tasks else "")


def _shown(metrics: Mapping[str, Metric]) -> dict[str, Any]:
    names = [headline.name for headline in HEADLINES if headline.name in metrics]
    names += [name for name in metrics if name.startswith(("accuracy.", "task.")) and is_score(name)]
    return {name: metrics[name].model_dump(mode="json") for name in names}
