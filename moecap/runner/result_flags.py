"""The flags of a result, of whichever kind it is."""

from __future__ import annotations

from collections.abc import Sequence

from moecap.config import RunConfig
from moecap.metrics.routing_source import SeenSteps
from moecap.metrics.value import Metric
from moecap.projection.record import ProjectionRecord
from moecap.result import BackendRecord, Flag, HardwareRecord, ModelRecord, TaskRecord
from moecap.runner.flags import run_flags
from moecap.runner.projection_flags import projection_flags

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
    return tuple(run_flags(workload, model, hardware, backend, metrics, seen, tasks))
