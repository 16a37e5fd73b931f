"""The plan of a run that projects: no weights and, for loads of given lengths, no tokenizer are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from moecap.backend import Backend
from moecap.config import TASKS_AS_LOAD, RunConfig
from moecap.data.recording import Recording
from moecap.errors import BadInputError, NotAvailableError
from moecap.hardware.host import read_host
from moecap.models.parallelism import Parallelism
from moecap.models.reading import read_model, read_model_as
from moecap.models.registry import ModelRef
from moecap.models.spec import ModelSpec
from moecap.projection.assumptions import projection_assumptions
from moecap.projection.coefficients import calibrated
from moecap.projection.deployment import Deployment
from moecap.projection.engine_settings import engine_settings
from moecap.projection.precision import QUANTISED, quantised_as
from moecap.projection.record import ProjectionRecord
from moecap.projection.routing_choice import chosen_routing
from moecap.projection.work import WorkModel
from moecap.runner.checkpoint import tokenizer_here
from moecap.runner.choice import Choice
from moecap.runner.declared_layout import layout_problem
from moecap.runner.number_formats import number_formats
from moecap.runner.planned import Plan
from moecap.runner.projected_split import projected_split
from moecap.runner.sending import Sending
from moecap.runner.sizes import refuse_context, sized_by_lengths, sized_by_tasks
from moecap.runner.task_load import (
    TaskLoad,
    load_digest,
    make_task_load,
    refuse_other_prompts,
    task_options,
    task_records,
    who_loads,
)
from moecap.runner.workload import make_workload, read_load, refuse_unable
from moecap.tasks.base import Task
from moecap.tokenizer import Tokenizer

__all__ = ["plan_projection"]

Say = Callable[[str], None]

MOST_TOKENS = 30_000_000
"""Tokens of the answers of a load, each of which is kept with its time: about 8 GB of memory while metrics are made."""

NOWHERE = Path()
"""The place of a checkpoint that is not needed."""


def plan_projection(
    config: RunConfig,
    choice: Choice,
    found: tuple[Mapping[str, Any], ModelRef],
    tasks: Sequence[Task],
    arguments: tuple[Mapping[str, str], Mapping[str, str]],
    say: Say,
) -> Plan:
    """Resolve a run that projects.

    Args:
        config: What was asked for.
        choice: The hardware, the backend that projects, and why nothing is measured.
        found: The content of the model's ``config.json``, and where it was found.
        tasks: The accuracy tasks, none of which is scored; those that generate may make the load.
        arguments: The user's arguments for the engine and for the tasks.
        say: Called with lines of progress.

    Raises:
        UsageError: If anything that was asked for does not exist, does not fit together or cannot be projected.
    """
    if config.repeats > 1:
        raise BadInputError(
            f"--repeats {config.repeats}: a projection is computed and comes out the same each time; leave it out"
        )
    if config.energy_source != "auto":
        raise BadInputError("energy_source: a projection counts no energy, its power is a model's; leave it out")
    if choice.hardware.profile.peak_bandwidth is None:
        raise NotAvailableError(
            f"the memory bandwidth of {choice.hardware.profile.id} is not known, so nothing can be projected on it; "
            "give a profile that has it (moecap hw probe --save FILE on that machine)"
        )
    backend, hardware, model = choice.backend, choice.hardware, found[1]
    model_config = quantised_as(found[0], config.precision)
    coefficients = calibrated()
    settings = engine_settings(arguments[0], coefficients)
    if config.layout is None and (settings.host is not None or settings.sockets > 1 or settings.prefetched > 0):
        raise BadInputError(
            "engine arguments host, sockets and prefetched say how experts outside the devices are served; give a "
            "--layout, or leave them out"
        )
    asked = "auto" if config.precision.lower() in QUANTISED else config.precision
    dtype = backend.dtype(read_model(model_config, model.id), "none", asked, frozenset())
    formats = number_formats(backend, dtype, model_config, arguments[0])
    spec = read_model_as(model_config, model.id, formats)
    config, task_load, recording, tokenizer = _load(config, backend, model, spec, tasks, arguments[1], say)
    sized = sized_by_lengths(config, recording) if task_load is None else sized_by_tasks(task_load)
    refuse_context(config, sized, spec)
    sending = _sending(config, backend, recording, task_load, tokenizer, spec)
    if (tokens := sum(prompt.output_tokens for prompt in sending.workload.prompts)) > MOST_TOKENS:
        raise BadInputError(
            f"the answers of the load have {tokens:,} tokens and a projection keeps at most {MOST_TOKENS:,}; ask for "
            "fewer requests or shorter answers"
        )
    routing, source = chosen_routing(config.routing, spec, coefficients)

    def deploy(parallelism: Parallelism) -> Deployment:
        return assumed(parallelism).deployment(spec, hardware.profile, formats.activations, config.layout)

    def assumed(parallelism: Parallelism) -> ProjectionRecord:
        return projection_assumptions(settings, parallelism, (routing, source), coefficients)

    if config.layout is not None and (
        problem := layout_problem(config.layout, spec, hardware.profile, sending.longest)
    ):
        raise BadInputError(problem)
    split = projected_split(config, settings, deploy, sending.longest, say)
    WorkModel(deploy(split))  # refuses, before anything is said or made, what the profile has no rate for
    in_force: dict[str, Any] = {"backend": backend.name}
    if split.devices > 1:
        in_force |= {"num_gpus": split.devices, "tensor_parallel": split.tensor}
    return Plan(
        config=config.model_copy(update=in_force),
        model=model,
        model_config=model_config,
        spec=spec,
        checkpoint=NOWHERE,
        hardware=replace(hardware, count=split.devices),
        host=read_host(),
        device="none",
        dtype=dtype,
        formats=formats,
        parallelism=split,
        backend=backend,
        engine_arguments=dict(arguments[0]),
        sending=sending,
        projection=assumed(split),
        unmeasured=choice.because,
    )


def _load(
    config: RunConfig,
    backend: type[Backend],
    model: ModelRef,
    spec: ModelSpec,
    tasks: Sequence[Task],
    task_arguments: Mapping[str, str],
    say: Say,
) -> tuple[RunConfig, TaskLoad | None, Recording, Tokenizer | None]:
    """The configuration with the load's numbers, the load of the tasks or else the data set, and the tokenizer."""
    output_len = config.output_len if "output_len" in config.model_fields_set else None
    config = who_loads(config, tasks)
    tokenizer = tokenizer_here(model) if config.dataset == TASKS_AS_LOAD or Path(config.dataset).exists() else None
    if config.dataset != TASKS_AS_LOAD:
        recording = read_load(config, words=False)
        refuse_unable(config, recording, backend)
        return config, None, recording, tokenizer
    if tokenizer is None:
        raise NotAvailableError(
            "the questions of the tasks are counted by the model's tokenizer, which is not here: give the checkpoint's "
            "folder as --model, or a load of given lengths (--dataset arc_easy --input-len N --output-len N)"
        )
    recording = Recording(TASKS_AS_LOAD, ())
    refuse_unable(config, recording, backend)
    options = task_options(config, task_arguments, output_len, spec.max_context, say)
    load = make_task_load(
        config, tuple((task, task.items(options)) for task in tasks), tokenizer, spec.max_context, backend
    )
    return load.config, load, recording, tokenizer


def _sending(
    config: RunConfig,
    backend: type[Backend],
    recording: Recording,
    task_load: TaskLoad | None,
    tokenizer: Tokenizer | None,
    spec: ModelSpec,
) -> Sending:
    """What would be sent; no question follows the load, since nothing answers."""
    if task_load is None:
        workload = make_workload(config, recording, backend, tokenizer, spec.max_context)
        return Sending((), (), None, workload, workload.longest, 0, recording.sha256)
    if tokenizer is None:
        raise BadInputError("the load of tasks needs the model's tokenizer; give the checkpoint's folder")
    generating = tuple((task, items) for task, items in task_load.tasks if task.generates)
    records = task_records(generating, tokenizer, task_load)
    refuse_other_prompts(config, records)
    workload = task_load.workload
    return Sending((), records, task_load, workload, workload.longest, 0, load_digest(records))
