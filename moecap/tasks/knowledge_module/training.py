"""Training of one adapter: AdamW with a warm-up, gradients cut at norm 1, and the best state by held-out lessons."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from moecap.tasks.knowledge_module.losses import Distance, distillation_loss, label_loss
from moecap.tasks.knowledge_module.passes import read_texts
from moecap.tasks.knowledge_module.teacher import Teacher
from moecap.tasks.knowledge_module.texts import Lesson

__all__ = ["Curve", "Schedule", "held_out", "optimise", "train_module"]

WARM_UP = 0.06
"""Share of the steps in which the learning rate rises from zero."""
CLIP = 1.0
HELD_OUT = 0.05
"""Share of a chunk's lessons that are not trained on, at least one where there are two."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How an adapter is trained.

    Attributes:
        steps: Updates.
        batch: Lessons of an update.
        learning_rate: At its highest.
        every: Updates between two looks at the held-out lessons.
    """

    steps: int
    batch: int
    learning_rate: float
    every: int


@dataclass(slots=True)
class Curve:
    """What was seen while an adapter was trained.

    Attributes:
        rows: Step, part (``batch`` in training, ``train`` or ``held_out`` as a whole), measure (``loss``, ``kl``,
            ``hidden``) and value.
        tokens: Tokens that the student was fed in training.
        best_step: The step whose state was kept.
        seconds: What the training took, with the teacher and the looks at the held-out lessons.
    """

    rows: list[tuple[int, str, str, float]] = field(default_factory=list)
    tokens: int = 0
    best_step: int = 0
    seconds: float = 0.0


def held_out(lessons: Sequence[Lesson]) -> tuple[list[Lesson], list[Lesson]]:
    """The lessons to train on and those to look at: of each chunk its last ones.

    Lessons without a teacher whose text is the document itself are all trained on, since a document that is left out
    cannot be learnt.
    """
    if all(lesson.teacher is None and len(lesson.student) == 1 for lesson in lessons):
        return list(lessons), []
    chunks: dict[int, list[Lesson]] = defaultdict(list)
    for lesson in lessons:
        chunks[lesson.chunk].append(lesson)
    trained, watched = [], []
    for own in chunks.values():
        kept = len(own) - (max(1, round(HELD_OUT * len(own))) if len(own) > 1 else 0)
        trained += own[:kept]
        watched += own[kept:]
    return trained, watched


def optimise(weights: Sequence[torch.nn.Parameter], schedule: Schedule, loss: Callable[[], Tensor]) -> Iterator[Tensor]:
    """Update some weights, and yield the loss before each update.

    Args:
        weights: What is trained.
        schedule: How.
        loss: The loss of the next batch, with its gradient.
    """
    optimiser = torch.optim.AdamW(weights, lr=schedule.learning_rate, weight_decay=0.0)
    warm = max(int(WARM_UP * schedule.steps), 1)
    rising = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min((step + 1) / warm, 1.0))
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(schedule.steps - warm, 1))
    rate = torch.optim.lr_scheduler.SequentialLR(optimiser, [rising, cosine], [warm])
    for _ in range(schedule.steps):
        optimiser.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimiser.step()
        rate.step()
        yield value.detach()


def train_module(
    module: torch.nn.Module,
    weights: Sequence[torch.nn.Parameter],
    lessons: Sequence[Lesson],
    teacher: Teacher,
    schedule: Schedule,
    seed: int,
    training: Callable[[bool], None],
    progress: Callable[[int], None] = lambda _step: None,
) -> Curve:
    """Train a document's adapter on its lessons, and leave it in the state with the lowest loss on the held-out ones.

    Args:
        module: The model with the adapter switched on.
        weights: A and B of the adapter.
        lessons: What the document has to teach.
        teacher: Reads the lessons that have one.
        schedule: How it is trained.
        seed: Of the order of the lessons and of the dropout.
        training: Switches the adapter's dropout on and off.
        progress: Hears of each update.
    """
    begin = time.monotonic()
    trained, watched = held_out(lessons)
    curve = Curve()
    order = _order(trained, schedule.batch, seed)

    def loss() -> Tensor:
        batch = next(order)
        curve.tokens += sum(len(lesson.student) + len(lesson.target) - 1 for lesson in batch)
        found = _loss(module, batch, teacher)
        return found.total if isinstance(found, Distance) else found

    def look(step: int) -> float:
        training(False)
        for part, chosen in (("train", trained), ("held_out", watched)):
            if chosen and (part == "held_out" or step in (0, schedule.steps)):
                seen[part] = _whole(module, chosen, teacher, schedule.batch)
                curve.rows += [(step, part, measure, value) for measure, value in seen[part].items()]
        training(True)
        return seen["held_out" if watched else "train"]["loss"]

    seen: dict[str, dict[str, float]] = {}
    devices = [weights[0].device] if weights[0].is_cuda else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        best, kept = look(0), _copy(weights)
        for step, value in enumerate(optimise(weights, schedule, loss), 1):
            curve.rows.append((step, "batch", "loss", value.item()))
            if step % schedule.every == 0 or step == schedule.steps:
                found = look(step)
                if found < best or not watched:
                    best, kept, curve.best_step = found, _copy(weights), step
            progress(step)
    training(False)
    with torch.no_grad():
        for weight, state in zip(weights, kept, strict=True):
            weight.copy_(state)
    curve.seconds = time.monotonic() - begin
    return curve


def _loss(module: torch.nn.Module, batch: Sequence[Lesson], teacher: Teacher) -> Distance | Tensor:
    taught = batch[0].teacher is not None
    students = read_texts(
        module, [lesson.student for lesson in batch], [lesson.target for lesson in batch], hidden=taught
    )
    if taught:
        return distillation_loss(teacher.read(batch), students)
    return label_loss(students, [lesson.target for lesson in batch])


def _whole(module: torch.nn.Module, lessons: Sequence[Lesson], teacher: Teacher, batch: int) -> dict[str, float]:
    """Mean of each measure over the lessons, each counted by its tokens."""
    sums: dict[str, float] = defaultdict(float)
    count = 0
    for first in range(0, len(lessons), batch):
        chosen = lessons[first : first + batch]
        tokens = sum(len(lesson.target) for lesson in chosen)
        with torch.no_grad():
            found = _loss(module, chosen, teacher)
        values = (
            {"loss": found.total, "kl": found.kl, "hidden": found.hidden}
            if isinstance(found, Distance)
            else {"loss": found}
        )
        for measure, value in values.items():
            sums[measure] += value.item() * tokens
        count += tokens
    return {measure: total / count for measure, total in sums.items()}


def _order(lessons: Sequence[Lesson], batch: int, seed: int) -> Iterator[list[Lesson]]:
    """Batches without end: all lessons in a new random order each time."""
    drawn = random.Random(seed)
    waiting: list[Lesson] = []
    while True:
        while len(waiting) < batch:
            waiting += drawn.sample(list(lessons), len(lessons))
        yield waiting[:batch]
        del waiting[:batch]


def _copy(weights: Sequence[torch.nn.Parameter]) -> list[Tensor]:
    return [weight.detach().clone() for weight in weights]
