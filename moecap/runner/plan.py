"""Resolves everything that a run needs before anything is started, so that bad input costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moecap.backend import Backend
from moecap.config import TASKS_AS_LOAD, RunConfig
from moecap.data.cache import cache_root
from moecap.data.recording import Recording
from moecap.errors import BadInputError, NotAvailableError, NotBuiltError
from moecap.hardware.host import HostFacts, available_memory, read_host
from moecap.hardware.resolve import ResolvedHardware, resolve_hardware
from moecap.load.connection import Target
from moecap.models.formats import Formats, asked_cache, checkpoint_formats, run_formats
from moecap.models.parallelism import Parallelism
from moecap.models.reading import is_quantised, read_model, read_model_as
from moecap.models.registry import ModelRef, load_model_config
from moecap.models.spec import ModelSpec
from moecap.plugins import BACKENDS, load_plugin, plugin_names
from moecap.runner.declared_layout import engine_problem, layout_problem
from moecap.runner.memory import MemoryNeed, memory_need, refuse_memory
from moecap.runner.sending import Sending, make_sending
from moecap.runner.split import choose_split
from moecap.runner.task_load import TaskLoad, make_task_load, task_options, who_loads
from moecap.runner.workload import longest_request, read_load, refuse_unable
from moecap.tasks.base import Task, load_task, refuse_mismatch
from moecap.tokenizer import Tokenizer

__all__ = ["Plan", "assignments", "make_plan"]

Say = Callable[[str], None]

ENGINES = ("vllm", "sglang", "transformers")
"""Engines that moecap chooses from by itself, the best for serving first."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Where a server on this machine is reached."""

SCORED_BATCH = 16
"""Given answers that an engine scores at a time, where the user does not set ``score_batch_size``."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run with everything resolved.

    Attributes:
        config: What was asked for, with the numbers of devices and ranks that are in force.
        model: Where the model's configuration was found.
        model_config: The content of its ``config.json``.
        spec: Its accounting in the number format in which it will run.
        checkpoint: Folder with its weights and tokenizer.
        hardware: The devices and their peaks.
        host: The machine on which the run happens.
        device: ``cpu`` or ``cuda``.
        dtype: The backend's name of the number format of the weights.
        formats: Number formats of weights, KV cache and matrix products.
        parallelism: How the model is split over ranks.
        backend: The backend's class.
        engine_arguments: The user's arguments for it.
        sending: The load and the tasks' questions.
    """

    config: RunConfig
    model: ModelRef
    model_config: dict[str, Any]
    spec: ModelSpec
    checkpoint: Path
    hardware: ResolvedHardware
    host: HostFacts
    device: str
    dtype: str
    formats: Formats
    parallelism: Parallelism
    backend: type[Backend]
    engine_arguments: dict[str, str]
    sending: Sending


