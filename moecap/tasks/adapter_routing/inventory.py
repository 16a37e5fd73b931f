"""The adapters of a whole model: placed on its linear layers, asked for a task, averaged, counted, taken away again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moecap.tasks.adapter_routing.layer import Adapter, AskedTasks, FanIn, RoutedLinear
from moecap.tasks.adapter_routing.router import LearnedRouter, MeanRouter, PrivateRouter, Router
from moecap.tasks.adapter_routing.variants import Granularity, Layout

__all__ = ["Inventory", "Placing", "placed"]


@dataclass(frozen=True, slots=True)
class Placing:
    """How an inventory is put on a model.

    Attributes:
        names: Names of the linear layers.
        granularity: Which of them share a router.
        relaxed: Whether training draws the weights (relaxed Bernoulli) or takes the plain sigmoid.
        fan_in: How A begins.
    """

    names: tuple[str, ...]
    granularity: Granularity = "layer"
    relaxed: bool = False
    fan_in: FanIn = "layer"

    def routers(self) -> list[int]:
        """Number of the router of each layer."""
        keys = [_share(name, self.granularity) for name in self.names]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return [numbers[key] for key in keys]


class Inventory(nn.Module):  # type: ignore[misc]
    """The adapters of a model while they are placed on it.

    Attributes:
        layout: What they are made of.
        layers: The adapted layers, in the model's order.
        names: Their names in the model.
        routers: The routers, in the order in which the layers come to them.
    """

    def __init__(self, model: nn.Module, layout: Layout, placing: Placing) -> None:
        super().__init__()
        self.layout, self.names = layout, placing.names
        self._asked = AskedTasks(torch.zeros(1, dtype=torch.long, device=next(model.parameters()).device))
        numbers = placing.routers()
        routers = [_router(layout, placing.relaxed).to(self._asked.ids.device) for _ in range(1 + max(numbers))]
        self.layers = nn.ModuleList(
            RoutedLinear(model.get_submodule(name), routers[number], layout.rank, self._asked, fan_in=placing.fan_in)
            for name, number in zip(self.names, numbers, strict=True)
        )
        self.routers = nn.ModuleList(routers)
        self.eval()

    @contextmanager
    def asked(self, tasks: Tensor) -> Iterator[None]:
        """Within it the model's rows are of these tasks, [batch], or all of one, [1]."""
        before, self._asked.ids = self._asked.ids, tasks
        try:
            yield
        finally:
            self._asked.ids = before

    def numbers(self, tasks: Sequence[int]) -> Tensor:
        """Numbers of tasks as ``asked`` takes them: one entry where all are alike."""
        return torch.tensor(tasks[:1] if len(set(tasks)) == 1 else tasks, device=self._asked.ids.device)

    def adapters(self) -> list[nn.Parameter]:
        """A and B of all layers."""
        return [parameter for layer in self.routed() for parameter in (layer.a, layer.b)]

    def logits(self) -> list[nn.Parameter]:
        """Z of every router that learns, each [tasks, heads, skills]."""
        return [router.logits for router in self.routers if isinstance(router, LearnedRouter)]

    def routed(self) -> list[RoutedLinear]:
        """The adapted layers."""
        return [layer for layer in self.layers if isinstance(layer, RoutedLinear)]

    def copy_adapters(self, other: Inventory) -> None:
        """Begin with the A and B of an inventory of the same heads, skills and rank; the routers stay new."""
        with torch.no_grad():
            for mine, theirs in zip(self.adapters(), other.adapters(), strict=True):
                mine.copy_(theirs)

    def copy_one(self, adapters: Sequence[Adapter]) -> None:
        """Begin, as an inventory of one skill and one head, with one adapter for each layer."""
        with torch.no_grad():
            for layer, (a, b) in zip(self.routed(), adapters, strict=True):
                layer.a.copy_(a)
                layer.b.copy_(b)

    def mean(self) -> list[Adapter]:
        """The adapter of each layer whose A and B are the means over the skills: ``mu``; [d_in, r] and [r, d_out]."""
        router = MeanRouter(self.layout.heads, self.layout.skills)
        with torch.no_grad():
            return [_only(layer.mixed(router(self._asked.ids[:1]))) for layer in self.routed()]

    def merged(self, task: int) -> list[Adapter]:
        """The adapter of each layer that a task mixes, [d_in, r] and [r, d_out]."""
        ids = torch.full_like(self._asked.ids[:1], task)
        with torch.no_grad():
            return [_only(layer.mixed(layer.router(ids))) for layer in self.routed()]


@contextmanager
def placed(model: nn.Module, layout: Layout, placing: Placing) -> Iterator[Inventory]:
    """Put new adapters on linear layers of a frozen model, which afterwards has its own layers again."""
    inventory = Inventory(model, layout, placing)
    for name, layer in zip(inventory.names, inventory.layers, strict=True):
        _replace(model, name, layer)
    try:
        yield inventory
    finally:
        for name, layer in zip(inventory.names, inventory.routed(), strict=True):
            _replace(model, name, layer.base)


def _only(adapters: Adapter) -> Adapter:
    a, b = adapters
    return a[0], b[0]


def _router(layout: Layout, relaxed: bool) -> Router:
    if layout.routing == "learned":
        return LearnedRouter(layout.tasks, layout.heads, layout.skills, relaxed=relaxed)
    return (MeanRouter if layout.routing == "mean" else PrivateRouter)(layout.heads, layout.skills)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)


def _share(name: str, granularity: Granularity) -> str:
    """What the layers that share a router have in common; a block is what the first number in a name counts."""
    if granularity == "global":
        return ""
    block = re.match(r"(.*?\.)?\d+(?=\.|$)", name) if granularity == "block" else None
    return block[0] if block else name
