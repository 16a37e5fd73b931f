"""What a result says of the projection that it is, or that it is held against, with what its configuration gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moecap.errors import MoecapError
from moecap.metrics.summary import RunFacts
from moecap.observations.reader import Observations
from moecap.plugins import BACKENDS, load_plugin
from moecap.projection.assumptions import comparison_assumptions, projection_assumptions
from moecap.projection.coefficients import calibrated
from moecap.projection.engine_settings import engine_settings
from moecap.projection.record import ProjectionRecord
from moecap.projection.replay import replay_pairs
from moecap.projection.routing_choice import chosen_routing, is_measured_run
from moecap.result import Result

__all__ = ["projection_pairs"]

Stated = float | str | None


def projection_pairs(
    result: Result, facts: RunFacts, observations: Observations, same_version: bool
) -> dict[str, tuple[Stated, Stated]]:
    """Statements with what they should be; a pair that differs is a contradiction.

    A projection's load is simulated again, which has to give its files. That of a prefix cache cannot be: which prompts
    share their beginning is not in a run directory.

    Args:
        result: The result.
        facts: Its model and its split.
        observations: What its directory holds.
        same_version: Whether it was made by this version of moecap, whose coefficients and rules are those that it had.
    """
    projects = result.kind == "projected"
    pairs: dict[str, tuple[Stated, Stated]] = {}
    try:
        if load_plugin(BACKENDS, result.backend.name).projects != projects:
            pairs["kind"] = (result.kind, "measured" if projects else "projected")
    except MoecapError:  # a backend that is not installed here measures
        pairs["kind"] = (result.kind, "measured")
    if projects and result.projection is None:
        pairs["projection"] = (None, "what the projection rests on")
    if result.projection is not None and same_version and "kind" not in pairs:
        expected = (_projected if projects else _compared)(result, result.projection, facts)
        stored, found = result.projection.model_dump(mode="json"), expected.model_dump(mode="json")
        leaves, again = dict(_leaves("projection", stored)), dict(_leaves("projection", found))
        pairs |= {key: (leaves.get(key), again.get(key)) for key in leaves | again}
        if projects and stored == found and result.status == "complete" and not facts.prefix_cache:
            deployment = expected.deployment(facts.spec, facts.profile, facts.compute_dtype, facts.layout)
            pairs |= replay_pairs(observations, expected, deployment, facts.concurrency)
    if projects and result.projection is not None:
        tensor = result.projection.split.tensor
        pairs["workload.tensor_parallel"] = (result.workload.tensor_parallel or 1, tensor)
    return pairs


def _projected(result: Result, stated: ProjectionRecord, facts: RunFacts) -> ProjectionRecord:
    """What the configuration gives; the routing of a run that is not here, as it is stated."""
    coefficients, workload = calibrated(), result.workload
    arguments = dict(pair.partition("=")[::2] for pair in workload.engine_arg)
    settings = engine_settings(arguments, coefficients)
    routing = stated.routing, stated.routing_source
    if not is_measured_run(workload.routing):
        routing = chosen_routing(workload.routing, facts.spec, coefficients)
    split = settings.split(workload.tensor_parallel or 1)
    return projection_assumptions(settings, split, routing, coefficients)


def _compared(result: Result, stated: ProjectionRecord, facts: RunFacts) -> ProjectionRecord:
    backend, details = result.backend, result.backend.details
    asked = (backend.name, backend.version, details, facts.spec, facts.parallelism)
    return comparison_assumptions(*asked, calibrated())


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Stated]]:
    """The numbers and words of a record by their dotted names; lists as they are printed."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(f"{name}.{key}", part)
    else:
        yield name, value if isinstance(value, int | float | str | None) else repr(value)