def make_plan(config: RunConfig, say: Say) -> Plan:
    """Resolve a run configuration.

    Args:
        config: What was asked for.
        say: Called with lines of progress.

    Raises:
        UsageError: If anything that was asked for does not exist, does not fit together or is not here.
    """
    _refuse_unbuilt(config)
    _refuse_output(config.output)
    model_config, model = load_model_config(config.model, config.revision)
    read_model(model_config, model.id)
    engine_arguments = assignments(config.engine_arg, "--engine-arg")
    task_arguments = assignments(config.task_arg, "--task-arg")
    tasks = [load_task(name) for name in config.task]
    backend = _asked_backend(config)
    hardware = _resolve_hardware(config, say)
    backend = (backend or _best_backend(model, hardware)).variant(engine_arguments)
    for task in tasks:
        refuse_mismatch(task, backend)
    output_len = config.output_len if "output_len" in config.model_fields_set else None
    config = who_loads(config, tasks)
    by_tasks = config.dataset == TASKS_AS_LOAD
    recording = Recording(TASKS_AS_LOAD, ()) if by_tasks else read_load(config)
    refuse_unable(config, recording, backend)
    host = read_host()
    device = "cpu" if hardware.profile.kind == "host" else "cuda"
    own = read_model(model_config, model.id)
    dtype = backend.dtype(own, device, config.precision, frozenset(host.flags))
    formats = _formats(backend, dtype, model_config, engine_arguments)
    spec = read_model_as(model_config, model.id, formats)
    options = task_options(config, task_arguments, output_len, spec.max_context, say)
    task_load = None
    if by_tasks:  # their questions say how long requests are, which the tokenizer counts
        asked = tuple((task, task.items(options)) for task in tasks)
        tokenizer = Tokenizer(_fetch_checkpoint(model, say, tokenizer_only=True))
        task_load = make_task_load(config, asked, tokenizer, spec.max_context, backend)
        config = task_load.config
    sized = _sized(config, recording) if task_load is None else _sized_by(task_load)
    _refuse_context(config, sized, spec)
    _refuse_layout(config, sized, spec, backend, hardware)

    def need(parallelism: Parallelism) -> MemoryNeed:
        return memory_need(
            spec,
            concurrency=sized.concurrency,
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
    checkpoint = _fetch_checkpoint(model, say, tokenizer_only=backend.attaches)
    backend.check(checkpoint, spec, device)
    tokenizer = Tokenizer(checkpoint)
    sending = make_sending(config, recording, tasks, options, task_load, backend, tokenizer, spec)
    longest = sending.longest
    if not backend.attaches and longest > sized.input_len + sized.output_len:  # now words are counted too
        sized = sized.model_copy(update={"input_len": longest - sized.output_len})
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


def _refuse_unbuilt(config: RunConfig) -> None:
    """Options of the contract whose capability this version does not have yet: never ignored in silence."""
    if config.repeats > 1:
        raise NotBuiltError("--repeats above 1 is not built yet; this version measures a load once")


def _refuse_output(output: Path | None) -> None:
    if output is None:
        return
    try:
        if output.exists() and not output.is_dir():
            raise BadInputError(f"--output {output}: it exists and is no directory; name a new one")
        if output.is_dir() and any(output.iterdir()):
            raise BadInputError(f"--output {output}: it exists and is not empty; name a new one")
        existing = next(p for p in (output, *output.absolute().parents) if p.exists())
        if not existing.is_dir():
            raise BadInputError(f"--output {output}: {existing} is no directory; name another place")
        _refuse_unwritable(existing, output)
    except OSError as error:
        raise BadInputError(f"--output {output}: {error.strerror or error}; name another place") from None


def _refuse_unwritable(existing: Path, output: Path) -> None:
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise BadInputError(f"--output {output}: cannot write there ({error.strerror}); name another place") from None


def _asked_backend(config: RunConfig) -> type[Backend] | None:
    """The backend that the user named, or that an endpoint means; ``None`` where moecap is to choose."""
    name = config.backend
    if name == "auto":
        if config.endpoint is None:
            return None
        name = "openai"
    chosen: type[Backend] = load_plugin(BACKENDS, name)
    if chosen.attaches and config.endpoint is None:
        raise BadInputError(f"backend {name!r} measures a server that runs already; give its URL with --endpoint")
    if config.endpoint is not None and not chosen.attaches:
        raise BadInputError(f"backend {name!r} starts its own engine; leave --endpoint out, or take --backend openai")
    if reason := chosen.unavailable():
        raise NotAvailableError(f"backend {name!r}: {reason}")
    return chosen


def _resolve_hardware(config: RunConfig, say: Say) -> ResolvedHardware:
    """The hardware of the run: in this machine, or of a server elsewhere whose hardware the user names."""
    if config.endpoint is not None and config.hw == "auto" and Target.parse(config.endpoint).host not in LOOPBACK:
        raise BadInputError(
            "--endpoint is on another machine: name its hardware with --hw (moecap hw list shows the names)"
        )
    hardware = resolve_hardware(config.hw, count=config.num_gpus, cache_dir=cache_root(), progress=say)
    if not hardware.is_local and config.endpoint is None:
        profile = hardware.profile
        asked = config.hw if config.hw.lower() == profile.id else f"{config.hw} ({profile.id})"
        raise NotAvailableError(
            f"{asked} is not in this machine, so nothing can be measured on it, and projecting is not built yet; "
            "run this where it is, or measure this machine with --hw auto"
        )
    return hardware


def _best_backend(model: ModelRef, hardware: ResolvedHardware) -> type[Backend]:
    """The first engine that is installed; the embedded model on a host runs in process, which needs no server."""
    order = ENGINES if hardware.profile.kind != "host" or model.origin != "embedded" else ENGINES[::-1]
    names, reasons = plugin_names(BACKENDS), []
    for name in [n for n in order if n in names]:
        candidate: type[Backend] = load_plugin(BACKENDS, name)
        reason = candidate.unavailable()
        if reason is None:
            return candidate
        reasons.append(f"{name}: {reason}")
    raise NotAvailableError(f"no backend can run here; {'; '.join(reasons) or 'none is installed'}")


def _sized(config: RunConfig, recording: Recording) -> RunConfig:
    """The configuration with the length of its longest prompt, and with what is left for the longest request."""
    asked, whole = longest_request(config, recording)
    return config.model_copy(update={"input_len": max(asked, 1), "output_len": max(whole - asked, 1)})


def _sized_by(load: TaskLoad) -> RunConfig:
    """The configuration with the lengths of the longest of the tasks' prompts and of the longest conversation."""
    asked = max(len(prompt.tokens) for prompt in load.workload.prompts)
    rest = load.workload.longest - asked
    return load.config.model_copy(update={"input_len": asked, "output_len": max(rest, 1)})


def _formats(
    backend: type[Backend], dtype: str, model_config: Mapping[str, Any], engine_arguments: Mapping[str, str]
) -> Formats:
    """The number formats of the run: one for all weights, or those of a checkpoint that is quantised by itself.

    Raises:
        NotBuiltError: If the checkpoint is quantised and the backend does not hold it as it is.
        BadInputError: If the formats do not fit together.
    """
    formats, cache = run_formats(dtype), asked_cache(engine_arguments)
    if is_quantised(model_config):
        if not backend.quantised:
            able = [name for name in plugin_names(BACKENDS) if load_plugin(BACKENDS, name).quantised]
            raise NotBuiltError(
                f"the checkpoint is quantised, and backend {backend.name!r} counts one format for all weights; take it "
                f"in bf16, or a backend that counts the checkpoint's own: {', '.join(able)}"
            )
        return checkpoint_formats(dtype, cache or read_model(model_config, "", unquantised=dtype).kv_dtype)
    return formats if cache is None else replace(formats, kv=cache)


def _refuse_context(config: RunConfig, sized: RunConfig, spec: ModelSpec) -> None:
    asked, answered = sized.input_len, sized.output_len
    wanted = asked + answered
    if wanted <= spec.max_context:
        return
    if (asked, answered) == (config.input_len, config.output_len):
        raise BadInputError(
            f"--input-len {asked} + --output-len {answered} = {wanted} tokens, the model holds {spec.max_context}; "
            "shorten them"
        )
    raise BadInputError(
        f"the longest request takes {wanted} tokens with its answer, the model holds {spec.max_context}; take shorter "
        "ones, fewer turns, or lengths=asked"
    )


def _refuse_layout(
    config: RunConfig, sized: RunConfig, spec: ModelSpec, backend: type[Backend], hardware: ResolvedHardware
) -> None:
    if config.layout is None:
        return
    longest = sized.input_len + sized.output_len
    problem = engine_problem(backend.name) or layout_problem(config.layout, spec, hardware.profile, longest)
    if problem:
        raise BadInputError(problem)


def _scored_batch(tasks: Sequence[Task], engine_arguments: Mapping[str, str]) -> int:
    """Given answers that are scored at a time: 0 where no task scores any."""
    if not any("prompt_logprobs" in task.requires for task in tasks):
        return 0
    asked = engine_arguments.get("score_batch_size", "")
    return int(asked) if asked.isdecimal() else SCORED_BATCH


def _fetch_checkpoint(model: ModelRef, say: Say, *, tokenizer_only: bool) -> Path:
    """The folder with the weights and the tokenizer, or with the tokenizer alone where a server has the weights."""
    if model.origin == "embedded":
        from moecap.models import embedded

        return embedded.ensure()
    if model.path is not None:
        if model.path.is_dir():
            return model.path
        if not (model.path.parent / "tokenizer.json").exists():
            raise BadInputError(
                f"{model.path}: a config.json without weights cannot be run; give the checkpoint's folder"
            )
        return model.path.parent
    from moecap.models.hub import fetch_checkpoint

    return fetch_checkpoint(model.id, model.revision, say, tokenizer_only=tokenizer_only)
