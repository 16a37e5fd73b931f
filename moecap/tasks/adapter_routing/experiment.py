"""The experiment: each variant is trained on all tasks, then adapted to each held-out task, for several seeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from moecap.tasks.adapter_routing.examples import GRADIENT_EXAMPLES, Example, ExampleTask, TaskSet, draw_shots
from moecap.tasks.adapter_routing.export import write_lora
from moecap.tasks.adapter_routing.inventory import Inventory, Placing, placed
from moecap.tasks.adapter_routing.layer import Adapter, FanIn
from moecap.tasks.adapter_routing.settings import Schedule, Settings
from moecap.tasks.adapter_routing.study import Study
from moecap.tasks.adapter_routing.tables import NO_ADAPTER, TABLES
from moecap.tasks.adapter_routing.training import Batch, batches, forward_seconds, gradient_cosines, train
from moecap.tasks.adapter_routing.variants import VARIANTS, Adaptation, Layout, adapted_layout, trained_layout
from moecap.tasks.table_rows import TableRows

__all__ = ["Experiment"]

MOMENTS = (0.5, 1.0)
"""When in the multi-task training the gradients of the tasks are compared, as shares of its steps."""

TIMED_EXAMPLES, TIMED_PASSES = 64, 5
"""Examples of a timed pass, at most, and timed passes."""


class Experiment:
    """The variants of one seed after the other on the same tasks.

    Args:
        settings: What is asked for.
        tasks: The examples.
        unit: Called after each of ``units`` parts.

    Attributes:
        facts: The tables so far.
        answers: Answers of the headline to the held-out test examples, by the example's id, one a seed.
    """

    def __init__(self, settings: Settings, tasks: TaskSet, unit: Callable[[], None] = lambda: None) -> None:
        self._settings, self._tasks, self._unit = settings, tasks, unit
        self.facts = TableRows(TABLES)
        self.answers: dict[str, list[int]] = {}

    @property
    def units(self) -> int:
        """Parts of all seeds that ``unit`` hears of."""
        settings = self._settings
        return settings.seeds * sum(1 + len(_adaptations(settings, variant)) for variant in settings.variants)

    def run(self, seed: int, study: Study) -> None:
        """Train, judge and adapt every variant with a seed.

        Args:
            seed: Draws batches, shots and what the adapters begin with.
            study: The frozen model of this seed.
        """
        settings = self._settings
        fan_in: FanIn = "block" if settings.block_fan_in else "layer"
        self._placing = Placing(tuple(study.layers), settings.granularity, settings.relaxed, fan_in)
        self._seed, self._study = seed, study
        self._first = not self.facts.columns["layers"]["name"]
        if self._first:
            self._note_layers()
            self._time(NO_ADAPTER)
        drawn = self._mixture(settings.multitask, 0)
        for variant in settings.variants:
            layout = self._layout(variant)
            if self._first:
                self.facts.add("variants", variant=variant, **_described(layout))
            with self._seeded(), placed(study.model, layout, self._placing) as inventory:
                self._train_on_all(variant, inventory, drawn)
            self._unit()
            for adaptation in _adaptations(settings, variant):
                if adaptation == "zero":
                    self._judge_mean(variant, inventory)
                else:
                    self._adapt(variant, adaptation, inventory)
                self._unit()

    def _layout(self, variant: str) -> Layout:
        settings = self._settings
        return trained_layout(variant, len(self._tasks.training), settings.heads, settings.skills, settings.rank)

    def _train_on_all(self, variant: str, inventory: Inventory, drawn: Sequence[Batch]) -> None:
        settings, study, tasks = self._settings, self._study, self._tasks.training
        moments = {max(1, round(share * len(drawn))) for share in MOMENTS}
        compared = [task.pool[:GRADIENT_EXAMPLES] for task in tasks]
        spent = 0.0

        def compare(step: int) -> None:
            nonlocal spent
            if step in moments:
                start = time.perf_counter()
                for first, second, cosine in gradient_cosines(study, inventory, compared):
                    self.facts.add(
                        "gradients",
                        variant=variant,
                        seed=self._seed,
                        step=step,
                        first=first,
                        second=second,
                        cosine=cosine,
                    )
                spent += time.perf_counter() - start

        start = time.perf_counter()
        losses = train(study, inventory, drawn, settings.multitask, after=compare)
        self._note_training("multitask", variant, NO_ADAPTER, losses, time.perf_counter() - start - spent)
        for number, task in enumerate(tasks):
            self._judge("multitask", variant, NO_ADAPTER, inventory, number, task)
        if self._first:
            with inventory.asked(inventory.numbers([0])):
                self._time(variant)
        self._note_routing(variant, inventory)
        if settings.export is not None and self._first:
            self._export(variant, inventory)

    def _adapt(self, variant: str, adaptation: Adaptation, trained: Inventory) -> None:
        """Learn each held-out task from its shots, beginning each time with what was trained on all tasks."""
        settings, layout = self._settings, adapted_layout(trained.layout, adaptation)
        all_losses, seconds = [], 0.0
        for number, task in enumerate(self._tasks.held_out):
            shots = draw_shots(task, settings.shots, np.random.default_rng([self._seed, number]))
            with self._seeded(), placed(self._study.model, layout, self._placing) as inventory:
                if adaptation == "mu":
                    inventory.copy_one(trained.mean())
                elif trained.layout.routing != "private":
                    inventory.copy_adapters(trained)
                start = time.perf_counter()
                drawn = [(shots, [0] * len(shots))] * settings.few_shot.steps
                all_losses.append(train(self._study, inventory, drawn, settings.few_shot, frozen=adaptation == "z"))
                seconds += time.perf_counter() - start
                chosen = self._judge("few_shot", variant, adaptation, inventory, 0, task)
                if settings.export is not None and self._first:
                    self._write(f"{variant}-{adaptation}-{task.name}", inventory, inventory.merged(0))
            if (variant, adaptation) == settings.headline:
                for example, answer in zip(task.test, chosen, strict=True):
                    self.answers.setdefault(example.id, []).append(answer)
        losses = np.mean(all_losses, axis=0).tolist()
        self._note_training("few_shot", variant, adaptation, losses, seconds, len(all_losses))

    def _judge_mean(self, variant: str, trained: Inventory) -> None:
        """Judge the mean adapter on the held-out tasks without shots, after more multi-task steps."""
        settings = self._settings
        schedule = Schedule(
            settings.mean_steps,
            settings.multitask.batch,
            settings.multitask.adapter_rate,
            settings.multitask.router_rate,
        )
        layout = adapted_layout(trained.layout, "zero")
        with self._seeded(), placed(self._study.model, layout, self._placing) as inventory:
            inventory.copy_one(trained.mean())
            start = time.perf_counter()
            losses = train(self._study, inventory, self._mixture(schedule, 1), schedule)
            self._note_training("zero_shot", variant, "zero", losses, time.perf_counter() - start)
            for task in self._tasks.held_out:
                self._judge("zero_shot", variant, "zero", inventory, 0, task)
            if settings.export is not None and self._first:
                self._write(f"{variant}-zero", inventory, inventory.merged(0))

    def _mixture(self, schedule: Schedule, part: int) -> list[Batch]:
        """Batches of the training tasks, the same for every variant."""
        random = np.random.default_rng([self._seed, part, 7])
        return batches([task.pool for task in self._tasks.training], schedule, random)

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """What torch draws depends on the seed alone, and not on what was drawn before."""
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            yield

    def _judge(
        self, stage: str, variant: str, adaptation: str, inventory: Inventory, number: int, task: ExampleTask
    ) -> list[int]:
        with inventory.asked(inventory.numbers([number])):
            chosen = self._study.answers(task.test)
        right = sum(answer == example.gold for answer, example in zip(chosen, task.test, strict=True))
        self.facts.add(
            "scores",
            stage=stage,
            variant=variant,
            adaptation=adaptation,
            seed=self._seed,
            task=task.name,
            right=right,
            n=len(task.test),
        )
        return chosen

    def _time(self, variant: str) -> None:
        """Time passes of test examples of the first training task."""
        examples: Sequence[Example] = self._tasks.training[0].test[:TIMED_EXAMPLES]
        for repeat, seconds in enumerate(forward_seconds(self._study, examples, TIMED_PASSES)):
            self.facts.add("forward", variant=variant, repeat=repeat, examples=len(examples), seconds=seconds)

    def _note_layers(self) -> None:
        for name, router in zip(self._placing.names, self._placing.routers(), strict=True):
            layer = self._study.model.get_submodule(name)
            self.facts.add("layers", name=name, d_in=layer.in_features, d_out=layer.out_features, router=router)

    def _note_training(
        self, stage: str, variant: str, adaptation: str, losses: Sequence[float], seconds: float, tasks: int = 1
    ) -> None:
        last = losses[-max(1, len(losses) // 10) :]
        self.facts.add(
            "training",
            stage=stage,
            variant=variant,
            adaptation=adaptation,
            seed=self._seed,
            steps=tasks * len(losses),
            loss=float(np.mean(last)),
            seconds=seconds,
        )

    def _note_routing(self, variant: str, inventory: Inventory) -> None:
        for router, logits in enumerate(inventory.logits()):
            for (task, head, skill), logit in np.ndenumerate(logits.detach().cpu().numpy()):
                self.facts.add(
                    "routing",
                    variant=variant,
                    seed=self._seed,
                    router=router,
                    task=task,
                    head=head,
                    skill=skill,
                    logit=float(logit),
                )

    def _export(self, variant: str, inventory: Inventory) -> None:
        self._write(f"{variant}-mean", inventory, inventory.mean())
        for number, task in enumerate(self._tasks.training):
            self._write(f"{variant}-{task.name}", inventory, inventory.merged(number))

    def _write(self, name: str, inventory: Inventory, adapters: Sequence[Adapter]) -> None:
        assert self._settings.export is not None
        folder: Path = self._settings.export / name.replace(" ", "_").replace("/", "_")
        write_lora(folder, inventory.names, adapters)


def _adaptations(settings: Settings, variant: str) -> list[Adaptation]:
    return [a for a in VARIANTS[variant].adaptations if a in settings.adaptations]


def _described(layout: Layout) -> dict[str, str | int]:
    return {
        "routing": layout.routing,
        "tasks": layout.tasks,
        "heads": layout.heads,
        "skills": layout.skills,
        "rank": layout.rank,
    }
