"""What the metrics take beside the observations, from the records of a result; a run and its verification share it."""

from __future__ import annotations

from dataclasses import replace

from moecap.config import RunConfig
from moecap.metrics.constants import Constant
from moecap.metrics.summary import RunFacts
from moecap.models.formats import Formats, checkpoint_formats, run_formats
from moecap.models.parallelism import Parallelism
from moecap.models.reading import read_model_as
from moecap.models.spec import ModelSpec
from moecap.projection.record import ProjectionRecord
from moecap.result import BackendRecord, HardwareRecord, ModelRecord, Result

__all__ = ["model_formats", "result_facts", "run_facts"]


def run_facts(
    spec: ModelSpec,
    compute_dtype: str,
    hardware: HardwareRecord,
    backend: BackendRecord,
    workload: RunConfig,
    constants: tuple[Constant, ...],
    projection: ProjectionRecord | None = None,
    *,
    projected: bool = False,
) -> RunFacts:
    """The facts that follow from the records of a run.

    Args:
        spec: The model in the number formats that the engine holds in memory.
        compute_dtype: Format of the matrix products whose inputs are not quantised.
        hardware: The devices.
        backend: The engine.
        workload: The configuration.
        constants: The constants of the cost model that are in force.
        projection: What the projection rests on that the run is, or that it is held against.
        projected: Whether the run is that projection.
    """
    split = Parallelism(tensor=workload.tensor_parallel or 1)
    return RunFacts(
        spec=spec,
        profile=hardware.profile,
        devices=hardware.count,
        compute_dtype=compute_dtype,
        concurrency=workload.concurrency if workload.load == "closed" else None,
        usd_per_hour=hardware.usd_per_hour,
        basis=workload.cost.basis,
        constants=constants,
        parallelism=projection.split if projected and projection is not None else split,
        client_ceiling=backend.client_chunks_per_second,
        step_tokens=backend.step_tokens,
        attached=backend.attached,
        static=backend.batching == "static",
        layout=workload.layout,
        projection=projection,
        projected=projected,
        prefix_cache=workload.allow_prefix_cache,
        unscored=workload.task if projected else (),
        repeats=workload.repeats,
        num_requests=workload.num_requests,
    )


def model_formats(model: ModelRecord) -> Formats:
    """The number formats in which a recorded model ran.

    Raises:
        MoecapError: If the record names formats that are not known.
    """
    if model.quantised:
        return checkpoint_formats(model.compute_dtype, model.kv_dtype)
    return replace(run_formats(model.weight_dtype), kv=model.kv_dtype)


def result_facts(result: Result) -> RunFacts:
    """What the metrics need, from a result alone."""
    spec = read_model_as(result.model.config, result.model.id, model_formats(result.model))
    records = (result.hardware, result.backend, result.workload, result.constants, result.projection)
    return run_facts(spec, result.model.compute_dtype, *records, projected=result.kind == "projected")
