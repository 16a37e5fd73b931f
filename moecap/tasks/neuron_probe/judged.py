"""Probes as the tables tell of them, which may be anyone's: what does not fit together is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from moecap.errors import BadInputError
from moecap.metrics.clusters import Groups
from moecap.observations.task_tables import task_table_file
from moecap.tasks.method import Tables
from moecap.tasks.neuron_probe.overlap import MOST_SELECTED, MOST_UNITS
from moecap.tasks.neuron_probe.splits import SPLITS
from moecap.tasks.neuron_probe.tables import CELL, NAME
from moecap.tasks.neuron_probe.words import NAMES

__all__ = ["Judged", "Shape", "judged", "shape_of"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What all probes have in common.

    Attributes:
        unit: What a unit is: ``neuron``, ``expert``, ``chosen`` or ``given``.
        units: Units in all.
        layers: Layers that they come from, each with as many.
        selected: Units that are selected.
    """

    unit: str
    units: int
    layers: int
    selected: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A probe of one attribute of one language, with one split.

    Attributes:
        language: Code of the language.
        attribute: Name of the attribute.
        seed: Seed of the split.
        counts: Words of each value, by split.
        units: The selected units in their order, [k].
        dev_bits: Surprisal of all dev words with the units up to each, bits, [k].
        test_bits: The same of all test words, [k].
        right: Right test words with the units up to each, [k].
        all_bits: Surprisal of all test words with all units, bits.
        all_right: Right test words with all units.
        random_right: Right test words with each random subset, [draws].
        random_bits: Their surprisal, bits, [draws].
        groups: How the test words come in lemmas, and what that does to the error of the share that is right.
    """

    language: str
    attribute: str
    seed: int
    counts: Mapping[str, Mapping[str, int]]
    units: np.ndarray
    dev_bits: np.ndarray
    test_bits: np.ndarray
    right: np.ndarray
    all_bits: float
    all_right: int
    random_right: np.ndarray
    random_bits: np.ndarray
    groups: Groups

    @property
    def cell(self) -> str:
        """Language and attribute, neither of which has a space."""
        return f"{self.language} {self.attribute}"

    @property
    def tests(self) -> int:
        """Test words."""
        return sum(self.counts["test"].values())

    @property
    def majority(self) -> int:
        """Test words that are right if each is given the value that most training words have; of equals the first."""
        train = self.counts["train"]
        return self.counts["test"][max(sorted(train), key=lambda value: train[value])]


def shape_of(tables: Tables) -> Shape:
    """What the table of settings says.

    Raises:
        BadInputError: If it is not one row of what can be.
    """
    setting = tables["setting"]
    _refuse(len(setting) != 1, "setting", f"{len(setting)} rows in place of one")
    row = setting.iloc[0]
    shape = Shape(str(row["unit"]), int(row["units"]), int(row["layers"]), int(row["selected"]))
    _refuse(
        not 1 <= shape.selected <= min(shape.units, MOST_SELECTED), "setting", f"column selected is {shape.selected}"
    )
    _refuse(shape.units > MOST_UNITS, "setting", f"column units is {shape.units}")
    _refuse(shape.layers < 1 or shape.units % shape.layers != 0, "setting", f"column layers is {shape.layers}")
    _refuse(shape.unit not in ("neuron", "expert", "chosen", "given"), "setting", f"column unit is {shape.unit!r}")
    return shape


def judged(tables: Tables) -> list[Judged]:
    """All probes, in the order in which they came.

    Raises:
        BadInputError: If the tables contradict themselves or each other; the file is named.
    """
    if tables["values"].empty:
        return []
    shape = shape_of(tables)
    parts = {name: dict(iter(tables[name].groupby(CELL, sort=False))) for name in ("selected", "controls", "answers")}
    found = []
    for key, values in tables["values"].groupby(CELL, sort=False):
        found.append(
            _judged(key, values, {name: of.pop(key, tables[name].iloc[:0]) for name, of in parts.items()}, shape)
        )
    for name, left in parts.items():
        _refuse(bool(left), name, f"rows of {_said(next(iter(left), ()))}, which the table of values does not have")
    return found


def _judged(key: Any, values: pd.DataFrame, parts: Mapping[str, pd.DataFrame], shape: Shape) -> Judged:
    language, attribute, seed = key
    where = _said(key)
    for kind, name in (("language", language), ("attribute", attribute)):
        _refuse(not NAMES[kind].fullmatch(name), "values", f"column {kind} is {name[:40]!r}")
    counts = _counts(values, where)
    tests = sum(counts["test"].values())
    selected, controls = parts["selected"], parts["controls"]
    units = selected["unit"].to_numpy()
    _refuse(
        selected["rank"].tolist() != list(range(1, shape.selected + 1)),
        "selected",
        f"column rank of {where} does not count from 1 to {shape.selected}",
    )
    _refuse(
        len(np.unique(units)) < len(units) or units.min() < 0 or units.max() >= shape.units,
        "selected",
        f"column unit of {where} is not of {shape.selected} different ones of {shape.units}",
    )
    for name, frame in (("selected", selected), ("controls", controls)):
        wrong = (frame["test_right"] < 0) | (frame["test_right"] > tests) | (frame["test_bits"] < 0)
        _refuse(bool(wrong.any()), name, f"column test_right or test_bits of {where} does not fit {tests} test words")
    _refuse(bool((selected["dev_bits"] < 0).any()), "selected", f"column dev_bits of {where} is below 0")
    whole, random = controls[controls["kind"] == "all"], controls[controls["kind"] == "random"]
    _refuse(
        len(whole) != 1 or random.empty or len(whole) + len(random) != len(controls),
        "controls",
        f"rows of {where} are not one of all units and some of random ones",
    )
    right = selected["test_right"].to_numpy()
    answers = parts["answers"]
    hits = int((answers["gold"] == answers["answer"]).sum())
    golds = {value: n for value, n in answers["gold"].value_counts().items() if n}
    _refuse(
        golds != {value: n for value, n in counts["test"].items() if n}
        or hits != right[-1]
        or not set(answers["answer"]) <= set(counts["test"])
        or bool(answers["item"].duplicated().any()),
        "answers",
        f"those of {where} are not of its test words, or not as right as the table of selected units says",
    )
    dev_bits, test_bits = (selected[name].to_numpy() for name in ("dev_bits", "test_bits"))
    return Judged(
        *(language, attribute, int(seed), counts, units, dev_bits, test_bits, right),
        *(float(whole["test_bits"].iloc[0]), int(whole["test_right"].iloc[0])),
        *(random["test_right"].to_numpy(), random["test_bits"].to_numpy()),
        Groups.of((answers["gold"] == answers["answer"]).to_numpy(), answers["lemma"].to_numpy()),
    )


def _counts(values: pd.DataFrame, where: str) -> dict[str, dict[str, int]]:
    """Words of each value by split; every value has some in every split."""
    counts: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
    for split, value, n in zip(values["split"], values["value"], values["n"], strict=True):
        _refuse(split not in counts, "values", f"column split of {where} is {split[:40]!r}")
        _refuse(not NAMES["value"].fullmatch(value), "values", f"column value of {where} is {value[:40]!r}")
        _refuse(value in counts[split], "values", f"value {value!r} of {where} comes twice in {split}")
        counts[split][value] = int(n)
    of_values = {split: set(of) for split, of in counts.items()}
    few = any(n < 1 for of in counts.values() for n in of.values())
    _refuse(
        few or len(of_values["train"]) < 2 or any(of != of_values["train"] for of in of_values.values()),
        "values",
        f"{where} does not have two or more values with words in each split",
    )
    return counts


def _said(key: Any) -> str:
    return " ".join(str(part)[:40] for part in key)


def _refuse(wrong: bool, table: str, what: str) -> None:
    if wrong:
        raise BadInputError(f"{task_table_file(NAME, table)}: {what}; the run has to be repeated")
