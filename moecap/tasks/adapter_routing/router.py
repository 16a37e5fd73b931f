"""Which share of each skill a task takes: one weight for every task, head and skill (arXiv 2211.03831, section 3).

A router gives ``alpha``, [tasks, heads, skills], whose sum over the skills is 1. Four rules are here: learned logits
(Poly with one head, MHR with several), the constant mean (``mu``, and a shared adapter where there is one skill), and
one skill for each task (private adapters).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

__all__ = ["INITIAL", "LearnedRouter", "MeanRouter", "PrivateRouter", "Router"]

INITIAL = 1e-3
"""Logits begin uniformly within plus and minus this."""

TEMPERATURE = 1.0
EPSILON = 1e-12


class Router(nn.Module, ABC):  # type: ignore[misc]
    """Weights of the skills.

    Attributes:
        heads: S, the blocks into which each adapter is cut.
        skills: K, the adapters of the inventory.
    """

    def __init__(self, heads: int, skills: int) -> None:
        super().__init__()
        self.heads, self.skills = heads, skills

    @abstractmethod
    def forward(self, tasks: Tensor) -> Tensor:
        """``alpha`` of the tasks with these numbers, [n] to [n, heads, skills]."""


class LearnedRouter(Router):
    """``alpha = sigmoid(Z) / sum over the skills of sigmoid(Z)`` with Z learned.

    Attributes:
        logits: Z, [tasks, heads, skills].
        relaxed: Whether training draws a relaxed Bernoulli variable of temperature 1 in place of the sigmoid.
    """

    def __init__(self, tasks: int, heads: int, skills: int, *, relaxed: bool = False) -> None:
        super().__init__(heads, skills)
        self.logits = nn.Parameter(torch.empty(tasks, heads, skills).uniform_(-INITIAL, INITIAL))
        self.relaxed = relaxed

    def forward(self, tasks: Tensor) -> Tensor:
        """``alpha`` of the tasks; drawn anew at each call while training with ``relaxed``."""
        chosen = self.logits[tasks]
        if self.relaxed and self.training:
            share = torch.distributions.RelaxedBernoulli(TEMPERATURE, logits=chosen).rsample()
        else:
            share = chosen.sigmoid()
        return share / (share.sum(-1, keepdim=True) + EPSILON)


class MeanRouter(Router):
    """Every skill alike, ``1 / K``, whatever the task; nothing is learned."""

    def forward(self, tasks: Tensor) -> Tensor:
        """The constant."""
        return torch.full((len(tasks), self.heads, self.skills), 1 / self.skills, device=tasks.device)


class PrivateRouter(Router):
    """Task number t takes skill number t alone; nothing is learned."""

    def forward(self, tasks: Tensor) -> Tensor:
        """One 1 in every row."""
        one: Tensor = nn.functional.one_hot(tasks, self.skills).float()
        return one[:, None, :].expand(-1, self.heads, -1)
