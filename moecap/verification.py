"""Recomputes every number of a result from its observations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moecap.errors import BadInputError, MoecapError
from moecap.files import file_sha256
from moecap.metrics.summary import RunFacts, run_metrics
from moecap.metrics.value import Metric
from moecap.models.accounting import count_parameters
from moecap.models.reading import read_model
from moecap.observations.reader import Observations, read_observations
from moecap.observations.schema import TABLES
from moecap.result import RESULT_FILE, Result, read_result
from moecap.tasks.multiple_choice import choice_scores

__all__ = ["Difference", "Verification", "result_facts", "verify_run"]

TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric whose stored value does not follow from the observations."""

    metric: str
    stored: float | None
    recomputed: float | None


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of a recomputation.

    Attributes:
        differences: Metrics that differ by more than 1e-9, relatively.
        corrupt: Files that are missing, changed or unreadable.
        checked: Number of metrics that were recomputed.
        problem: Why the metrics could not be recomputed; empty where they were.
    """

    differences: tuple[Difference, ...]
    corrupt: tuple[str, ...]
    checked: int
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether every file and every number holds."""
        return not self.differences and not self.corrupt


def result_facts(result: Result) -> RunFacts:
    """What the metrics need, from a result alone."""
    spec = read_model(result.model.config, result.model.id, weights=result.model.weight_dtype, kv=result.model.kv_dtype)
    return RunFacts(
        spec=spec,
        profile=result.hardware.profile,
        devices=result.hardware.count,
        compute_dtype=result.model.compute_dtype,
        concurrency=result.workload.concurrency,
        usd_per_hour=result.hardware.usd_per_hour,
    )


def verify_run(directory: Path) -> Verification:
    """Check the digests of a run directory's files and recompute every metric.

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
        _check_routing(observations)
        _check_samples(observations)
        facts = result_facts(result)
        recomputed = run_metrics(observations, facts)
        differences = (*_differences(result.metrics, recomputed), *_other_numbers(result, facts, observations))
    except Exception as error:  # observations come from anyone: whatever they break, they are what is broken
        problem = str(error) if isinstance(error, MoecapError) else f"{type(error).__name__}: {error}"
        culprit = next((name for name in names if problem.startswith(name)), RESULT_FILE if not corrupt else corrupt[0])
        return Verification((), tuple(dict.fromkeys([*corrupt, culprit])), 0, problem)
    return Verification(differences, tuple(corrupt), len(recomputed))


def _has_its_id(result: Result) -> bool:
    try:
        return result.canonical_id() == result.id
    except ValueError:  # a number that canonical JSON cannot hold
        return False


def _other_numbers(result: Result, facts: RunFacts, observations: Observations) -> list[Difference]:
    """Numbers of a result outside its metrics that do not follow from the model and the observations."""
    parameters = count_parameters(facts.spec)
    load = observations.requests[observations.requests["stage"] == "load"]
    pairs: dict[str, tuple[float, float]] = {
        "model.total_params": (result.model.total_params, parameters.total),
        "model.active_params": (result.model.active_params, parameters.active),
        "model.is_moe": (result.model.is_moe, facts.spec.is_moe),
    }
    if result.status == "complete":
        pairs["workload.num_requests"] = (result.workload.num_requests, len(load))
    if len(load):
        pairs["workload.input_len"] = (result.workload.input_len, int(load["input_tokens_asked"].max()))
        pairs["workload.output_len"] = (result.workload.output_len, int(load["output_tokens_asked"].max()))
    return [Difference(name, stored, found) for name, (stored, found) in pairs.items() if stored != found]


def _differences(stored: dict[str, Metric], recomputed: dict[str, Metric]) -> tuple[Difference, ...]:
    found = []
    for name in sorted(stored.keys() | recomputed.keys()):
        a, b = stored.get(name), recomputed.get(name)
        same = (
            a is not None
            and b is not None
            and (a.unit, a.reason) == (b.unit, b.reason)
            and all(_close(getattr(a, part), getattr(b, part)) for part in ("value", "low", "high", "n"))
        )
        if not same:
            found.append(Difference(name, a.value if a else None, b.value if b else None))
    return tuple(found)


def _close(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=0.0)


def _check_routing(observations: Observations) -> None:
    """The distinct experts of the steps must be those that the routed experts give."""
    routing, steps = observations.routing, observations.steps
    if routing is None or not len(steps):
        return
    if routing.experts.ndim != 3 or routing.token_step.shape != routing.experts.shape[:1]:
        raise BadInputError("routing.npz has arrays of the wrong shape")
    if len(routing.token_step) and not 0 <= routing.token_step.min() <= routing.token_step.max() < len(steps):
        raise BadInputError("routing.npz names steps that steps.parquet does not have")
    layers = routing.experts.shape[1]
    width = int(routing.experts.max(initial=0)) + 1
    key = (routing.token_step[:, None, None].astype(np.int64) * layers + np.arange(layers)[None, :, None]) * width
    cells = np.unique(key + routing.experts)
    distinct = np.bincount(cells // width, minlength=len(steps) * layers)
    if not np.array_equal(distinct, steps.distinct_experts.values):
        raise BadInputError("routing.npz does not give the distinct experts of steps.parquet")


def _check_samples(observations: Observations) -> None:
    """The scores of the samples must be those that their log-likelihoods give."""
    for sample in observations.samples:
        if sample.get("kind") != "multiple_choice":
            continue
        try:
            scores = choice_scores(sample["log_likelihoods"], sample["answers"], sample["gold"])
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise BadInputError(f"samples.jsonl holds a sample that cannot be scored ({error!r})") from None
        if scores != sample.get("scores"):
            raise BadInputError(f"samples.jsonl scores {sample.get('id')!r} otherwise than its log-likelihoods do")
