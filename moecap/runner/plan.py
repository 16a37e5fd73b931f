"""Resolves everything that a run needs before anything is started, so that bad input costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.backend import Backend
from moecap.config import RunConfig
from moecap.data.cache import cache_root
from moecap.data.texts import prompt_texts
from moecap.errors import BadInputError, NotAvailableError, NotBuiltError
from moecap.hardware.host import HostFacts, available_memory, read_host
from moecap.hardware.resolve import ResolvedHardware, resolve_hardware
from moecap.load.connection import Target
from moecap.models.accounting import cache_bytes, checkpoint_bytes
from moecap.models.activations import activation_bytes
from moecap.models.reading import read_model
from moecap.models.registry import ModelRef, load_model_config
from moecap.models.spec import ModelSpec
from moecap.plugins import BACKENDS, load_plugin, plugin_names
from moecap.tasks.base import Task, TaskOptions, load_task, refuse_mismatch
from moecap.tokenizer import Tokenizer

__all__ = ["Plan", "assignments", "make_plan"]

Say = Callable[[str], None]

OVERHEAD_BYTES = 1_000_000_000
"""Libraries and temporary copies of the largest tensor, beside weights, KV cache and activations."""

ENGINES = ("vllm", "sglang", "transformers")
"""Engines that moecap chooses from by itself, the best for serving first."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Where a server on this machine is reached."""

SCORED_BATCH = 16
"""Given answers that an engine scores at a time, where the user does not set ``score_batch_size``."""

SCORED_TOKENS, SCORED_LOGITS = 256, 64
"""Tokens of a long item of a task, and of the answer in it; the longest of ARC-Easy has 163 and 33 (SmolLM2)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run with everything resolved.

    Attributes:
        config: What was asked for.
        model: Where the model's configuration was found.
        model_config: The content of its ``config.json``.
        spec: Its accounting in the number format in which it will run.
        checkpoint: Folder with its weights and tokenizer.
        hardware: The devices and their peaks.
        host: The machine on which the run happens.
        device: ``cpu`` or ``cuda``.
        dtype: Number format of weights, KV cache and matrix products.
        backend: The backend's class.
        engine_arguments: The user's arguments for it.
        tasks: The accuracy tasks with their items.
        texts: Texts from which prompts are cut.
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
    backend: type[Backend]
    engine_arguments: dict[str, str]
    tasks: tuple[tuple[Task, Sequence[Any]], ...]
    texts: Sequence[str]


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
    backend = backend or _best_backend(model, hardware)
    if config.rate is not None and not backend.open_loop:
        raise NotAvailableError(
            f"--rate: backend {backend.name!r} answers in batches and has no arrivals; use --concurrency or a server"
        )
    for task in tasks:
        refuse_mismatch(task, backend)
    host = read_host()
    device = "cpu" if hardware.profile.kind == "host" else "cuda"
    own = read_model(model_config, model.id)
    dtype = backend.dtype(own, device, config.precision, frozenset(host.flags))
    spec = read_model(model_config, model.id, weights=dtype, kv=dtype)
    _refuse_context(config, spec)
    if not backend.attaches:
        scored = _scored_batch(tasks, engine_arguments)
        free = available_memory() if device == "cpu" else (hardware.profile.memory_bytes or 0)
        _refuse_memory(config, spec, dtype, scored, free)
    checkpoint = _fetch_checkpoint(model, say, tokenizer_only=backend.attaches)
    backend.check(checkpoint, spec)
    options = TaskOptions(config.limit, config.data, task_arguments, say)
    items = tuple((task, task.items(options)) for task in tasks)
    _refuse_overlong(items, checkpoint, spec)
    return Plan(
        config=config,
        model=model,
        model_config=model_config,
        spec=spec,
        checkpoint=checkpoint,
        hardware=hardware,
        host=host,
        device=device,
        dtype=dtype,
        backend=backend,
        engine_arguments=engine_arguments,
        tasks=items,
        texts=prompt_texts(config.dataset, config.data, config.seed),
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
    unbuilt = {
        "--repeats above 1": config.repeats > 1,
        "--tensor-parallel above 1": (config.tensor_parallel or 1) > 1,
        "--num-gpus above 1": (config.num_gpus or 1) > 1,
    }
    for option, asked in unbuilt.items():
        if asked:
            raise NotBuiltError(f"{option} is not built yet; this version measures one device, once")


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


def _refuse_context(config: RunConfig, spec: ModelSpec) -> None:
    wanted = config.input_len + config.output_len
    if wanted > spec.max_context:
        raise BadInputError(
            f"--input-len {config.input_len} + --output-len {config.output_len} = {wanted} tokens, "
            f"the model holds {spec.max_context}; shorten them"
        )


def _scored_batch(tasks: Sequence[Task], engine_arguments: Mapping[str, str]) -> int:
    """Given answers that are scored at a time: 0 where no task scores any."""
    if not any("prompt_logprobs" in task.requires for task in tasks):
        return 0
    asked = engine_arguments.get("score_batch_size", "")
    return int(asked) if asked.isdecimal() else SCORED_BATCH


def _refuse_memory(config: RunConfig, spec: ModelSpec, dtype: str, scored: int, free: int) -> None:
    """Refuse what the memory cannot hold, before anything is fetched or loaded.

    Counted are the weights; the KV cache of all requests in flight at their full length; the activations of the larger
    of two passes, the prefill of all prompts in flight at once (one row of logits each) and one batch of given answers
    to score (``SCORED_TOKENS`` each, ``SCORED_LOGITS`` rows of logits); and ``OVERHEAD_BYTES``.

    Args:
        config: What was asked for.
        spec: The model.
        dtype: Number format of weights, cache and activations.
        scored: Given answers that are scored at a time.
        free: Memory that is there, in bytes.
    """
    weights = checkpoint_bytes(spec)
    cache = cache_bytes(spec, config.input_len + config.output_len) * config.concurrency
    tokens, long = config.concurrency * config.input_len, min(SCORED_TOKENS, spec.max_context)
    activations = max(
        activation_bytes(spec, tokens=tokens, logits_rows=config.concurrency, dtype=dtype),
        activation_bytes(spec, tokens=scored * long, logits_rows=scored * min(SCORED_LOGITS, long), dtype=dtype),
    )
    needed = weights + cache + activations + OVERHEAD_BYTES
    if needed > free:
        raise NotAvailableError(
            f"{spec.name} needs {needed / 1e9:.1f} GB in {dtype} (weights {weights / 1e9:.1f}, KV cache "
            f"{cache / 1e9:.1f}, activations {activations / 1e9:.1f}, overhead {OVERHEAD_BYTES / 1e9:.1f}), "
            f"{free / 1e9:.1f} GB are free; choose a smaller model, fewer or shorter requests in flight, or a machine "
            "with more memory"
        )


def _refuse_overlong(tasks: Sequence[tuple[Task, Sequence[Any]]], checkpoint: Path, spec: ModelSpec) -> None:
    """Refuse items that the model's context cannot hold, before the load is measured and not after."""
    if not tasks:
        return
    tokenizer = Tokenizer(checkpoint)
    for task, items in tasks:
        for name, tokens in task.lengths(items, tokenizer):
            if tokens > spec.max_context:
                raise BadInputError(
                    f"task {task.name!r}: item {name!r} takes {tokens} tokens, the model holds {spec.max_context}; "
                    "leave the task out or choose a model with a longer context"
                )


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
