"""Recomputes every number and every flag of a result from its observations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import moecap
from moecap.errors import BadInputError, MoecapError
from moecap.facts import result_facts
from moecap.files import file_sha256
from moecap.metrics.routing_source import SeenSteps, seen_steps
from moecap.metrics.summary import run_metrics
from moecap.metrics.value import Metric
from moecap.models.spec import ModelSpec, MoeFfn
from moecap.observations.reader import Observations, Routing, read_observations
from moecap.observations.schema import TABLES
from moecap.result import RESULT_FILE, Flag, Result, read_result
from moecap.runner.result_flags import result_flags
from moecap.verification.method_parts import check_parts
from moecap.verification.samples import check_samples
from moecap.verification.statements import Difference, flag_differences, record_differences
from moecap.verification.task_data import check_data

__all__ = ["Verification", "verify_run"]

TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of a recomputation.

    Attributes:
        differences: Metrics that differ by more than 1e-9, relatively, and flags and other fields that do not follow.
        corrupt: Files that are missing, changed or unreadable.
        checked: Number of metrics that were recomputed.
        problem: Why the metrics could not be recomputed; empty where they were.
        recomputed: Every metric that follows from the observations; empty where they could not be recomputed.
        unchecked: Tasks whose questions and right answers could not be compared with their data sets, and why.
    """

    differences: tuple[Difference, ...]
    corrupt: tuple[str, ...]
    checked: int
    problem: str = ""
    recomputed: Mapping[str, Metric] = field(default_factory=dict)
    unchecked: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every file and every number holds."""
        return not self.differences and not self.corrupt


def verify_run(directory: Path, data: Path | None = None) -> Verification:
    """Check the digests of a run directory's files and recompute every metric.

    Args:
        directory: The run directory.
        data: The folder that the run had as ``--data``, for the questions of its tasks.

    Raises:
        BadInputError: If there is no readable result.
    """
    result = read_result(directory)
    corrupt = [] if _has_its_id(result) else [RESULT_FILE]
    names = dict.fromkeys([*TABLES, "environment.json", *result.observations])
    for name in names:
        path = directory / name
        digest = result.observations.get(name)
        if Path(name).name != name or path.is_symlink() or not path.is_file() or file_sha256(path) != digest:
            corrupt.append(name)
    try:
        observations = read_observations(directory)
        facts = result_facts(result)
        _check_experts(observations, facts.spec)
        _check_routing(observations, max((layer.experts for layer in facts.spec.moe_layers), default=0))
        check_samples(observations, result.tasks)
        questions = check_data(result, observations.samples, facts.spec.max_context, data)
        seen = seen_steps(observations, facts.spec, facts.step_tokens, projected=facts.projected)
        recomputed = run_metrics(seen, facts)
        check_parts(result, observations)
        differences = (
            *_metric_differences(result, recomputed),
            *flag_differences(result.flags, _flags(result, recomputed, seen)),
            *record_differences(result, facts, observations),
            *_source_difference(result, seen),
            *(Difference(name, *pair) for name, pair in questions.pairs.items() if pair[0] != pair[1]),
        )
    except Exception as error:  # observations come from anyone: whatever they break, they are what is broken
        problem = str(error) if isinstance(error, MoecapError) else f"{type(error).__name__}: {error}"
        culprit = next((name for name in names if problem.startswith(name)), RESULT_FILE if not corrupt else corrupt[0])
        return Verification((), tuple(dict.fromkeys([*corrupt, culprit])), 0, problem)
    return Verification(
        differences, tuple(corrupt), len(recomputed), recomputed=recomputed, unchecked=questions.unchecked
    )


def _has_its_id(result: Result) -> bool:
    try:
        return result.canonical_id() == result.id
    except ValueError:  # a number that canonical JSON cannot hold
        return False


def _metric_differences(result: Result, recomputed: dict[str, Metric]) -> Iterator[Difference]:
    """Metrics that differ; one that a result of another version does not state may be newer than it."""
    stored, same_version = result.metrics, result.provenance.moecap == moecap.__version__
    for name in sorted(stored.keys() | recomputed.keys() if same_version else stored):
        a, b = stored.get(name), recomputed.get(name)
        if not _same(a, b):
            yield Difference(name, a.value if a else None, b.value if b else None)


def _same(a: Metric | None, b: Metric | None) -> bool:
    return (
        a is not None
        and b is not None
        and (a.unit, a.reason, a.basis) == (b.unit, b.reason, b.basis)
        and all(_close(getattr(a, part), getattr(b, part)) for part in ("value", "low", "high", "n"))
        and _repeats_close(a.repeats, b.repeats)
    )


def _repeats_close(a: tuple[float, ...] | None, b: tuple[float, ...] | None) -> bool:
    if a is None or b is None:
        return a is b
    return len(a) == len(b) and all(map(_close, a, b))


def _source_difference(result: Result, seen: SeenSteps) -> Iterator[Difference]:
    if result.routing_source != seen.source:
        yield Difference("routing_source", result.routing_source, seen.source)


def _flags(result: Result, recomputed: dict[str, Metric], seen: SeenSteps) -> tuple[Flag, ...]:
    """The flags that follow; from the stored digits of each metric that holds, lest the last one turn a rounding."""
    metrics = {
        name: result.metrics[name] if _same(result.metrics.get(name), m) else m for name, m in recomputed.items()
    }
    records = (result.workload, result.model, result.hardware, result.backend, result.tasks)
    return result_flags(*records, metrics, seen, result.projection if result.kind == "projected" else None)


def _close(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=0.0)


def _check_experts(observations: Observations, spec: ModelSpec) -> None:
    """Routed experts must be those of the model's MoE layers; beyond N come only those that it has without weights.

    In the last layer the number after the last one marks a token whose logits nobody asked for, and which was not
    computed there.
    """
    for routing in (observations.routing, observations.request_routing):
        if routing is None or not routing.experts.size:
            continue
        layers = len(spec.moe_layers)
        if routing.experts.shape[1] != layers:
            raise BadInputError(
                f"routing.npz has {routing.experts.shape[1]} layers, the model has {layers} with experts"
            )
        most = np.array([layer.experts + layer.zero_experts for layer in spec.moe_layers])
        found = routing.experts.max((0, 2))
        if isinstance(routing, Routing) and isinstance(spec.layers[-1].ffn, MoeFfn):
            last, steps = routing.experts[:, -1], observations.steps
            left_out = np.bincount(routing.token_step[(last == most.max()).all(1)], minlength=len(steps))
            if (left_out > steps.tokens() - steps.logits_tokens).any():
                raise BadInputError("routing.npz leaves out the last layer of a token whose logits were asked for")
            found[-1] = last[last != most.max()].max(initial=0)
        if (found >= most).any():
            layer = int(np.argmax(found >= most))
            raise BadInputError(
                f"routing.npz names expert {found[layer]} of MoE layer {layer}, which has {most[layer]} experts"
            )


def _check_routing(observations: Observations, experts: int) -> None:
    """The distinct experts of the steps must be those that the routed experts give.

    Ids from ``experts`` on are of experts without weights, which are in no count.
    """
    routing, steps = observations.routing, observations.steps
    if routing is None or not len(steps):
        return
    layers = routing.experts.shape[1]
    width = int(routing.experts.max(initial=0)) + 1
    key = (routing.token_step[:, None, None].astype(np.int64) * layers + np.arange(layers)[None, :, None]) * width
    cells = np.unique((key + routing.experts)[routing.experts < experts])
    distinct = np.bincount(cells // width, minlength=len(steps) * layers)
    if not np.array_equal(distinct, steps.distinct_experts.values):
        raise BadInputError("routing.npz does not give the distinct experts of steps.parquet")
