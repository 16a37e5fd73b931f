"""How many sequences a deployment holds at once: memory beside the weights, and what the engine allows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from moecap.errors import BadInputError
from moecap.models.accounting import cache_bytes, checkpoint_bytes
from moecap.projection.deployment import Deployment

__all__ = ["LIMITS", "EngineLimits", "Room", "most_sequences", "room"]


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
    "default": EngineLimits(0.9, 1024, 8192, reserves=False),
}
"""Defaults by family of engines. vLLM on chips of 70 GiB and more: 0.9, 1,024, 8,192. SGLang: its memory fraction
depends on the chip, near 0.88. TensorRT-LLM: its fraction is of free memory, 0.9 by default; its benchmark command
sizes the batch by the cache up to 4,096 and reserves whole sequences (GUARANTEED_NO_EVICT). Replicas of the attention
have a scheduler each: vLLM and TensorRT-LLM give each the numbers, SGLang its share of them."""

_BUFFER_BYTES = 2.0e9
"""Bytes of a device for a runtime, its graphs and communication buffers."""


@dataclass(frozen=True, slots=True)
class Room:
    """Memory of all devices together, in bytes.

    Attributes:
        memory: What the engine takes, buffers included.
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
    held = weights + devices * _BUFFER_BYTES
    if limits.of_free:
        cache = limits.memory * (devices * one - held)
        return Room(held + cache, weights, cache)
    memory = devices * (one * limits.memory)
    return Room(memory, weights, memory - held)


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
