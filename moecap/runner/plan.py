"""Resolves everything that a run needs before anything is started, so that bad input costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from moecap.backend import Backend
from moecap.config import TASKS_AS_LOAD, RunConfig
from moecap.data.recording import Recording
from moecap.errors import BadInputError
from moecap.hardware.host import available_memory, read_host
from moecap.hardware.resolve import ResolvedHardware
from moecap.models.parallelism import Parallelism
from moecap.models.reading import read_model, read_model_as
from moecap.models.registry import load_model_config
from moecap.models.spec import ModelSpec
from moecap.runner.checkpoint import fetch_checkpoint
from moecap.runner.choice import choose
from moecap.runner.declared_layout import engine_problem, layout_problem
from moecap.runner.memory import MemoryNeed, memory_need, refuse_memory, refuse_training
from moecap.runner.number_formats import number_formats
from moecap.runner.planned import Plan
from moecap.runner.projection_plan import plan_projection
from moecap.runner.run_directory import refuse_output
from moecap.runner.sending import Sending, make_sending
from moecap.runner.sizes import refuse_context, sized_by_lengths, sized_by_tasks
from moecap.runner.split import choose_split
from moecap.runner.task_load import make_task_load, task_options, who_loads
from moecap.runner.workload import read_load, refuse_unable
from moecap.tasks.base import Task, load_task, refuse_mismatch
from moecap.tokenizer import Tokenizer

__all__ = ["assignments", "make_plan"]

Say = Callable[[str], None]

SCORED_BATCH = 16
"""Given answers that an engine scores at a time, where the user does not set ``score_batch_size``."""


def make_plan(config: RunConfig, say: Say) -> Plan:
    """Resolve a run configuration.

    Args:
        config: What was asked for.
        say: Called with lines of progress.

    Raises:
        UsageError: If anything that was asked for does not exist, does not fit together or is not here.
    """
    _refuse_idle(config)
    refuse_output(config.output)
    model_config, model = load_model_config(config.model, config.revision)
    read_model(model_config, model.id)
    engine_arguments = assignments(config.engine_arg, "--engine-arg")
    task_arguments = assignments(config.task_arg, "--task-arg")
    tasks = [load_task(name) for name in config.task]
    choice = choose(config, model, say)
    if choice.backend.projects:
        return plan_projection(config, choice, (model_config, model), tasks, (engine_arguments, task_arguments), say)
    _refuse_for_projections(config)
    hardware, backend = choice.hardware, choice.backend.variant(engine_arguments)
    for task in tasks:
        refuse_mismatch(task, backend, task_arguments)
    output_len = config.output_len if "output_len" in config.model_fields_set else None
    config = who_loads(config, tasks)
    by_tasks = config.dataset == TASKS_AS_LOAD
    _refuse_same_again(config)
    recording = Recording(TASKS_AS_LOAD, ()) if by_tasks else read_load(config)
    refuse_unable(config, recording, backend)
    host = read_host()
    device = "cpu" if hardware.profile.kind == "host" else "cuda"
    model_config = dict(backend.served_config(model_config, engine_arguments))
    dtype = backend.dtype(read_model(model_config, model.id), device, config.precision, frozenset(host.flags))
    formats = number_formats(backend, dtype, model_config, engine_arguments)
    spec = read_model_as(model_config, model.id, formats)
    options = task_options(config, task_arguments, output_len, spec.max_context, say)
    task_load = None
    if by_tasks:  # their questions say how long requests are, which the tokenizer counts
        asked = tuple((task, task.items(options)) for task in tasks)
        tokenizer = Tokenizer(fetch_checkpoint(model, say, tokenizer_only=True))
        task_load = make_task_load(config, asked, tokenizer, spec.max_context, backend)
        config = task_load.config
    sized = sized_by_lengths(config, recording) if task_load is None else sized_by_tasks(task_load)
    refuse_context(config, sized, spec)
    _refuse_layout(config, sized, spec, backend, hardware)

    def need(parallelism: Parallelism) -> MemoryNeed:
        return memory_need(
            spec,
            concurrency=sized.concurrency * sized.n,
            prompt=sized.input_len,
            context=sized.input_len + sized.output_len,
            scored=_scored_batch(tasks, engine_arguments),
            activations=formats.activations,
            parallelism=parallelism,
        )

    split = choose_split(config, backend, hardware, spec, need, say)
    hardware = replace(hardware, count=split.devices)
    if not backend.attaches:
        free = available_memory() if device == "cpu" else (hardware.profile.memory_bytes or 0)
        refuse_memory(need(split.parallelism), spec, formats.words(spec), free, shared=device == "cpu")
    checkpoint = fetch_checkpoint(model, say, tokenizer_only=backend.attaches)
    backend.check(checkpoint, spec, device)
    tokenizer = Tokenizer(checkpoint)
    sending = make_sending(config, recording, tasks, options, task_load, backend, tokenizer, spec)
    if not backend.attaches:
        _refuse_trainings(sending, tokenizer, spec, formats.activations, need(split.parallelism), free)
    if not backend.attaches and sending.longest > sized.input_len + sized.output_len:  # now words are counted too
        sized = sized.model_copy(update={"input_len": sending.longest - sized.output_len})
        refuse_memory(need(split.parallelism), spec, formats.words(spec), free, shared=device == "cpu")
    return Plan(
        config=split.in_force(config),
        model=model,
        model_config=model_config,
        spec=spec,
        checkpoint=checkpoint,
        hardware=hardware,
        host=host,
        device=device,
        dtype=dtype,
        formats=formats,
        parallelism=split.parallelism,
        backend=backend,
        engine_arguments=engine_arguments,
        sending=sending,
    )


def assignments(pairs: Sequence[str], option: str) -> dict[str, str]:
    """``KEY=VALUE`` options as a mapping.

    Raises:
        BadInputError: If one is not of that form or a key comes twice.
    """
    values: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise BadInputError(f"{option} {pair}: not KEY=VALUE")
        if key in values:
            raise BadInputError(f"{option} {key} is given twice; give it once")
        values[key] = value
    return values


def _refuse_idle(config: RunConfig) -> None:
    """Options that nothing would read: never ignored in silence."""
    if config.task_arg and not config.task:
        raise BadInputError(f"--task-arg {config.task_arg[0]}: no task is run; name one with --task, or leave it out")


def _refuse_same_again(config: RunConfig) -> None:
    """Refuse repeats in which an engine would see again what it has seen before."""
    if config.repeats > 1 and config.dataset == TASKS_AS_LOAD:
        raise BadInputError(
            f"--repeats {config.repeats}: the load is the questions of the tasks, which are asked once; name a data "
            "set with --dataset, or leave it out"
        )
    if config.repeats > 1 and config.allow_prefix_cache:
        raise BadInputError(
            f"--repeats {config.repeats}: with --allow-prefix-cache a repeat finds the prompts of those before it in "
            "the cache; leave one of the two out"
        )


def _refuse_for_projections(config: RunConfig) -> None:
    """Refuse what only a projection takes, where a run measures."""
    if config.routing != RunConfig.model_fields["routing"].default:
        raise BadInputError("routing is of a projection and this run measures its own; leave it out, or project")


def _refuse_layout(
    config: RunConfig, sized: RunConfig, spec: ModelSpec, backend: type[Backend], hardware: ResolvedHardware
) -> None:
    if config.layout is None:
        return
    longest = sized.input_len + sized.output_len
    problem = engine_problem(backend.name) or layout_problem(config.layout, spec, hardware.profile, longest)
    if problem:
        raise BadInputError(problem)


def _refuse_trainings(
    sending: Sending, tokenizer: Tokenizer, spec: ModelSpec, activations: str, need: MemoryNeed, free: int
) -> None:
    for task, items in sending.tasks:
        refuse_training(task.name, task.training_bytes(items, tokenizer, spec, activations), need, spec, free)


def _scored_batch(tasks: Sequence[Task], engine_arguments: Mapping[str, str]) -> int:
    """Given answers that are scored at a time: 0 where no task scores any."""
    if not any("prompt_logprobs" in task.requires for task in tasks):
        return 0
    asked = engine_arguments.get("score_batch_size", "")
    return int(asked) if asked.isdecimal() else SCORED_BATCH
