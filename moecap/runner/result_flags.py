"""The flags of a result, of whichever kind it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from moecap.config import RunConfig
from moecap.metrics.repeats import counted, split, whole_repeats
from moecap.metrics.routing_source import SeenSteps
from moecap.metrics.value import Metric
from moecap.projection.record import ProjectionRecord
from moecap.result import BackendRecord, Flag, HardwareRecord, ModelRecord, TaskRecord
from moecap.runner.flags import run_flags
from moecap.runner.projection_flags import projection_flags
from moecap.runner.served_flags import queue_flags

__all__ = ["result_flags"]


def result_flags(
    workload: RunConfig,
    model: ModelRecord,
    hardware: HardwareRecord,
    backend: BackendRecord,
    tasks: Sequence[TaskRecord],
    metrics: dict[str, Metric],
    seen: SeenSteps,
    projection: ProjectionRecord | None,
) -> tuple[Flag, ...]:
    """The flags that follow from what a run directory holds.

    Args:
        workload: The configuration, as the result states it.
        model: The model.
        hardware: The hardware.
        backend: The engine.
        tasks: The accuracy tasks.
        metrics: The run's metrics.
        seen: What was observed, with the steps of the load.
        projection: What a projection rests on; ``None`` for a run that was measured.
    """
    if projection is not None:
        return tuple(projection_flags(workload, model, hardware, projection, metrics, seen.observations))
    repeats = (seen, workload.repeats, workload.num_requests)
    of_run = run_flags(workload, model, hardware, backend, metrics, counted(*repeats), tasks)
    queues = [queue_flags(part.observations.requests) for part in split(*repeats)] if workload.load == "open" else []
    return (
        *repeat_flags(workload, seen.observations.requests),
        *of_run,
        *dict.fromkeys(flag for flags in queues for flag in flags),
    )


def repeat_flags(workload: RunConfig, requests: pd.DataFrame) -> Iterator[Flag]:
    """A flag where a run ended before all repeats of its load were measured.

    Args:
        workload: The configuration.
        requests: All requests of the run.
    """
    if workload.repeats == 1:
        return
    whole = whole_repeats(requests, workload.num_requests)
    if len(whole) < workload.repeats:
        rest = "the numbers are theirs" if whole else "the numbers are those of the first, as far as it was measured"
        yield Flag(
            name="repeats_incomplete",
            level="warning",
            text=f"{len(whole)} of {workload.repeats} repeats of the load are whole; {rest}.",
        )
