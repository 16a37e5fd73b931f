"""What the metrics take beside the observations, from the records of a result; a run and its verification share it."""

from __future__ import annotations

from moecap.config import RunConfig
from moecap.metrics.constants import Constant
from moecap.metrics.summary import RunFacts
from moecap.models.reading import read_model
from moecap.models.spec import ModelSpec
from moecap.result import BackendRecord, HardwareRecord, Result

__all__ = ["result_facts", "run_facts"]


def run_facts(
    spec: ModelSpec,
    compute_dtype: str,
    hardware: HardwareRecord,
    backend: BackendRecord,
    workload: RunConfig,
    constants: tuple[Constant, ...],
) -> RunFacts:
    """The facts that follow from the records of a run.

    Args:
        spec: The model in the number formats that the engine holds in memory.
        compute_dtype: Format of the matrix products.
        hardware: The devices.
        backend: The engine.
        workload: The configuration.
        constants: The constants of the cost model that are in force.
    """
    return RunFacts(
        spec=spec,
        profile=hardware.profile,
        devices=hardware.count,
        compute_dtype=compute_dtype,
        concurrency=workload.concurrency if workload.load == "closed" else None,
        usd_per_hour=hardware.usd_per_hour,
        basis=workload.cost.basis,
        constants=constants,
        client_ceiling=backend.client_chunks_per_second,
        attached=backend.attached,
    )


def result_facts(result: Result) -> RunFacts:
    """What the metrics need, from a result alone."""
    model = result.model
    spec = read_model(model.config, model.id, weights=model.weight_dtype, kv=model.kv_dtype)
    records = (result.hardware, result.backend, result.workload, result.constants)
    return run_facts(spec, model.compute_dtype, *records)
