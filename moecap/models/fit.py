"""Whether a model fits in the memory of devices, and how many sequences fit beside it."""

from __future__ import annotations

from dataclasses import dataclass

from moecap.errors import BadInputError
from moecap.models.accounting import cache_bytes, checkpoint_bytes
from moecap.models.parallelism import Parallelism
from moecap.models.spec import ModelSpec

__all__ = ["Fit", "fit"]

_MOST_DEVICES = 2**20


@dataclass(frozen=True, slots=True)
class Fit:
    """A model in the memory of devices that share it evenly.

    Weights and caches alone are counted, what parallel ranks keep copies of once a copy: the buffers of an engine and
    activations come on top, so the largest batch is an upper bound.

    Attributes:
        device: Id of the hardware profile.
        devices: How many.
        tensor: Ranks that share each layer; there are ``devices / tensor`` stages of layers.
        memory: Bytes of all devices together.
        weights: Bytes of all weights, over all devices.
        context: Entries of each sequence.
        sequence: Bytes of the cache of one sequence at the context, over all devices.
    """

    device: str
    devices: int
    tensor: int
    memory: int
    weights: int
    context: int
    sequence: int

    @property
    def fits(self) -> bool:
        """Whether the weights and one sequence fit."""
        return self.weights + self.sequence <= self.memory

    @property
    def largest_batch(self) -> int:
        """Sequences at the context that fit beside the weights; 0 where none does."""
        return max(0, self.memory - self.weights) // self.sequence

    def as_json(self) -> dict[str, object]:
        """The record, in bytes."""
        return {
            "hardware": self.device,
            "devices": self.devices,
            "tensor_parallel": self.tensor,
            "memory_bytes": self.memory,
            "weight_bytes": self.weights,
            "context": self.context,
            "cache_bytes_per_sequence": self.sequence,
            "fits": self.fits,
            "largest_batch": self.largest_batch,
        }


def fit(
    spec: ModelSpec, *, device: str, memory_bytes: int | None, devices: int, context: int, tensor: int | None = None
) -> Fit:
    """Place a model on devices.

    Args:
        spec: The model.
        device: Id of the hardware profile.
        memory_bytes: Memory of one device.
        devices: How many there are.
        context: Entries of each sequence.
        tensor: Ranks that share each layer, all devices by default; the others are stages of layers.

    Raises:
        BadInputError: If there are no devices, their memory is not known, or the model does not allow this split.
        NotAvailableError: If it is not known how a layer is split.
    """
    if not 1 <= devices <= _MOST_DEVICES:
        raise BadInputError(f"{devices} devices are outside 1 to {_MOST_DEVICES}; give a number inside")
    if memory_bytes is None:
        raise BadInputError(f"the profile {device!r} does not say how much memory it has; give one that does")
    ranks = devices if tensor is None else tensor
    if devices % ranks:
        raise BadInputError(f"{ranks} tensor-parallel ranks do not divide {devices} devices; give a divisor")
    parallelism = Parallelism(tensor=ranks, pipeline=devices // ranks)
    return Fit(
        device=device,
        devices=devices,
        tensor=ranks,
        memory=devices * memory_bytes,
        weights=checkpoint_bytes(spec, parallelism),
        context=context,
        sequence=cache_bytes(spec, context, parallelism),
    )
