"""A frozen model that answers the examples of an experiment; adapters are placed on its layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from moecap.tasks.adapter_routing.examples import Example

__all__ = ["Study"]


class Study(ABC):
    """The model.

    Attributes:
        model: The module on which adapters are placed; none of its own parameters is trained.
        layers: Names of the linear layers in it that are adapted.
    """

    model: nn.Module
    layers: Sequence[str]

    def prepare(self, examples: Sequence[Example]) -> None:  # noqa: B027
        """Hear which examples losses will be asked of, so that what never changes is computed for them together."""

    @abstractmethod
    def losses(self, examples: Sequence[Example]) -> Tensor:
        """Cross-entropy of the right answer of each example, [n], in nats; gradients reach what is placed."""

    @abstractmethod
    def answers(self, examples: Sequence[Example]) -> list[int]:
        """Number of the answer that the model with its adapters gives to each example; all are of one task."""
