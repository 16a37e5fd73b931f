"""How many sequences a deployment holds at once: memory beside the weights, and what the engine allows."""

from __future__ import annotations

from dataclasses import dataclass

from moecap.errors import BadInputError
from moecap.models.accounting import cache_bytes, checkpoint_bytes
from moecap.projection.deployment import Deployment

__all__ = ["LIMITS", "EngineLimits", "Room", "most_sequences", "room"]


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What an engine allows unless it is told otherwise.

    Attributes:
        memory: Share of a device's memory that it takes.
        sequences: Most sequences in one step.
        step_tokens: Most tokens in one step, those of prompts included.
        reserves: Whether a sequence's whole output is reserved in the cache when it starts; else it grows.
    """

    memory: float
    sequences: int
    step_tokens: int
    reserves: bool


LIMITS = {
    "vllm": EngineLimits(0.9, 1024, 8192, reserves=False),
    "sglang": EngineLimits(0.88, 2048, 8192, reserves=False),
    "trtllm": EngineLimits(0.9, 4096, 16384, reserves=True),
    "vllm-before-0.14": EngineLimits(0.9, 1024, 8192, reserves=False),
    "trtllm-before-1.0": EngineLimits(0.9, 4096, 16384, reserves=True),
    "default": EngineLimits(0.9, 1024, 8192, reserves=False),
}
"""Defaults by family of engines. vLLM on chips of 70 GiB and more: 0.9, 1,024, 8,192. SGLang: its memory fraction
depends on the chip, near 0.88. TensorRT-LLM's benchmark command sizes the batch by the cache up to 4,096 and reserves
whole sequences (GUARANTEED_NO_EVICT)."""

_BUFFER_BYTES = 2.0e9
"""Bytes of a device for a runtime, its graphs and communication buffers."""


@dataclass(frozen=True, slots=True)
class Room:
    """Memory of all devices together, in bytes.

    Attributes:
        memory: What the engine takes.
        weights: Weights, copies once a copy.
        cache: What is left for caches.
    """

    memory: float
    weights: float
    cache: float

    @property
    def fits(self) -> bool:
        """Whether anything is left for caches."""
        return self.cache > 0


def room(deployment: Deployment, limits: EngineLimits) -> Room:
    """The memory of a deployment.

    Raises:
        BadInputError: If the profile does not say how much memory a device has.
    """
    one = deployment.hardware.memory_bytes
    if one is None:
        raise BadInputError(
            f"the profile {deployment.hardware.id!r} does not say how much memory it has; give one that does"
        )
    devices = deployment.devices
    weights = float(checkpoint_bytes(deployment.spec, deployment.parallelism))
    memory = devices * (one * limits.memory)
    return Room(memory, weights, memory - weights - devices * _BUFFER_BYTES)


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
    return min(float(limits.sequences), free / one) if one else float(limits.sequences)
