"""Test questions with the samples that a predictor drew for them, read from texts that may be anyone's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from moecap.errors import BadInputError
from moecap.observations.task_tables import task_table_file
from moecap.tasks.method import Tables
from moecap.tasks.nesydm.programs import PROGRAMS, Program, program_of
from moecap.tasks.nesydm.votes import Ballot, labels_by

__all__ = ["NAME", "Answered", "answered", "headline", "numbers_text", "read_numbers", "verdicts"]

NAME = "nesydm"

MOST_CELLS = 100
"""Digits of a summand or cells along an edge beyond which a table is believed to be broken."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The samples of one predictor, trained with one seed, for the questions of one split.

    Attributes:
        experiment: Name of the experiment.
        predictor: Name of the predictor.
        seed: Seed of its training.
        split: ``id`` or ``ood``.
        program: From concepts to labels.
        ids: Ids of its items, in the order of the arrays.
        ballot: The samples.
        concepts: True concepts, [items, C]; ``None`` where they are not known.
        golds: True labels, [items, Y].
        labels: Labels that the predictor gives by itself, [items, Y]; ``None`` where they follow from the program.
    """

    experiment: str
    predictor: str
    seed: int
    split: str
    program: Program
    ids: tuple[str, ...]
    ballot: Ballot
    concepts: np.ndarray | None
    golds: np.ndarray
    labels: np.ndarray | None

    def predicted(self, strategy: str) -> np.ndarray:
        """Labels by a strategy of voting, [items, Y]; the predictor's own where it has some."""
        return labels_by(strategy, self.ballot, self.program) if self.labels is None else self.labels

    def right(self, strategy: str) -> np.ndarray:
        """Whether each label by a strategy is right, [items]."""
        labels = self.predicted(strategy)
        if self.concepts is None:
            equal: np.ndarray = (labels == self.golds).all(-1)
            return equal
        return self.program.agrees(labels, self.golds, self.concepts)


def numbers_text(numbers: Sequence[int] | np.ndarray) -> str:
    """Whole numbers as a text."""
    return " ".join(map(str, numbers))


def read_numbers(texts: pd.Series[Any], length: int, values: int, where: str) -> np.ndarray:
    """Whole numbers from 0 to ``values`` - 1 out of texts, [texts, length].

    Raises:
        BadInputError: With the first text that is none of that length and range.
    """
    unique, place = np.unique(texts.to_numpy().astype(str), return_inverse=True)
    found = np.empty((len(unique), length), dtype=np.int64)
    for row, text in enumerate(unique):
        parts = text.split(" ")
        if len(parts) != length or not all(p.isascii() and p.isdecimal() and int(p) < values for p in parts):
            raise BadInputError(
                f"{where}: {text[:40]!r} is not {length} numbers from 0 to {values - 1}; the run has to be repeated"
            )
        found[row] = [int(part) for part in parts]
    return found[place.ravel()]


def answered(tables: Tables, programs: Mapping[str, Program] | None = None) -> Iterator[Answered]:
    """What the tables hold, one after another: experiment, predictor, seed and split.

    Args:
        tables: The tables.
        programs: The program of each experiment, where that is not the registered one that the tables name.

    Raises:
        BadInputError: If the tables contradict themselves; the file is named.
    """
    if programs is None:
        programs = _programs(tables["experiments"])
    for experiment, items in tables["items"].groupby("experiment", sort=False):
        name = str(experiment)
        _refuse(name not in programs, "items", f"experiment {name!r} is not in the table of experiments")
        _refuse(bool(items["item"].duplicated().any()), "items", f"an item of {name} comes twice")
        program = programs[name]
        told = not (items["concepts"] == "").all()
        concepts = (
            read_numbers(items["concepts"], program.concepts, program.values, task_table_file(NAME, "items"))
            if told
            else None
        )
        golds = read_numbers(items["label"], program.outputs, program.output_values, task_table_file(NAME, "items"))
        drawn = tables["draws"][tables["draws"]["experiment"] == name]
        given = tables["labels"][tables["labels"]["experiment"] == name]
        for (predictor, seed), rows in drawn.groupby(["predictor", "seed"], sort=False):
            own = given[(given["predictor"] == predictor) & (given["seed"] == seed)]
            ballot, labels = _ballot(name, program, items, rows), _labels(name, program, items, own)
            for split in items["split"].unique():
                inside = np.flatnonzero(items["split"] == split)
                yield Answered(
                    name, str(predictor), int(cast(int, seed)), str(split), program, tuple(items["item"].iloc[inside]),
                    _of(ballot, inside), None if concepts is None else concepts[inside], golds[inside],
                    None if labels is None else labels[inside],
                )  # fmt: skip


def headline(tables: Tables) -> dict[str, tuple[str, bool]]:
    """Label and whether it is right, by the id of each shown question of the first experiment, predictor and seed."""
    one = next((one for one in answered(tables) if one.split == "id"), None)
    if one is None:
        return {}
    return verdicts(one)


def verdicts(one: Answered) -> dict[str, tuple[str, bool]]:
    """Label and whether it is right, by the id of each item."""
    found = zip(one.ids, one.predicted("ptm"), one.right("ptm"), strict=True)
    return {id: (numbers_text(label), bool(right)) for id, label, right in found}


def _programs(experiments: pd.DataFrame) -> dict[str, Program]:
    found = {}
    columns = (experiments[name].tolist() for name in ("experiment", "program", "size"))
    for name, program, size in zip(*columns, strict=True):
        _refuse(name in found, "experiments", f"{name} comes twice")
        _refuse(program not in PROGRAMS, "experiments", f"no program {program!r} is known here")
        _refuse(not 1 <= size <= MOST_CELLS, "experiments", f"column size of {name} is {size}")
        found[name] = program_of(program, size)
    return found


def _ballot(name: str, program: Program, items: pd.DataFrame, rows: pd.DataFrame) -> Ballot:
    place = pd.Index(items["item"]).get_indexer(rows["item"])
    _refuse(bool((place < 0).any()), "draws", f"a question of {name} that the table of items does not have")
    _refuse(bool((rows["count"] < 1).any()), "draws", f"column count of {name} has a number below 1")
    _refuse(len(np.unique(place)) < len(items), "draws", f"a question of {name} has no samples")
    drawn = np.bincount(place, weights=rows["count"])
    _refuse(bool((drawn != drawn[0]).any()), "draws", f"questions of {name} have different numbers of samples")
    concepts = read_numbers(rows["concepts"], program.concepts, program.values, task_table_file(NAME, "draws"))
    return Ballot(place, concepts, rows["count"].to_numpy())


def _labels(name: str, program: Program, items: pd.DataFrame, own: pd.DataFrame) -> np.ndarray | None:
    if own.empty:
        return None
    same = sorted(own["item"]) == sorted(items["item"])
    _refuse(not same, "labels", f"the labels of {name} are not one for each question")
    in_order = own.set_index("item").loc[items["item"], "label"]
    return read_numbers(in_order, program.outputs, program.output_values, task_table_file(NAME, "labels"))


def _of(ballot: Ballot, inside: np.ndarray) -> Ballot:
    """The samples of some items, which are counted anew."""
    place = np.full(ballot.items, -1)
    place[inside] = np.arange(len(inside))
    rows = place[ballot.item] >= 0
    return Ballot(place[ballot.item[rows]], ballot.concepts[rows], ballot.count[rows])


def _refuse(wrong: bool, table: str, what: str) -> None:
    if wrong:
        raise BadInputError(f"{task_table_file(NAME, table)}: {what}; the run has to be repeated")
