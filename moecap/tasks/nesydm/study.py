"""One training of one predictor for one experiment, and the facts that it leaves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from moecap.tasks.nesydm.answered import numbers_text
from moecap.tasks.nesydm.experiments import Experiment
from moecap.tasks.nesydm.training import drawn_concepts, fit, seeded
from moecap.tasks.table_rows import TableRows

__all__ = ["describe", "study"]


def describe(experiment: Experiment, facts: TableRows) -> None:
    """Leave what an experiment is and its test questions."""
    setting = experiment.setting
    weighting, schedule = setting.weighting, setting.schedule
    facts.add(
        "experiments",
        experiment=experiment.name,
        program=experiment.program.name,
        size=experiment.size,
        source=experiment.source,
        train_items=len(experiment.inputs),
        epochs=schedule.epochs,
        batch=schedule.batch,
        rate=schedule.rate,
        optimiser=schedule.optimiser,
        samples=weighting.samples,
        candidates=weighting.candidates,
        draws=setting.draws,
        steps=setting.steps or 0,
        beta=weighting.beta,
        gamma_c=weighting.gamma_c,
        gamma_h=weighting.gamma_h,
        y_weight=weighting.y_weight,
    )
    for item, split, concepts, label in zip(
        experiment.ids, experiment.splits, experiment.concepts, experiment.golds, strict=True
    ):
        facts.add(
            "items",
            experiment=experiment.name,
            item=item,
            split=split,
            concepts=numbers_text(concepts),
            label=numbers_text(label),
        )


def study(experiment: Experiment, predictor: str, seed: int, facts: TableRows, done: Callable[[], None]) -> None:
    """Train a predictor and draw concepts for every test question.

    Args:
        experiment: The questions.
        predictor: Name of the predictor.
        seed: Decides the first weights and all that is drawn.
        facts: Gets the rows.
        done: Called after each epoch.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    setting, program = experiment.setting, experiment.program
    inputs, labels, tests = (
        torch.from_numpy(a).to(device) for a in (experiment.inputs, experiment.labels, experiment.tests)
    )
    key = {"experiment": experiment.name, "predictor": predictor, "seed": seed}
    with seeded(seed, device) as draw:
        begin = time.monotonic()
        network = experiment.network().to(device)
        fitted = fit(predictor, network, program, inputs, labels, setting.weighting, setting.schedule, draw, done)
        trained = time.monotonic()
        steps = setting.steps if predictor.startswith("nesydm") else 1  # independent concepts are drawn all at once
        drawn = drawn_concepts(fitted.network, tests, program, setting.draws, steps, draw).cpu().numpy()
        ended = time.monotonic()
        if fitted.head is not None:
            own = _own_labels(fitted.network, fitted.head, tests, program.values, program.concepts)
            for item, label in zip(experiment.ids, own, strict=True):
                facts.add("labels", **key, item=item, label=numbers_text(label))
    facts.add("fits", **key, parameters=fitted.parameters, train_seconds=trained - begin, draw_seconds=ended - trained)
    for epoch in fitted.epochs:
        for term, value in epoch.terms.items():
            facts.add("epochs", **key, epoch=epoch.number, term=term, value=value)
    for place, item in enumerate(experiment.ids):
        for concepts, count in sorted(Counter(map(tuple, drawn[:, place].tolist())).items()):
            facts.add("draws", **key, item=item, concepts=numbers_text(concepts), count=count)


def _own_labels(
    network: Any, head: torch.nn.Module, tests: torch.Tensor, values: int, concepts: int
) -> Iterator[Sequence[int]]:
    with torch.no_grad():
        masked = torch.full((len(tests), concepts), values, device=tests.device)
        found = head(network.logits(network.encode(tests), masked)).argmax(-1)
    yield from found.tolist()
