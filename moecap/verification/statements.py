"""What a result states beside its metrics, against its own parts, its observations and the packaged profiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import numpy as np

import moecap
from moecap.dtypes import canonical_dtype
from moecap.errors import MoecapError
from moecap.facts import model_formats
from moecap.hardware.profile import HardwareProfile, ProfileSource
from moecap.hardware.registry import load_profile, names_file, packaged_id
from moecap.metrics.constants import constants_in_force
from moecap.metrics.summary import RunFacts
from moecap.models.accounting import count_parameters
from moecap.models.adapter import ADAPTER, ADAPTER_ARGUMENT
from moecap.models.formats import asked_cache, asked_weights, run_formats
from moecap.models.products import product_formats
from moecap.models.reading import is_quantised, read_model
from moecap.observations.reader import Observations
from moecap.plugins import BACKENDS, load_plugin
from moecap.projection.precision import QUANTISED
from moecap.result import Flag, HardwareRecord, Result
from moecap.runner.declared_layout import engine_problem, layout_problem
from moecap.runner.reproduction import reproduction_command
from moecap.verification.load import load_pairs
from moecap.verification.projection import projection_pairs
from moecap.verification.samples import task_pairs

__all__ = ["Difference", "flag_differences", "record_differences"]

PEAKS = {"id", "kind", "memory_bandwidth", "dense_flops"}
"""What a packaged profile must still say in a later version of moecap; its prices and notes may have changed."""

Stated = float | str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A statement of a result that does not follow from its observations: a metric, a flag or another field.

    Attributes:
        metric: Its name; ``flags.NAME`` for flags, the dotted key for a field.
        stored: What the result states.
        recomputed: What follows, or what is needed.
    """

    metric: str
    stored: Stated
    recomputed: Stated


def record_differences(result: Result, facts: RunFacts, observations: Observations) -> Iterator[Difference]:
    """Every field outside metrics and flags that contradicts the rest of the result or its observations.

    Args:
        result: The result.
        facts: Its model and hardware, as the metrics take them.
        observations: What the run observed.
    """
    pairs = (
        _model(result, facts)
        | _hardware(result)
        | (_ranks(result) if result.kind == "measured" else {})
        | _layout(result, facts)
        | _load(result, observations)
        | _ending(result, observations)
        | task_pairs(result, observations.samples)
    )
    pairs |= projection_pairs(result, facts, observations, result.provenance.moecap == moecap.__version__)
    pairs["provenance.command"] = (result.provenance.command, reproduction_command(result.workload))
    for name, (stored, found) in pairs.items():
        if stored != found:
            yield Difference(name, stored, found)
    started, finished = result.provenance.started, result.provenance.finished
    if datetime.fromisoformat(started) > datetime.fromisoformat(finished):
        yield Difference("provenance.finished", finished, f"not before {started}")


def flag_differences(stored: tuple[Flag, ...], recomputed: tuple[Flag, ...]) -> Iterator[Difference]:
    """Flags that a result lacks, that it has without cause, or whose level or text is another."""
    for name in sorted({flag.name for flag in (*stored, *recomputed)}):
        texts = [sorted(f"{f.level}: {f.text}" for f in flags if f.name == name) for flags in (stored, recomputed)]
        if texts[0] != texts[1]:
            yield Difference(f"flags.{name}", *("; ".join(text) or None for text in texts))


