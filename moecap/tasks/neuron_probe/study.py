"""One probe: trained for an attribute of a language, its units selected, judged on test words, and the facts of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from moecap.tasks.neuron_probe.probe import fit_probe
from moecap.tasks.neuron_probe.selection import Judge, select
from moecap.tasks.neuron_probe.settings import Settings
from moecap.tasks.neuron_probe.splits import SPLITS, Cell
from moecap.tasks.neuron_probe.tables import RANDOM_DRAWS
from moecap.tasks.neuron_probe.words import Word
from moecap.tasks.table_rows import TableRows

__all__ = ["note_setting", "one_thread", "probe_cell", "standardised"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Small matrices are multiplied in one thread: several wait for each other longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def standardised(vectors: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Vectors with the mean 0 and the standard deviation 1 over the training words, [n, D].

    A unit that is the same for all training words is 0 for every word.

    Args:
        vectors: [n, D].
        train: Rows of the training words.
    """
    known = vectors[train].astype(np.float64)
    mean, spread = known.mean(0), known.std(0)
    constant = spread <= 1e-9 * np.abs(mean)
    scaled = (vectors - mean) / np.where(constant, 1.0, spread)
    return np.where(constant, 0.0, scaled).astype(np.float32)


def note_setting(settings: Settings, units: int, layers: int, words: int, facts: TableRows) -> None:
    """Leave what all probes have in common."""
    kind = "given" if settings.states is not None else settings.unit
    layer = {"neuron": settings.layer, "given": "given"}.get(kind, "all")
    schedule = settings.schedule
    facts.row(
        *("setting", kind, layer, units, layers, settings.selected, words, settings.least),
        *(schedule.scheme, schedule.epochs, schedule.batch, schedule.rate, schedule.masks),
        *(schedule.entropy, schedule.patience),
    )


def probe_cell(
    cell: Cell, seed: int, words: list[Word], vectors: np.ndarray, settings: Settings, facts: TableRows
) -> None:
    """Train, select and judge.

    Args:
        cell: The words of the attribute.
        seed: Of this split.
        words: All words.
        vectors: Their vectors, [words, D].
        settings: What is asked for.
        facts: Gets the rows.
    """
    key = (cell.language, cell.attribute, seed)
    for split in SPLITS:
        for value, n in zip(cell.values, cell.counts(split), strict=True):
            facts.row("values", *key, split, value, int(n))
    rows = np.concatenate([cell.rows[split] for split in SPLITS])
    bounds = np.cumsum([len(cell.rows[split]) for split in SPLITS])[:-1]
    train, dev, test = np.split(standardised(vectors[rows], np.arange(bounds[0])), bounds)
    gold = cell.gold
    begin = time.monotonic()
    probe = fit_probe(train, gold["train"], len(cell.values), settings.schedule, seed)
    trained = time.monotonic()
    on_dev, on_test = (Judge(x, gold[split], probe.weight, probe.bias) for x, split in ((dev, "dev"), (test, "test")))
    units: list[int] = []
    for rank, choice in enumerate(select(on_dev, settings.selected), start=1):
        on_test.add(choice.unit)
        answers = on_test.answers()
        facts.row("selected", *key, rank, choice.unit, choice.bits, answers.bits, _right(answers.chosen, gold["test"]))
        units.append(choice.unit)
    ended = time.monotonic()
    lemmas: dict[str, int] = {}
    for row, value, answer in zip(cell.rows["test"], gold["test"], answers.chosen, strict=True):
        lemma = lemmas.setdefault(words[row].lemma, len(lemmas))
        facts.row("answers", *key, words[row].id, lemma, cell.values[value], cell.values[answer])
    random = np.random.default_rng(seed)
    dimensions = vectors.shape[1]
    controls = [("all", 0, np.arange(dimensions))] + [
        ("random", draw, random.choice(dimensions, len(units), replace=False)) for draw in range(RANDOM_DRAWS)
    ]
    for kind, draw, chosen in controls:
        judge = Judge(test, gold["test"], probe.weight, probe.bias)
        judge.add(chosen)
        answers = judge.answers()
        facts.row("controls", *key, kind, draw, answers.bits, _right(answers.chosen, gold["test"]))
    inclusion = 1 / (1 + np.exp(-probe.inclusion.astype(np.float64)))
    facts.row(
        *("fits", *key, probe.epochs, probe.loss),
        *(float(inclusion[units].mean()), float(inclusion.mean()), trained - begin, ended - trained),
    )


def _right(chosen: np.ndarray, gold: np.ndarray) -> int:
    return int((chosen == gold).sum())
