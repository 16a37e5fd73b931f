"""The assumptions of a projection: of a run that projects, and of the one that a measured run is held against."""

from __future__ import annotations

from collections.abc import Mapping

from moecap.models.parallelism import Parallelism
from moecap.models.spec import ModelSpec
from moecap.projection.capacity import LIMITS
from moecap.projection.coefficients import Coefficients, engine_family
from moecap.projection.engine_settings import BLOCK_TOKENS, EngineSettings
from moecap.projection.known_errors import known_errors
from moecap.projection.record import ProjectionRecord
from moecap.projection.routing import Popularity
from moecap.projection.routing_choice import chosen_routing

__all__ = ["comparison_assumptions", "projection_assumptions"]

OF_ATTACHED = "server"
"""The detail of an attached server that says which engine it is."""


def projection_assumptions(
    settings: EngineSettings, split: Parallelism, routing: tuple[Popularity, str], coefficients: Coefficients
) -> ProjectionRecord:
    """What a run that projects rests on.

    Args:
        settings: The engine that is projected.
        split: How the model is split.
        routing: How tokens choose experts, and where that comes from.
        coefficients: Efficiencies and costs.
    """
    return ProjectionRecord(
        engine=settings.family,
        split=split,
        limits=settings.limits,
        block_tokens=settings.block_tokens,
        routing=routing[0],
        routing_source=routing[1],
        coefficients=coefficients,
        known=known_errors(),
        host=settings.host,
        sockets=settings.sockets,
        prefetched=settings.prefetched,
    )


def comparison_assumptions(
    backend: str,
    version: str,
    details: Mapping[str, str],
    spec: ModelSpec,
    split: Parallelism,
    coefficients: Coefficients,
) -> ProjectionRecord:
    """What the projection rests on that a measured run is held against: the engine's defaults, calibrated routing.

    Args:
        backend: The backend's name.
        version: The engine's version.
        details: What the engine said of itself.
        spec: The model.
        split: How the model was split.
        coefficients: Efficiencies and costs.
    """
    family = engine_family(f"{details.get(OF_ATTACHED, backend)} {version}")
    routing, source = chosen_routing("auto", spec, coefficients)
    return ProjectionRecord(
        engine=family,
        split=split,
        limits=LIMITS.get(family, LIMITS["default"]),
        block_tokens=BLOCK_TOKENS.get(family.split("-before")[0], BLOCK_TOKENS["vllm"]),
        routing=routing,
        routing_source=source,
        coefficients=coefficients,
    )