def _model(result: Result, facts: RunFacts) -> dict[str, tuple[Stated, Stated]]:
    """Sizes by its configuration; formats by those of the weights and by what was asked for."""
    model, spec = result.model, facts.spec
    parameters = count_parameters(spec)
    pairs: dict[str, tuple[Stated, Stated]] = {
        "model.total_params": (model.total_params, parameters.total),
        "model.active_params": (model.active_params, parameters.active),
        "model.is_moe": (model.is_moe, spec.is_moe),
    }
    arguments = dict(pair.split("=", 1) for pair in result.workload.engine_arg)
    pairs[f"model.config.{ADAPTER}"] = (str(ADAPTER in model.config), str(ADAPTER_ARGUMENT in arguments))
    cache = asked_cache(arguments)
    formats, asked = model_formats(model), result.workload.precision
    if model.quantised:
        pairs["model.weight_dtype"] = (model.weight_dtype, formats.words(spec))
        by_itself = asked == "auto" or (result.kind == "projected" and asked.lower() in QUANTISED)
        pairs["model.compute_dtype"] = (
            model.compute_dtype,
            model.compute_dtype if by_itself else canonical_dtype(asked),
        )
        stored = read_model(model.config, model.id, unquantised=model.compute_dtype).kv_dtype
        pairs["model.kv_dtype"] = (model.kv_dtype, cache or stored)
    else:
        one = run_formats(model.weight_dtype)
        pairs["model.weight_dtype"] = (model.weight_dtype, asked_weights(asked, model.weight_dtype))
        pairs["model.kv_dtype"] = (model.kv_dtype, cache or one.kv)
        pairs["model.compute_dtype"] = (model.compute_dtype, one.compute)
    own = is_quantised(model.config) and _holds_quantised(result.backend.name, model.quantised)
    pairs["model.quantised"] = (str(model.quantised), str(own))
    pairs |= _pairs("model.weight_dtypes", model.weight_dtypes, spec.weight_dtypes)
    return pairs | _pairs("model.compute_dtypes", model.compute_dtypes, product_formats(spec, facts.compute_dtype))


def _ranks(result: Result) -> dict[str, tuple[Stated, Stated]]:
    """Ranks of a split model: one a device, or all on one host, by a backend that splits models."""
    ranks, devices = result.workload.tensor_parallel or 1, result.hardware.count
    expected = ranks if result.hardware.profile.kind == "host" and devices == 1 else devices
    try:
        able = "tensor" in load_plugin(BACKENDS, result.backend.name).parallel
    except MoecapError:
        able = True
    pairs: dict[str, tuple[Stated, Stated]] = {"workload.tensor_parallel": (ranks, expected if able else 1)}
    if "workers" in result.backend.details:
        pairs["backend.details.workers"] = (result.backend.details["workers"], str(ranks))
    return pairs


def _layout(result: Result, facts: RunFacts) -> dict[str, tuple[Stated, Stated]]:
    """Whether a declared layout can be that of the model on the hardware, for an engine that offloads."""
    layout = result.workload.layout
    if layout is None:
        return {}
    problem = layout_problem(layout, facts.spec, result.hardware.profile, context=1)
    with suppress(MoecapError):  # a backend that is not installed here
        problem = engine_problem(result.backend.name) or problem
    return {"workload.layout": ("declared", problem or "declared")}


def _holds_quantised(backend: str, stated: bool) -> bool:
    """Whether a backend holds quantised checkpoints in their own formats; as stated for one that is not installed."""
    try:
        return bool(load_plugin(BACKENDS, backend).quantised)
    except MoecapError:
        return stated


def _hardware(result: Result) -> dict[str, tuple[Stated, Stated]]:
    """Name, price, number and source of the devices, and the peaks of a packaged profile."""
    stored, workload, profile = result.hardware, result.workload, result.hardware.profile
    count = workload.num_gpus or 1
    constants = constants_in_force(workload.costs, workload.usd_per_hour, profile, count)
    expected = HardwareRecord.of(profile, count, _source(workload.hw, profile), constants)
    pairs: dict[str, tuple[Stated, Stated]] = {
        f"hardware.{name}": (getattr(stored, name), getattr(expected, name))
        for name in HardwareRecord.model_fields
        if name != "profile"
    }
    same_version = result.provenance.moecap == moecap.__version__
    if same_version:
        pairs |= _pairs("constants", {c.name: repr(c) for c in result.constants}, {c.name: repr(c) for c in constants})
    if stored.source == "packaged":
        names = set(HardwareProfile.model_fields) - {"probe"} if same_version else PEAKS
        identifier = packaged_id(workload.hw) or packaged_id(profile.id)
        packaged = load_profile(identifier) if identifier else None
        if packaged is not None and profile.memory_bytes in packaged.memory_options_bytes:  # sold in several sizes
            packaged = packaged.model_copy(update={"memory_bytes": profile.memory_bytes})
        pairs |= _pairs("hardware.profile", _texts(profile, names), _texts(packaged, names) if packaged else {})
    if stored.source == "probed":
        datasheet = profile.memory_bandwidth is not None or any(profile.dense_flops.values())
        probed = profile.kind == "host" and profile.probe is not None and not datasheet
        pairs["hardware.profile.probe"] = (None if probed else "no host with a probe alone", None)
    return pairs


