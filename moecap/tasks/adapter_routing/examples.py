"""The examples of an experiment with adapters: tasks to train on and tasks held out, with test examples of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["GRADIENT_EXAMPLES", "TEST_EVERY", "Example", "ExampleTask", "TaskSet", "draw_shots", "split"]

GRADIENT_EXAMPLES = 16
"""Examples of each task, at most, whose gradient is compared with those of other tasks."""

TEST_EVERY = 3
"""Every third example of a task is for judging; the others are for learning."""


@dataclass(frozen=True, slots=True)
class Example:
    """One question with its answers.

    Attributes:
        id: Its name, of one example of the experiment alone.
        prompt: What is asked.
        answers: What can be answered.
        gold: Number of the right answer.
        image: Number of the image that is asked about; ``None`` where only the prompt is.
    """

    id: str
    prompt: str
    answers: tuple[str, ...]
    gold: int
    image: int | None = None


@dataclass(frozen=True, slots=True)
class ExampleTask:
    """A task.

    Attributes:
        name: Its name.
        pool: Examples to learn from.
        test: Examples to be judged by, none of them in the pool.
    """

    name: str
    pool: tuple[Example, ...]
    test: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class TaskSet:
    """The tasks of an experiment.

    Attributes:
        training: Those of the multi-task training; a task's number is its place here.
        held_out: Those that are learned from a few shots afterwards.
        source: Where the examples came from.
        limited: Whether test examples were left out.
    """

    training: tuple[ExampleTask, ...]
    held_out: tuple[ExampleTask, ...]
    source: str
    limited: bool


def split(
    name: str, examples: Sequence[Example], limit: int | None, most: int | None = None
) -> tuple[ExampleTask, bool]:
    """A task whose every third example is for judging, and whether some were left out.

    Args:
        name: Its name.
        examples: Its examples in the order of the data set.
        limit: Most test examples.
        most: Most examples to learn from; the first ones are taken.
    """
    test = [example for place, example in enumerate(examples) if place % TEST_EVERY == 0]
    pool = [example for place, example in enumerate(examples) if place % TEST_EVERY]
    return ExampleTask(name, tuple(pool[:most]), tuple(test[:limit])), len(test) > len(test[:limit])


def draw_shots(task: ExampleTask, shots: int, random: np.random.Generator) -> list[Example]:
    """Examples of a task's pool, drawn without replacement and as evenly over its right answers as they go.

    Args:
        task: The task.
        shots: How many; all of the pool where it has fewer.
        random: Draws them.
    """
    queues: dict[int, list[Example]] = {}
    for place in random.permutation(len(task.pool)).tolist():
        queues.setdefault(task.pool[place].gold, []).append(task.pool[place])
    drawn: list[Example] = []
    while queues and len(drawn) < shots:
        for gold in sorted(queues):
            drawn.append(queues[gold].pop())
            if not queues[gold]:
                del queues[gold]
    return drawn[:shots]
