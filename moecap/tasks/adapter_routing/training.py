"""Training of adapters at two speeds, the gradients of single tasks, and what a pass costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from moecap.tasks.adapter_routing.examples import Example
from moecap.tasks.adapter_routing.inventory import Inventory
from moecap.tasks.adapter_routing.settings import Schedule
from moecap.tasks.adapter_routing.study import Study

__all__ = ["Batch", "batches", "forward_seconds", "gradient_cosines", "train"]

CLIP = 1.0
"""Largest norm of all gradients together."""


Batch = tuple[Sequence[Example], Sequence[int]]
"""Examples and the number of the task of each."""


def batches(pools: Sequence[Sequence[Example]], schedule: Schedule, random: np.random.Generator) -> list[Batch]:
    """A batch for each step: the task of each row drawn evenly, then an example of its pool.

    Args:
        pools: Examples of each task.
        schedule: Steps and rows.
        random: Draws both.
    """
    drawn: list[Batch] = []
    for _ in range(schedule.steps):
        tasks = random.integers(len(pools), size=schedule.batch).tolist()
        drawn.append(([pools[task][int(random.integers(len(pools[task])))] for task in tasks], tasks))
    return drawn


def train(
    study: Study,
    inventory: Inventory,
    drawn: Sequence[Batch],
    schedule: Schedule,
    *,
    frozen: bool = False,
    after: Callable[[int], None] = lambda _step: None,
) -> list[float]:
    """Train the placed adapters and routers.

    Args:
        study: Gives the losses.
        inventory: What is trained; it is placed on the study's model.
        drawn: A batch for each step.
        schedule: Learning rates.
        frozen: Whether A and B stay as they are and only Z learns.
        after: Called after each step with the number of steps so far.

    Returns:
        The mean loss of each step, nats.
    """
    adapters, logits = ([] if frozen else inventory.adapters()), inventory.logits()
    groups = [(adapters, schedule.adapter_rate), (logits, schedule.router_rate)]
    optimiser = torch.optim.AdamW([{"params": p, "lr": rate} for p, rate in groups if p], weight_decay=0.0)
    study.prepare([example for examples, _ in drawn for example in examples])
    losses = []
    for number, (examples, tasks) in enumerate(drawn, start=1):
        inventory.train()
        with inventory.asked(inventory.numbers(tasks)):
            loss = study.losses(examples).mean()
        gradients = torch.autograd.grad(loss, adapters + logits)
        for parameter, gradient in zip(adapters + logits, gradients, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(adapters + logits, CLIP)
        optimiser.step()
        inventory.eval()
        losses.append(loss.item())
        after(number)
    for parameter in adapters + logits:
        parameter.grad = None
    return losses


def gradient_cosines(
    study: Study, inventory: Inventory, examples: Sequence[Sequence[Example]]
) -> list[tuple[int, int, float]]:
    """How far the gradients of two tasks on A and B point the same way, for each pair of tasks.

    Args:
        study: Gives the losses.
        inventory: The placed adapters.
        examples: Examples of each task, [tasks].

    Returns:
        Both tasks' numbers and the cosine; a pair of which a gradient is zero is left out.
    """
    adapters = inventory.adapters()
    directions: list[Tensor] = []
    for task, of_task in enumerate(examples):
        with inventory.asked(inventory.numbers([task])):
            found = torch.autograd.grad(study.losses(of_task).mean(), adapters)
        directions.append(torch.cat([gradient.flatten() for gradient in found]).double())
    norms = [float(direction.norm()) for direction in directions]
    return [
        (i, j, float(directions[i] @ directions[j]) / (norms[i] * norms[j]))
        for i in range(len(examples))
        for j in range(i + 1, len(examples))
        if norms[i] and norms[j]
    ]


def forward_seconds(study: Study, examples: Sequence[Example], repeats: int) -> list[float]:
    """How long each of several passes of the same examples takes, after one that is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        study.answers(examples)
        seconds.append(time.perf_counter() - start)
    return seconds[1:]