def _texts(profile: HardwareProfile, names: set[str]) -> dict[str, str]:
    return {name: repr(getattr(profile, name)) for name in sorted(names)}


def _pairs(prefix: str, stored: dict[str, str], found: dict[str, str]) -> dict[str, tuple[Stated, Stated]]:
    return {f"{prefix}.{name}": (stored.get(name), found.get(name)) for name in stored | found}


def _source(hw: str, profile: HardwareProfile) -> ProfileSource:
    """Where a profile comes from that ``--hw`` gave."""
    if names_file(hw):
        return "file"
    if packaged_id(hw) is not None:
        return "packaged"
    return "probed" if profile.kind == "host" else "packaged"  # auto, or a name of this machine's host


def _load(result: Result, observations: Observations) -> dict[str, tuple[Stated, Stated]]:
    """The load that was asked for against the requests that were sent."""
    drawn_with = result.provenance.environment.get("numpy")
    return load_pairs(result.workload, observations.requests, result.status == "complete", drawn_with == np.__version__)


def _ending(result: Result, observations: Observations) -> dict[str, tuple[Stated, Stated]]:
    """Kind, status and reason against what was observed."""
    complete, steps = result.status == "complete", observations.steps
    pairs: dict[str, tuple[Stated, Stated]] = {}
    if not complete:
        pairs["reason"] = (result.reason, result.reason or "why it did not complete")
        return pairs
    pairs["reason"] = (result.reason, None)
    unfinished = int((observations.requests["status"] == "unfinished").sum())
    if unfinished:
        pairs["status"] = (result.status, f"{unfinished} requests are unfinished")
    if result.kind == "measured" and result.backend.timer != "none" and not (steps.stage == "load").any():
        pairs["kind"] = (result.kind, "no step of the load was measured")
    elif result.kind == "measured" and result.backend.timer != "none" and (unfed := _unfed(observations)):
        pairs["status"] = (result.status, f"{unfed} completed requests were fed in no step")
    if result.kind == "projected":
        return pairs | {f"workload.task.{s['task']}": ("no samples", "samples") for s in observations.samples}
    samples: dict[str, int] = {}  # of a group of tasks those of its largest, since the limit is one of each
    for (task, _), count in Counter((s["task"], s.get("part")) for s in observations.samples).items():
        samples[task] = max(count, samples.get(task, 0))
    for task in {*result.workload.task, *samples}:
        most, found = result.workload.limit if task in result.workload.task else 0, samples.get(task, 0)
        if not found or (most is not None and found > most):
            wanted = f"{'at least 1' if most is None else f'at most {most}'} samples"
            pairs[f"workload.task.{task}"] = (wanted, found)
    return pairs


def _unfed(observations: Observations) -> int:
    """Completed requests of the load that no step feeds."""
    requests, steps = observations.requests, observations.steps
    done = requests.loc[(requests["stage"] == "load") & (requests["status"] == "completed"), "request"]
    fed = steps.seq_request.values[np.repeat(steps.stage == "load", steps.seq_new.lengths())]
    return int((~done.isin(fed)).sum())
