"""What a run leaves in its directory: its observations so far and the result that follows from them, together."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import moecap
from moecap.backend import EngineInfo
from moecap.config import RunConfig
from moecap.errors import BadInputError, MoecapError, RunError
from moecap.facts import run_facts
from moecap.files import file_sha256, replace_files, write_text
from moecap.metrics.constants import constants_in_force
from moecap.metrics.routing_source import seen_steps
from moecap.metrics.summary import run_metrics
from moecap.models.accounting import count_parameters
from moecap.models.products import product_formats
from moecap.observations.reader import read_observations
from moecap.observations.schema import TABLES
from moecap.parquet_footer import column_parts
from moecap.projection.assumptions import comparison_assumptions
from moecap.projection.coefficients import calibrated
from moecap.projection.record import ProjectionRecord
from moecap.result import BackendRecord, HardwareRecord, ModelRecord, Provenance, Result, read_result, write_result
from moecap.runner.environment import environment, software
from moecap.runner.execution import Execution
from moecap.runner.places import public_argument, public_config, public_endpoint, without_places
from moecap.runner.planned import Plan
from moecap.runner.reproduction import public_hardware, reproduction_command
from moecap.runner.result_flags import result_flags

__all__ = ["Status", "Story", "problem_line"]

Status = Literal["complete", "failed", "interrupted"]

REFUSED = "refused"
"""Folder in a run directory of observations that contradict each other, so that no result follows from them."""


@dataclass(frozen=True, slots=True)
class Story:
    """A run that is being told: what stays the same from its first result to its last.

    Attributes:
        plan: What was to be done.
        directory: The run directory.
        weights_sha256: Digest of the weights; ``None`` where none was made.
        started: When it began.
        since: The same moment on the monotonic clock, s.
    """

    plan: Plan
    directory: Path
    weights_sha256: str | None
    started: datetime
    since: float

    @property
    def now(self) -> datetime:
        """This moment, also where the clock of the machine was set meanwhile."""
        return self.started + timedelta(seconds=time.monotonic() - self.since)

    def store(self, execution: Execution, status: Status, error: BaseException | None) -> Result:
        """Write the observations so far and the result that follows from them.

        Raises:
            RunError: If they cannot be written.
        """
        try:
            with replace_files(self.directory) as folder:
                return _store(self, folder, execution, status, error)
        except OSError as failure:
            problem = RunError(
                f"{self.directory}: the run cannot be stored ({failure.strerror or failure}); free some room "
                "and run again"
            )
        except BadInputError as failure:
            problem = RunError(f"{self._put_aside(execution)} give no result, since {failure}")
        with suppress(OSError, ValueError, BadInputError):  # what happened may still find room
            self._tell(execution, problem)
        raise problem from error

    def _put_aside(self, execution: Execution) -> str:
        """Keep observations that contradict each other, and begin the sentence that says where they are."""
        place = self.directory / REFUSED
        try:
            place.mkdir(exist_ok=True)
            execution.recorder.write(place)
        except OSError as failure:
            return f"{self.directory}: the observations cannot be kept ({failure.strerror or failure}) and"
        return f"{place}: the observations are kept there and"

    def _tell(self, execution: Execution, problem: RunError) -> None:
        """Store what happened, beside the observations that are stored already or alone."""
        if any(part.values for name in TABLES for part in column_parts(self.directory / name)):
            kept = read_result(self.directory)
            told = kept.model_copy(update={"reason": without_places(problem_line(problem))})
            write_result(self.directory, told.identified())
            return
        empty = Execution(engine=execution.engine, seconds=execution.seconds)
        with replace_files(self.directory) as folder:
            _store(self, folder, empty, "failed", problem)


def _store(story: Story, directory: Path, execution: Execution, status: Status, error: BaseException | None) -> Result:
    plan = story.plan
    names = execution.recorder.write(directory)
    write_text(directory / "environment.json", json.dumps(environment(), indent=1) + "\n")
    names.append("environment.json")
    engine, config, profile = execution.engine, plan.config, plan.hardware.profile
    constants = constants_in_force(config.costs, config.usd_per_hour, profile, plan.hardware.count)
    hardware = HardwareRecord.of(profile, plan.hardware.count, plan.hardware.source, constants)
    model = _model_record(plan, story.weights_sha256)
    backend = BackendRecord(
        name=plan.backend.name,
        version=engine.version if engine else "unknown: the engine did not open",
        device=plan.device,
        timer=engine.timer if engine else "none",
        batching=engine.batching if engine else "none",
        details=_details(plan, engine),
        client_chunks_per_second=engine.client_chunks_per_second if engine else None,
        client_processes=engine.client_processes if engine else None,
        step_tokens=engine.step_tokens if engine else None,
        attached=plan.backend.attaches,
    )
    public = _public_workload(plan)
    projects = plan.backend.projects
    projection = plan.projection if projects else _compared_with(plan, backend)
    records = (hardware, backend, public, constants, projection)
    facts = run_facts(plan.spec, plan.formats.compute, *records, projected=projects)
    observations = read_observations(directory)
    seen = seen_steps(observations, facts.spec, facts.step_tokens, projected=projects)
    metrics = run_metrics(seen, facts)
    tasks = plan.sending.task_records
    flags = result_flags(public, model, hardware, backend, tasks, metrics, seen, projection if projects else None)
    result = Result(
        kind="projected" if projects else "measured",
        status=status,
        reason=None if error is None else without_places(problem_line(error)),
        model=model,
        hardware=hardware,
        backend=backend,
        workload=public,
        constants=constants,
        routing_source=seen.source,
        projection=projection,
        tasks=tasks,
        metrics=metrics,
        flags=flags,
        provenance=Provenance(
            moecap=moecap.__version__,
            started=story.started.isoformat(timespec="seconds"),
            finished=story.now.isoformat(timespec="seconds"),
            seconds=execution.seconds,
            command=reproduction_command(public),
            environment=software(),
        ),
        observations={name: file_sha256(directory / name) for name in names},
    ).identified()
    write_result(directory, result)
    return result


def _details(plan: Plan, engine: EngineInfo | None) -> dict[str, str]:
    """What the engine says of itself; of a projection also why nothing was measured."""
    said = {name: without_places(text) for name, text in engine.details.items()} if engine else {}
    return said | ({"not measured because": without_places(plan.unmeasured)} if plan.unmeasured else {})


def _compared_with(plan: Plan, backend: BackendRecord) -> ProjectionRecord | None:
    """The projection that a measured run is held against; none of a model that is partly kept outside the devices."""
    if plan.config.layout is not None:
        return None
    asked = (backend.name, backend.version, backend.details, plan.spec, plan.parallelism)
    return comparison_assumptions(*asked, calibrated())


def _model_record(plan: Plan, weights_sha256: str | None) -> ModelRecord:
    parameters = count_parameters(plan.spec)
    return ModelRecord(
        id=plan.model.id,
        name=plan.spec.name,
        revision=plan.model.revision,
        source=plan.model.origin,
        config=public_config(plan.model_config),
        weights_sha256=weights_sha256,
        weight_dtype=plan.formats.words(plan.spec),
        kv_dtype=plan.spec.kv_dtype,
        compute_dtype=plan.formats.compute,
        quantised=plan.formats.own,
        weight_dtypes=plan.spec.weight_dtypes,
        compute_dtypes=product_formats(plan.spec, plan.formats.compute),
        total_params=parameters.total,
        active_params=parameters.active,
        is_moe=plan.spec.is_moe,
    )


def _public_workload(plan: Plan) -> RunConfig:
    """The configuration with names in place of where files lie on this machine."""
    config = plan.config
    names = {
        "model": plan.model.id if plan.model.origin == "local" else config.model,
        "hw": public_hardware(config.hw, plan.hardware.source),
        "dataset": Path(config.dataset).name,
        "dataset_sha256": plan.sending.dataset_sha256,
        "lengths": plan.sending.workload.lengths,
        "texts": Path(config.texts).name,
        "routing": Path(config.routing).name,
        "engine_arg": tuple(map(without_places, config.engine_arg)),
        "task_arg": tuple(map(public_argument, config.task_arg)),
        "endpoint": None if config.endpoint is None else public_endpoint(config.endpoint),
        "data": None,
        "output": None,
    }
    return config.model_copy(update=names)


def problem_line(error: BaseException) -> str:
    """What ended a run, in one line."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted by the user or by a signal"
    text = (str(error).strip().splitlines() or [""])[0]
    return text if isinstance(error, MoecapError) and text else f"{type(error).__name__}: {text}"
