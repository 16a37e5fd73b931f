"""The variants that are compared and the ways in which each is adapted to a new task (arXiv 2211.03831).

S heads, K skills, rank r and T training tasks are those of the experiment. The baselines have the same budget: the
shared adapter has as many parameters as the whole inventory, and so has each private one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

__all__ = [
    "ADAPTATIONS",
    "GRANULARITIES",
    "VARIANTS",
    "Adaptation",
    "Granularity",
    "Layout",
    "Routing",
    "Variant",
    "adapted_layout",
    "is_layout_of",
    "parameters_of_shots",
    "trained_layout",
]

Routing = Literal["learned", "mean", "private"]
Granularity = Literal["layer", "block", "global"]
Adaptation = Literal["full", "mu", "z", "zero"]

GRANULARITIES: Mapping[str, str] = {
    "layer": "a router for each adapted layer",
    "block": "a router for each block of the model",
    "global": "one router for all layers",
}
ADAPTATIONS: Mapping[str, str] = {
    "full": "A, B and a new row of Z learn from the shots",
    "mu": "the mean adapter learns from the shots",
    "z": "a new row of Z alone learns from the shots",
    "zero": "the mean adapter, after more multi-task steps, without any shots",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What an inventory is made of.

    Attributes:
        routing: How tasks choose among the skills: with learned weights, all alike, or one for each.
        tasks: T, tasks that are told apart.
        heads: S, blocks of each adapter.
        skills: K, adapters of each layer.
        rank: r of each adapter.
    """

    routing: Routing
    tasks: int
    heads: int
    skills: int
    rank: int

    def adapter_parameters(self, widths: int) -> int:
        """Parameters of all A and B.

        Args:
            widths: Sum of ``d_in + d_out`` over the adapted layers.
        """
        return self.skills * self.active_parameters(widths)

    def active_parameters(self, widths: int) -> int:
        """Parameters of the one adapter that a task's forward pass multiplies by, once its skills are merged."""
        return self.rank * widths

    def router_parameters(self, routers: int) -> int:
        """Parameters of all Z.

        Args:
            routers: Routers of the model.
        """
        return routers * self.tasks * self.heads * self.skills if self.routing == "learned" else 0


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to have adapters for many tasks.

    Attributes:
        title: What it is called in a figure.
        about: What it is.
        routing: How its tasks choose among the skills.
        adaptations: How it is adapted to a new task, out of ``ADAPTATIONS``.
    """

    title: str
    about: str
    routing: Routing
    adaptations: tuple[Adaptation, ...]


VARIANTS: Mapping[str, Variant] = {
    "lora": Variant("shared LoRA", "one adapter of rank K r for all tasks", "mean", ("full", "zero")),
    "private": Variant(
        "private LoRA", "an adapter of rank K r for each task, and a new one for a new task", "private", ("full",)
    ),
    "mu": Variant("mean, no routing", "K skills of which every task takes the mean", "mean", ("mu", "zero")),
    "poly": Variant("Poly", "K skills that each task weights, one head", "learned", ("full", "mu", "z", "zero")),
    "mhr": Variant(
        "MHR (Poly-S)", "K skills that each task weights, in each of S heads", "learned", ("full", "mu", "z", "zero")
    ),
}


def trained_layout(variant: str, tasks: int, heads: int, skills: int, rank: int) -> Layout:
    """What a variant trains on all tasks.

    Args:
        variant: Its name.
        tasks: T, the training tasks.
        heads: S.
        skills: K.
        rank: r of a skill.
    """
    routing = VARIANTS[variant].routing
    if variant in ("lora", "private"):
        return Layout(routing, tasks, 1, 1 if variant == "lora" else tasks, skills * rank)
    return Layout(routing, tasks, heads if variant == "mhr" else 1, skills, rank)


def is_layout_of(variant: str, layout: Layout) -> bool:
    """Whether ``trained_layout`` gives a variant this layout for some heads, skills and rank."""
    skills = {"lora": 1, "private": layout.tasks}.get(variant, layout.skills)
    heads = layout.heads if variant == "mhr" else 1
    return layout == Layout(VARIANTS[variant].routing, layout.tasks, heads, skills, layout.rank)


def adapted_layout(trained: Layout, adaptation: Adaptation) -> Layout:
    """What is placed for a new task, or of ``zero`` for the further multi-task steps.

    Args:
        trained: What was trained on all tasks.
        adaptation: How it is adapted.
    """
    if adaptation == "zero":
        return Layout("mean", trained.tasks, 1, 1, trained.rank)
    if adaptation == "mu" or trained.routing == "private":
        return Layout("mean", 1, 1, 1, trained.rank)
    return replace(trained, tasks=1)


def parameters_of_shots(trained: Layout, adaptation: Adaptation, widths: int, routers: int) -> int:
    """Parameters that learn from the shots of one new task.

    Args:
        trained: What was trained on all tasks.
        adaptation: How it is adapted.
        widths: Sum of ``d_in + d_out`` over the adapted layers.
        routers: Routers of the model.
    """
    placed = adapted_layout(trained, adaptation)
    if adaptation == "zero":
        return 0
    of_router = placed.router_parameters(routers)
    return of_router if adaptation == "z" else of_router + placed.adapter_parameters(widths)
