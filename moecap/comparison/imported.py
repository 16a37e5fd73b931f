"""An imported result as a side of a comparison."""

from __future__ import annotations

from pathlib import Path

from moecap.comparison.side import Side
from moecap.errors import MoecapError
from moecap.importing.metrics import load_window
from moecap.importing.record import ImportedResult, read_imported
from moecap.metrics.latency import token_latencies
from moecap.metrics.within_run import LoadInTime, spreads
from moecap.observations.reader import Observations, read_observations

__all__ = ["imported_side"]


def imported_side(path: Path) -> Side:
    """Read the run directory of an import, or the result file in it.

    Raises:
        BadInputError: If there is no readable result.
    """
    result = read_imported(path)
    seen, problem = _observed(result, path if path.is_dir() else path.parent)
    load = result.workload
    found, values = {}, {}
    if seen is not None:
        window = load_window(seen, load.load)
        recomputed = {name: result.metrics[name] for name in result.recomputed}
        found = spreads(LoadInTime(seen.requests, seen.chunks, window), recomputed)
        values = token_latencies(seen.requests, seen.chunks)
    stated = {name: value for name, value in load.model_dump(mode="json").items() if name != "num_requests"}
    return Side(
        name=str(path),
        title=result.title,
        kind=result.kind,
        status=result.status,
        id=result.id,
        metrics=result.metrics,
        flags=result.flags,
        about={
            "engine": result.engine,
            "model": result.model.id or "not stated",
            "weights": result.model.precision or "not stated",
            "hardware": result.hardware.id or "not stated",
            "devices": str(result.hardware.count or "not stated"),
            "requests": str(load.num_requests or "not stated"),
            "tool": " ".join((result.source.tool, result.source.version or "")).rstrip(),
            "moecap": result.moecap,
        },
        load={"tool": result.source.tool} | {name: "not stated" if v is None else str(v) for name, v in stated.items()},
        model=result.model.id,
        vocabulary=None,
        spreads=found,
        values=values,
        problem=problem,
    )


def _observed(result: ImportedResult, directory: Path) -> tuple[Observations | None, str]:
    if not result.observations:
        return None, result.missing.get("observations", "none were imported")
    try:
        return read_observations(directory), ""
    except MoecapError as error:
        return None, str(error)
