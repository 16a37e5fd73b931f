"""How many sequences a deployment holds at once: memory beside the weights, and what the engine allows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from moecap.errors import BadInputError
from moecap.hardware.profile import HardwareProfile
from moecap.models.accounting import cache_bytes, checkpoint_bytes
from moecap.models.step import step_weights
from moecap.projection.deployment import Deployment
from moecap.projection.placement import Placement

__all__ = ["LIMITS", "EngineLimits", "Room", "expert_bytes", "most_sequences", "room", "usable_bytes"]


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What an engine allows unless it is told otherwise.

    Attributes:
        memory: Share of a device's memory that it takes, or of what weights and buffers leave of it.
        sequences: Most sequences in one step.
        step_tokens: Most tokens in one step, those of prompts included.
        reserves: Whether a sequence's whole output is reserved in the cache when it starts; else it grows.
        of_free: Whether ``memory`` is the share of what is left.
        each_replica: Whether the numbers bound each replica of the attention; else all of them together.
    """

    memory: float
    sequences: int
    step_tokens: int
    reserves: bool
    of_free: bool = False
    each_replica: bool = True

    def over(self, replicas: int) -> EngineLimits:
        """The limits of all replicas of the attention together."""
        times = replicas if self.each_replica else 1
        return replace(self, sequences=self.sequences * times, step_tokens=self.step_tokens * times, each_replica=False)


LIMITS = {
    "vllm": EngineLimits(0.9, 1024, 8192, reserves=False),
    "sglang": EngineLimits(0.88, 2048, 8192, reserves=False, each_replica=False),
    "trtllm": EngineLimits(0.9, 4096, 16384, reserves=True, of_free=True),
    "vllm-before-0.14": EngineLimits(0.9, 1024, 8192, reserves=False),
    "trtllm-before-1.0": EngineLimits(0.9, 4096, 16384, reserves=True, of_free=True),
    "offloading": EngineLimits(0.9, 1024, 8192, reserves=False),
    "default": EngineLimits(0.9, 1024, 8192, reserves=False),
}
"""Defaults by family of engines. vLLM on chips of 70 GiB and more: 0.9, 1,024, 8,192. SGLang: its memory fraction
depends on the chip, near 0.88. TensorRT-LLM: its fraction is of free memory, 0.9 by default; its benchmark command
sizes the batch by the cache up to 4,096 and reserves whole sequences (GUARANTEED_NO_EVICT). Replicas of the attention
have a scheduler each: vLLM and TensorRT-LLM give each the numbers, SGLang its share of them."""

_BUFFER_BYTES = 2.0e9
"""Bytes of a device for a runtime, its graphs and communication buffers."""

_BINARY_MEMORY = ("HBM", "GDDR6X", "GDDR7")
_USABLE = 0.995 * 2**30 / 1e9
"""Chips with these memories are sold by GiB that are called GB, and drivers report about 0.5 % less: 81,559 MiB of an
H100 of 80 GB, 143,771 of an H200 of 141, 183,359 of a B200 of 180. GDDR6 boards spend the difference on error
correction: 46,068 MiB of an L40S of 48 GB."""


@dataclass(frozen=True, slots=True)
class Room:
    """Memory of all devices together, in bytes.

    Attributes:
        memory: What the engine takes, buffers included.
        weights: Weights, copies once a copy; where a placement keeps some elsewhere, what is in the devices.
        cache: What is left for caches.
    """

    memory: float
    weights: float
    cache: float

    @property
    def fits(self) -> bool:
        """Whether anything is left for caches."""
        return self.cache > 0


def usable_bytes(hardware: HardwareProfile) -> float:
    """Bytes of a device's memory as its driver counts them; a size that is no whole number of GB is such a count.

    Raises:
        BadInputError: If the profile does not say how much memory a device has.
    """
    size = hardware.memory_bytes
    if size is None:
        raise BadInputError(f"the profile {hardware.id!r} does not say how much memory it has; give one that does")
    sold = size % 10**9 == 0 and (hardware.memory_type or "").upper().startswith(_BINARY_MEMORY)
    return size * _USABLE if sold else float(size)


@lru_cache(maxsize=256)
def room(deployment: Deployment, limits: EngineLimits) -> Room:
    """The memory of a deployment.

    Raises:
        BadInputError: If the profile does not say how much memory a device has.
    """
    one = usable_bytes(deployment.hardware)
    devices = deployment.devices
    weights = float(checkpoint_bytes(deployment.spec, deployment.parallelism))
    if deployment.placement is not None:
        weights = _in_devices(deployment, deployment.placement, weights)
    held = weights + devices * _BUFFER_BYTES
    if limits.of_free:
        cache = limits.memory * (devices * one - held)
        return Room(held + cache, weights, cache)
    memory = devices * (one * limits.memory)
    return Room(memory, weights, memory - held)


def _in_devices(deployment: Deployment, placement: Placement, weights: float) -> float:
    """Bytes of weights in the devices' memory, copies of experts included."""
    layout = placement.layout
    experts = expert_bytes(deployment)
    own = (weights - experts) * (layout.weights == "hbm") + experts * (layout.experts == "hbm")
    return own + placement.cached_bytes


def expert_bytes(deployment: Deployment) -> float:
    """Bytes of all routed experts of all layers."""
    held = step_weights(deployment.spec, deployment.parallelism)
    return float(np.sum(held.expert * held.experts))


def most_sequences(deployment: Deployment, limits: EngineLimits, input_tokens: float, output_tokens: float) -> float:
    """Sequences of these lengths that run at once, at most what the engine allows; 0 where not one fits.

    Where the engine reserves, each holds its whole length; else a running sequence holds half of its output on average.
    """
    free = room(deployment, limits).cache
    held = input_tokens + output_tokens * (1.0 if limits.reserves else 0.5)
    one = cache_bytes(deployment.spec, max(1, round(held)), deployment.parallelism)
    longest = cache_bytes(deployment.spec, max(1, round(input_tokens + output_tokens)), deployment.parallelism)
    if free < longest:
        return 0.0
    allowed = float(limits.over(deployment.parallelism.data).sequences)
    return min(allowed, free / one) if one else allowed
