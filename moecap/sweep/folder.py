"""The folder of a sweep: a run directory for each cell, which is also the only memory of what has finished.

FOLDER/hw-a100_concurrency-8-1a2b3c4d/     the cell's run directory
FOLDER/hw-a100_concurrency-8-1a2b3c4d~1/   an earlier attempt that failed or was interrupted
FOLDER/sweep.json, sweep.csv               what became of every cell, written anew after each
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from moecap.errors import BadInputError
from moecap.files import write_text
from moecap.metrics.accuracy import is_score
from moecap.result import Result, read_result
from moecap.sweep.grid import Cell, Sweep

__all__ = ["Outcome", "finished", "make_way", "taken", "write_outcomes"]

HEADLINES = (
    "ttft.p50",
    "ttft.p99",
    "tpot.p50",
    "tpot.p99",
    "e2e.p50",
    "output_tokens_per_second",
    "output_tokens_per_second_per_device",
    "requests_per_second",
    "failed_requests",
    "decode.s_mbu",
    "decode.s_mfu",
    "prefill.s_mfu",
    "experts.distinct_mean",
    "cost_per_million_output_tokens",
    "cost_per_million_tokens",
    "energy_per_output_token",
)
"""Metrics of a cell in the table of the sweep, before its accuracies."""

_LOCK = ".sweep.lock"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a cell.

    Attributes:
        status: ``complete``, ``failed``, ``interrupted``, ``refused`` (nothing was started) or ``open``.
        reason: Why it is not complete.
        result: Its result, where it left one.
    """

    status: str
    reason: str = ""
    result: Result | None = None


@contextmanager
def taken(sweep: Sweep, *, resume: bool) -> Iterator[None]:
    """Hold the folder, so that no second sweep works in it.

    Raises:
        BadInputError: If another one does, it cannot be made, or it has runs and the sweep is not to go on with them.
    """
    folder = sweep.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not resume and any(path.name != _LOCK for path in folder.iterdir()):
            raise BadInputError(f"{folder}: it has runs already; give --resume to go on there, or another output")
        lock = FileLock(folder / _LOCK)
        lock.acquire(blocking=False)
    except Timeout:
        raise BadInputError(f"{folder}: another sweep works there; wait for it, or name another output") from None
    except OSError as error:
        raise BadInputError(f"{folder}: cannot be used ({error.strerror}); name another output") from None
    try:
        yield
    finally:
        lock.release()


def finished(sweep: Sweep, cell: Cell) -> Outcome | None:
    """The outcome of a cell that is complete; ``None`` of one that is still to run."""
    try:
        result = read_result(sweep.folder / cell.name)
    except BadInputError:
        return None
    return Outcome("complete", "", result) if result.status == "complete" else None


def make_way(sweep: Sweep, cell: Cell) -> Path:
    """The free place of a cell's run directory; an attempt that did not end well is kept beside it."""
    place = sweep.folder / cell.name
    if place.is_dir() and any(place.iterdir()):
        number = 1
        while (aside := place.with_name(f"{place.name}~{number}")).exists():
            number += 1
        place.rename(aside)
    return place


def write_outcomes(sweep: Sweep, outcomes: Mapping[str, Outcome]) -> None:
    """Write ``sweep.json`` and ``sweep.csv``.

    Args:
        sweep: The sweep.
        outcomes: By the cell's name; cells that are not in it are open.
    """
    rows = [_row(cell, outcomes.get(cell.name, Outcome("open"))) for cell in sweep.cells]
    text = json.dumps({"cells": rows}, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(sweep.folder / "sweep.json", text + "\n")
    write_text(sweep.folder / "sweep.csv", _table(sweep.axes, rows))


def _row(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    result = outcome.result
    row: dict[str, Any] = {"run": cell.number, "name": cell.name, "settings": dict(cell.settings)}
    row |= {"status": outcome.status, "reason": outcome.reason}
    if result is None:
        return row | {"kind": None, "metrics": {}}
    named = [n for n in result.metrics if n.startswith(("accuracy.", "task.")) and is_score(n)]
    chosen = {n: result.metrics[n] for n in (*HEADLINES, *named) if n in result.metrics}
    metrics = {n: m.model_dump(mode="json") for n, m in chosen.items()}
    about = {"kind": result.kind, "id": result.id, "model": result.model.id, "engine": result.engine}
    hardware = {"hardware": result.hardware.id, "devices": result.hardware.count}
    return row | about | hardware | {"flags": [f.name for f in result.flags], "metrics": metrics}


def _table(axes: Iterable[str], rows: list[dict[str, Any]]) -> str:
    """The rows as CSV: one column a setting and a metric, the latter with its unit in the header."""
    units = {name: metric["unit"] for row in rows for name, metric in row["metrics"].items()}
    columns = [*axes]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    heads = [f"{name} ({unit})" if unit != "1" else name for name, unit in units.items()]
    writer.writerow(["run", *columns, "kind", "hardware", "devices", "engine", "status", "reason", *heads, "directory"])
    for row in rows:
        settings = [_text(row["settings"].get(name)) for name in columns]
        about = [row.get(key) for key in ("kind", "hardware", "devices", "engine", "status", "reason")]
        values = [row["metrics"].get(name, {}).get("value") for name in units]
        writer.writerow([row["run"], *settings, *about, *values, row["name"]])
    return file.getvalue()


def _text(value: object) -> object:
    return value if isinstance(value, str | int | float | None) else json.dumps(value, ensure_ascii=False)
