"""Figures that others have published, and what the projection says of their configurations, as rows."""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from moecap.metrics.value import Metric
from moecap.projection.validation import validate_points
from moecap_leaderboard.figures import FigureModel, FiguresRecord, FigureWorkload

__all__ = ["imported_figures", "projected_figures"]

Point = Mapping[str, Any]

_NAMES = {
    "ttft": ("ttft", "s", 1e-3),
    "tpot": ("tpot", "s", 1e-3),
    "itl_median": ("itl.p50", "s", 1e-3),
    "output_throughput": ("output_tokens_per_second", "tokens/s", 1.0),
    "gpu_power_avg_sum": ("energy.mean_power", "W", 1.0),
    "energy_per_output_token": ("energy_per_output_token", "J/token", 1.0),
    "prefill_speed": ("input_tokens_per_second", "tokens/s", 1.0),
    "decode_speed": ("output_tokens_per_second", "tokens/s", 1.0),
}
"""Name and unit here of each metric of the published rows, and the factor from their unit."""

_SHARED = (
    "row_id",
    "date",
    "model",
    "hardware",
    "gpus",
    "engine",
    "precision",
    "isl",
    "osl",
    "concurrency",
    "parallel",
)
"""What the figures of one row share, beside their source and their task."""

_ENGINES = {
    "vllm": "vllm",
    "sglang": "sglang",
    "trtllm": "trtllm",
    "tensorrt-llm": "trtllm",
    "ktransformers": "ktransformers",
}

_PROJECTED = "projected by moecap's model of hardware and engines; nothing was measured; configuration of: "


def imported_figures(points: Iterable[Point]) -> list[FiguresRecord]:
    """Published rows, those of one configuration and source together.

    Args:
        points: Rows of a file of published points.
    """
    return [_record("imported", rows, [_published(row) for row in rows]) for rows in _together(points)]


def projected_figures(points: Sequence[Point]) -> list[FiguresRecord]:
    """What is projected for the configurations of published rows, as far as it can be, with 80 % intervals.

    Args:
        points: The rows.
    """
    with tempfile.TemporaryDirectory(prefix="moecap-points-") as folder:
        path = Path(folder) / "points.json"
        path.write_text(json.dumps({"points": list(points)}), encoding="utf-8")
        found = validate_points(path)
    numbers = zip(found.points, found.projected.tolist(), found.low.tolist(), found.high.tolist(), strict=True)
    values = {
        point.id: Metric(value=value, unit=_NAMES[point.metric][1], low=low, high=high, basis="prediction")
        for point, value, low, high in numbers
    }
    known = [row for row in points if row["id"] in values]
    return [_record("projected", rows, [values[row["id"]] for row in rows]) for rows in _together(known)]


def _together(points: Iterable[Point]) -> list[list[Point]]:
    """Rows of one configuration, the oldest date first; a metric that comes again begins another row."""
    groups: dict[tuple[Any, ...], list[Point]] = defaultdict(list)
    for row in points:
        key = (*(row.get(name) for name in (*_SHARED, "task", "source", "batching")),)
        again = sum(other["metric"] == row["metric"] for other in groups[(*key, 0)])
        groups[(*key, again)].append(row)
    return sorted((rows for rows in groups.values() if rows), key=lambda rows: str(rows[0].get("date") or ""))


def _published(row: Point) -> Metric:
    _, unit, factor = _NAMES[row["metric"]]
    return Metric(value=row["value"] * factor, unit=unit)


def _record(kind: Literal["imported", "projected"], rows: Sequence[Point], values: Sequence[Metric]) -> FiguresRecord:
    first = rows[0]
    engine = str(first["engine"])
    word = re.split(r"[ (]", engine.lower())[0]
    note = [str(first[name]) for name in ("note", "batching") if first.get(name)]
    if first.get("task"):
        note.append(f"questions of {first['task']}")
    return FiguresRecord(
        kind=kind,
        model=FigureModel(id=str(first["model"]), name=str(first["model"]).rpartition("/")[2]),
        hardware=str(first["hw_id"]),
        hardware_name=str(first["hardware"]),
        devices=int(first["gpus"]),
        engine=_ENGINES.get(word, word),
        engine_version=engine,
        precision=str(first["precision"]),
        parallel=first.get("parallel"),
        workload=FigureWorkload(
            load="closed" if first.get("concurrency") else None,
            concurrency=_whole(first.get("concurrency")),
            input_len=_whole(first.get("isl")),
            output_len=_whole(first.get("osl")),
        ),
        metrics={_NAMES[row["metric"]][0]: value for row, value in zip(rows, values, strict=True)},
        source=(_PROJECTED if kind == "projected" else "") + str(first["source"]),
        date=first.get("date"),
        notes=tuple(note),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
