"""What is projected: a model in its formats, on devices of one kind, split in one way, served by one engine."""

from __future__ import annotations

from dataclasses import dataclass

from moecap.hardware.profile import HardwareProfile
from moecap.models.parallelism import ONE_DEVICE, Parallelism
from moecap.models.spec import ModelSpec
from moecap.projection.placement import Placement
from moecap.projection.routing import Popularity

__all__ = ["Deployment"]


@dataclass(frozen=True, slots=True, eq=False)
class Deployment:
    """A model on devices behind an engine.

    Attributes:
        spec: The model in the number formats of the run.
        hardware: The profile of one device.
        parallelism: How the model is split over devices.
        engine: Family of the engine: ``vllm``, ``sglang``, ``trtllm`` or another, which gets the declared defaults.
        activations: Number format of what passes from layer to layer.
        popularity: How unevenly tokens choose experts; the calibrated power law where none is given.
        replayed_tokens: Most tokens of a step with prompts that the engine was told to capture graphs for; its default
            where not given.
        placement: Where tensors live, where that is not only the devices' own memory.
    """

    spec: ModelSpec
    hardware: HardwareProfile
    parallelism: Parallelism = ONE_DEVICE
    engine: str = "vllm"
    activations: str = "bf16"
    popularity: Popularity | None = None
    replayed_tokens: int | None = None
    placement: Placement | None = None

    @property
    def devices(self) -> int:
        """Devices of all ranks, stages and replicas."""
        return self.parallelism.devices
