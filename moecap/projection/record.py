"""What a projection rests on, as a result stores it, so that anyone can derive its numbers again."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from moecap.hardware.profile import HardwareProfile
from moecap.metrics.memory_layout import Layout
from moecap.models.parallelism import Parallelism
from moecap.models.spec import ModelSpec
from moecap.projection.capacity import EngineLimits
from moecap.projection.coefficients import Coefficients
from moecap.projection.deployment import Deployment
from moecap.projection.known_errors import KnownErrors
from moecap.projection.placement import Placement
from moecap.projection.routing import Popularity

__all__ = ["ProjectionRecord"]


class ProjectionRecord(BaseModel):
    """The assumptions of a projection.

    Attributes:
        engine: Family of the engine that is projected, whose costs are taken.
        split: How the model is split over devices.
        limits: What the engine allows.
        block_tokens: Tokens of a block of its KV cache, the unit in which prefixes are shared.
        routing: How unevenly tokens choose experts.
        routing_source: Where that comes from, in words.
        coefficients: Efficiencies and costs, with their fit.
        known: How far off they were on published results; null where they were not tested, or nothing is projected.
        host: The profile of one socket of the host, where its processors compute experts.
        sockets: Sockets of it.
        prefetched: Share of what moves to the devices that moves while the rest of a step runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    engine: str
    split: Parallelism
    limits: EngineLimits
    block_tokens: int
    routing: Popularity
    routing_source: str
    coefficients: Coefficients
    known: KnownErrors | None = None
    host: HardwareProfile | None = None
    sockets: Annotated[int, Field(gt=0)] = 1
    prefetched: Annotated[float, Field(ge=0, le=1)] = 0.0

    def deployment(
        self, spec: ModelSpec, hardware: HardwareProfile, activations: str, layout: Layout | None = None
    ) -> Deployment:
        """What is projected.

        Args:
            spec: The model in the number formats of the run.
            hardware: The profile of one device.
            activations: Number format of what passes from layer to layer.
            layout: Which memory holds what, where that is not only the devices' own.

        Raises:
            BadInputError: If the layout cannot be projected.
        """
        placement = None
        if layout is not None:
            placement = Placement(layout, self.host, self.sockets, self.prefetched)
        return Deployment(spec, hardware, self.split, self.engine, activations, self.routing, placement=placement)
