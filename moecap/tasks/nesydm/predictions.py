"""Concepts that were drawn elsewhere, scored against golds: JSON lines in, the samples and tables of a run out.

A gold: ``{"id": "0", "concepts": [3, 1, 4, 1], "y": [0, 7, 2], "split": "id"}``; ``concepts`` or ``y`` may be left out
(``y`` then follows from the concepts), and the split is ``id`` where none is named. A prediction: ``{"id": "0",
"concept_samples": [[3, 1, 4, 1], ...], "y": [0, 7, 2]}``; ``y`` may be left out and is the most frequent label of the
samples, unless ``trust_y=true`` takes it as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from moecap.errors import BadInputError
from moecap.metrics.value import Metric
from moecap.tasks.base import Task
from moecap.tasks.nesydm.answered import answered, numbers_text, verdicts
from moecap.tasks.nesydm.programs import Program
from moecap.tasks.nesydm.scores import nesydm_metrics
from moecap.tasks.nesydm.tables import TABLES
from moecap.tasks.nesydm.votes import most_frequent
from moecap.tasks.offline import identified_rows

__all__ = ["scored_predictions"]

EXPERIMENT, PREDICTOR = "predictions", "given"


class _Gold(NamedTuple):
    split: str
    concepts: tuple[int, ...] | None
    label: tuple[int, ...]


def scored_predictions(
    task: Task,
    program: Program,
    predictions: Path,
    gold: Path,
    limit: int | None,
    *,
    trusted: bool,
    lenient: bool,
) -> tuple[list[Mapping[str, Any]], dict[str, Metric]]:
    """A sample of every gold, and the method's metrics over the golds that have a prediction.

    Args:
        task: The task.
        program: From concepts to labels.
        predictions: The file of predictions.
        gold: The file of golds.
        limit: Golds at most, the first ones.
        trusted: Whether a label stands as it is given where the program says something else.
        lenient: Whether a gold may have no prediction, which is wrong then.

    Raises:
        BadInputError: With file and line of what is wrong.
    """
    golds = dict(list(_golds(task, program, gold, trusted).items())[:limit])
    if len({one.concepts is None for one in golds.values()}) > 1:
        raise BadInputError(f"{gold}: some lines have concepts and some have none; give them in all lines or in none")
    rows, draws = _Rows(program), 0
    for name, where, row in identified_rows(task, predictions, "prediction"):
        if name not in golds:
            if limit is None:
                raise BadInputError(f"{where}: no gold has the id {name!r}; take the line out")
            continue
        samples, label = _prediction(program, where, row, trusted)
        if len(samples) != (draws := draws or len(samples)):
            raise BadInputError(f"{where}: {len(samples)} samples, and {draws} of those before it; give equally many")
        rows.add(name, golds[name], samples, label)
    if (missing := [name for name in golds if name not in rows.names]) and not lenient:
        raise BadInputError(
            f"{predictions}: no prediction for {missing[0]!r} and {len(missing) - 1} others; add them, or count them "
            "as wrong with --task-arg allow_missing=true"
        )
    tables, programs = rows.tables(), {EXPERIMENT: program}
    found = {id: verdict for one in answered(tables, programs) for id, verdict in verdicts(one).items()}
    scored: list[Mapping[str, Any]] = [_sample(task, name, one, found.get(name)) for name, one in golds.items()]
    return scored, nesydm_metrics(tables, programs)


class _Rows:
    """Rows of the tables of one experiment and one predictor."""

    def __init__(self, program: Program) -> None:
        self.names: set[str] = set()
        self._columns: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLES}
        self._program = program

    def add(self, name: str, gold: _Gold, samples: np.ndarray, label: tuple[int, ...] | None) -> None:
        self.names.add(name)
        concepts = "" if gold.concepts is None else numbers_text(gold.concepts)
        self._columns["items"].append((EXPERIMENT, name, gold.split, concepts, numbers_text(gold.label)))
        for drawn, count in sorted(Counter(map(tuple, samples.tolist())).items()):
            self._columns["draws"].append((EXPERIMENT, PREDICTOR, 0, name, numbers_text(drawn), count))
        if label is not None:
            self._columns["labels"].append((EXPERIMENT, PREDICTOR, 0, name, numbers_text(label)))

    def tables(self) -> dict[str, pd.DataFrame]:
        found = {}
        for name, schema in TABLES.items():
            empty: pd.DataFrame = schema.empty_table().to_pandas()
            found[name] = pd.DataFrame(self._columns[name], columns=schema.names).astype(empty.dtypes.to_dict())
        return found


def _golds(task: Task, program: Program, path: Path, trusted: bool) -> dict[str, _Gold]:
    found = {}
    for name, where, row in identified_rows(task, path, "gold"):
        split = row.get("split", "id")
        if split not in ("id", "ood"):
            raise BadInputError(f"{where}: the split {split!r} is neither id nor ood")
        concepts = _numbers(where, row, "concepts", program.concepts, program.values)
        label = _numbers(where, row, "y", program.outputs, program.output_values)
        if concepts is None and label is None:
            raise BadInputError(f"{where}: neither concepts nor y; give one of them")
        follows = None if concepts is None else tuple(program(np.array(concepts)).tolist())
        if label is None:
            label = follows
        elif follows is not None and not trusted and not program.agrees(*map(np.array, (label, follows, concepts))):
            raise BadInputError(
                f"{where}: y is {list(label)}, and {program.name} makes {list(follows)} of the concepts; mend it, or "
                "take it as it is with --task-arg trust_y=true"
            )
        assert label is not None
        found[name] = _Gold(split, concepts, label)
    return found


def _prediction(
    program: Program, where: str, row: Mapping[str, Any], trusted: bool
) -> tuple[np.ndarray, tuple[int, ...] | None]:
    """Samples, [L, C], and the label that stands for itself, if one does."""
    given = row.get("concept_samples")
    if not isinstance(given, list) or not given:
        raise BadInputError(f"{where}: no concept_samples; give a list of samples, one at least")
    samples = [_listed(where, "a sample", sample, program.concepts, program.values) for sample in given]
    drawn = np.array(samples)
    label = _numbers(where, row, "y", program.outputs, program.output_values)
    if label is None or trusted:
        return drawn, label
    votes = most_frequent(np.zeros(len(drawn), int), program(drawn), np.ones(len(drawn)))[0]
    if tuple(votes.tolist()) != label:
        raise BadInputError(
            f"{where}: y is {list(label)}, and the most frequent label of the samples {votes.tolist()}; leave y out, "
            "or take it as it is with --task-arg trust_y=true"
        )
    return drawn, None


def _numbers(where: str, row: Mapping[str, Any], name: str, length: int, values: int) -> tuple[int, ...] | None:
    return None if row.get(name) is None else _listed(where, name, row[name], length, values)


def _listed(where: str, name: str, given: Any, length: int, values: int) -> tuple[int, ...]:
    whole = isinstance(given, list) and all(isinstance(v, int) and not isinstance(v, bool) for v in given)
    if not whole or len(given) != length or not all(0 <= v < values for v in given):
        raise BadInputError(f"{where}: {name} is {str(given)[:60]}; give {length} whole numbers from 0 to {values - 1}")
    return tuple(given)


def _sample(task: Task, name: str, gold: _Gold, answer: tuple[str, bool] | None) -> dict[str, Any]:
    label, right = answer or (None, False)
    return {
        "task": task.name,
        "kind": "nesydm",
        "id": name,
        "prompt": "",
        "answer": label,
        "gold": numbers_text(gold.label),
        "scores": {"accuracy": int(right)},
    }
