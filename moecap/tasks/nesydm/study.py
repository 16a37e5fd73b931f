"""One training of one predictor for one experiment, and the facts that it leaves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from moecap.tasks.nesydm.answered import numbers_text
from moecap.tasks.nesydm.experiments import Experiment
from moecap.tasks.nesydm.tables import TABLES
from moecap.tasks.nesydm.training import drawn_concepts, fit, seeded

__all__ = ["Facts", "describe", "study"]


@dataclass(slots=True)
class Facts:
    """Columns of every table, filled as trainings end."""

    columns: dict[str, dict[str, list[Any]]] = field(
        default_factory=lambda: {table: {name: [] for name in schema.names} for table, schema in TABLES.items()}
    )

    def row(self, table: str, *values: Any) -> None:
        """Add a row, its values in the order of the table's columns."""
        for column, value in zip(self.columns[table].values(), values, strict=True):
            column.append(value)


def describe(experiment: Experiment, facts: Facts) -> None:
    """Leave what an experiment is and its test questions."""
    setting = experiment.setting
    weighting, schedule = setting.weighting, setting.schedule
    facts.row(
        "experiments",
        *(experiment.name, experiment.program.name, experiment.size, experiment.source, len(experiment.inputs)),
        *(schedule.epochs, schedule.batch, schedule.rate, schedule.optimiser),
        *(weighting.samples, weighting.candidates, setting.draws, setting.steps or 0),
        *(weighting.beta, weighting.gamma_c, weighting.gamma_h, weighting.y_weight),
    )
    for item, split, concepts, label in zip(
        experiment.ids, experiment.splits, experiment.concepts, experiment.golds, strict=True
    ):
        facts.row("items", experiment.name, item, split, numbers_text(concepts), numbers_text(label))


def study(experiment: Experiment, predictor: str, seed: int, facts: Facts, done: Callable[[], None]) -> None:
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
    key = (experiment.name, predictor, seed)
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
                facts.row("labels", *key, item, numbers_text(label))
    facts.row("fits", *key, fitted.parameters, trained - begin, ended - trained)
    for epoch in fitted.epochs:
        for term, value in epoch.terms.items():
            facts.row("epochs", *key, epoch.number, term, value)
    for place, item in enumerate(experiment.ids):
        for concepts, count in sorted(Counter(map(tuple, drawn[:, place].tolist())).items()):
            facts.row("draws", *key, item, numbers_text(concepts), count)


def _own_labels(
    network: Any, head: torch.nn.Module, tests: torch.Tensor, values: int, concepts: int
) -> Iterator[Sequence[int]]:
    with torch.no_grad():
        masked = torch.full((len(tests), concepts), values, device=tests.device)
        found = head(network.logits(network.encode(tests), masked)).argmax(-1)
    yield from found.tolist()
