"""A run from its configuration to its directory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import moecap
from moecap.backend import EngineInfo
from moecap.config import RunConfig
from moecap.errors import BadInputError, MoecapError, RunError, UsageError
from moecap.facts import run_facts
from moecap.files import file_sha256, write_text
from moecap.interruption import interruptible
from moecap.metrics.constants import constants_in_force
from moecap.metrics.routing_source import seen_steps
from moecap.metrics.summary import run_metrics
from moecap.models.accounting import count_parameters
from moecap.models.products import product_formats
from moecap.observations.reader import read_observations
from moecap.projection.assumptions import comparison_assumptions
from moecap.projection.coefficients import calibrated
from moecap.projection.record import ProjectionRecord
from moecap.result import BackendRecord, HardwareRecord, ModelRecord, Provenance, Result, write_result
from moecap.runner.environment import environment, software
from moecap.runner.execution import Execution, Opener, execute, open_engine
from moecap.runner.places import public_argument, public_config, public_endpoint, without_places
from moecap.runner.plan import make_plan
from moecap.runner.planned import Plan
from moecap.runner.projection_flags import unmeasured_lines
from moecap.runner.reporter import Reporter
from moecap.runner.reproduction import public_hardware, reproduction_command
from moecap.runner.result_flags import result_flags
from moecap.runner.run_directory import make_directory, remove_directory

__all__ = ["RunOutcome", "run"]

Status = Literal["complete", "failed", "interrupted"]

HASHED_WEIGHTS_BYTES = 8_000_000_000
"""Checkpoints up to this size get a digest in the result; larger ones would take longer to hash than to run."""

UNENDED = "the run did not end: it was killed, or the machine went down"
"""Reason in the first result of a run, which the last one replaces."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """A finished run: its directory, its result, and the error that ended it, if any."""

    directory: Path
    result: Result
    error: BaseException | None

    @property
    def problem(self) -> str | None:
        """What ended the run, in one line with the places that the result leaves out."""
        return None if self.error is None else _problem(self.error)


def run(config: RunConfig, reporter: Reporter, opener: Opener = open_engine) -> RunOutcome:
    """Run a configuration and leave a run directory, whatever happens once the engine is being opened.

    Args:
        config: What to do.
        reporter: Hears how far it is.
        opener: Gives the engine; its own by default.

    Returns:
        The outcome; a failure or an interruption is in it and in ``result.json``.

    Raises:
        UsageError: If nothing was started.
        KeyboardInterrupt: If the user interrupted before anything was started.
    """
    with interruptible() as interruption:
        plan = make_plan(config, reporter.say)
        digest = None if plan.backend.attaches or plan.backend.projects else _weights_digest(plan)
        if plan.projection is not None and plan.unmeasured:
            reporter.warn("PROJECTED: NOTHING IS MEASURED", unmeasured_lines(plan.unmeasured, plan.projection))
        interruption.hold()
        directory, made = make_directory(plan.config.output, plan.model.id, plan.hardware.profile.id, plan.backend.name)
        story = _Story(plan, directory, digest, datetime.now(UTC))
        execution = Execution()
        status: Status = "complete"
        error: BaseException | None = None
        try:
            try:
                story.store(execution, "failed", RunError(UNENDED))
                interruption.release()
                execute(plan, directory, execution, reporter, opener)
            finally:
                interruption.hold()  # nothing disturbs what follows: the storing, and in the command line the report
        except KeyboardInterrupt as caught:
            status, error = "interrupted", caught
        except UsageError as caught:
            if not (execution.recorder.steps or execution.recorder.requests):
                remove_directory(directory, made)
                raise
            status, error = "failed", caught
        except Exception as caught:  # whatever an engine raises, what was observed is stored
            status, error = "failed", caught
        if interruption.raised:  # an engine may have made another error of it
            status, error = "interrupted", KeyboardInterrupt()
        if status == "interrupted":
            reporter.say("interrupted; storing what was measured")
        result = story.store(execution, status, error)
    return RunOutcome(directory, result, error)


@dataclass(frozen=True, slots=True)
class _Story:
    """A run that is being told: what stays the same from its first result to its last."""

    plan: Plan
    directory: Path
    weights_sha256: str | None
    started: datetime

    def store(self, execution: Execution, status: Status, error: BaseException | None) -> Result:
        """Write the observations so far and the result that follows from them.

        Raises:
            RunError: If they cannot be written.
        """
        try:
            return _store(self, execution, status, error)
        except OSError as failure:
            raise RunError(
                f"{self.directory}: the run cannot be stored ({failure.strerror}); free some room and run again"
            ) from None
        except BadInputError as failure:
            raise RunError(
                f"{self.directory}: the observations are kept there and give no result, since {failure}"
            ) from error


def _store(story: _Story, execution: Execution, status: Status, error: BaseException | None) -> Result:
    plan, directory = story.plan, story.directory
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
        reason=None if error is None else without_places(_problem(error)),
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
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
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


def _problem(error: BaseException) -> str:
    """What ended a run, in one line."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted by the user or by a signal"
    text = (str(error).strip().splitlines() or [""])[0]
    return text if isinstance(error, MoecapError) and text else f"{type(error).__name__}: {text}"


def _weights_digest(plan: Plan) -> str | None:
    """SHA-256 of the weight file, or of the digests of several in order of their names.

    Raises:
        BadInputError: If the embedded model is not the one that was made.
    """
    import hashlib

    from moecap.models import embedded

    files = sorted(plan.checkpoint.glob("*.safetensors"))
    if not files or sum(f.stat().st_size for f in files) > HASHED_WEIGHTS_BYTES:
        return None
    digests = [file_sha256(f) for f in files]
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    if plan.model.origin == "embedded" and digest != embedded.WEIGHTS_SHA256:
        raise BadInputError(f"the weights of {embedded.NAME} in the cache are damaged; moecap cache clean removes them")
    return digest
