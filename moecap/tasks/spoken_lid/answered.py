"""Test utterances with the answers of a classifier, read from tables that may be anyone's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from moecap.errors import BadInputError
from moecap.observations.task_tables import task_table_file
from moecap.tasks.method import Tables
from moecap.tasks.spoken_lid.measures import confusion
from moecap.tasks.spoken_lid.tables import ANSWERED, FAILED, NAME, UNPARSED

__all__ = ["Answered", "Trained", "answered", "headline", "refuse", "trained"]


@dataclass(frozen=True, slots=True)
class Trained:
    """What an experiment is trained on.

    Attributes:
        labels: Languages that can be answered.
        rows: The rows of its training; none where nothing is trained.
    """

    labels: tuple[str, ...]
    rows: pd.DataFrame

    @property
    def domains(self) -> set[str]:
        """Kinds of recordings that training has."""
        return set(self.rows["domain"])

    @property
    def speakers(self) -> set[str]:
        """Everyone whom training hears."""
        return set(self.rows["speaker"])

    @property
    def utterances(self) -> int:
        """Training utterances."""
        return int(self.rows["utterances"].sum())

    def tells_language(self, column: str) -> float:
        """Share of the training utterances whose language is the most frequent one of their speaker or domain.

        Args:
            column: ``speaker`` or ``domain``; of no column at all the share of the most frequent language.
        """
        by_both = self.rows.groupby([*([column] if column else []), "language"])["utterances"].sum()
        most = by_both.groupby(column).max().sum() if column else by_both.max()
        return float(most / self.utterances)


@dataclass(frozen=True, slots=True)
class Answered:
    """The answers of one classifier, trained with one seed, to the tests of one experiment.

    Attributes:
        experiment: Name of the experiment.
        classifier: Name of the classifier.
        seed: Seed of its training.
        training: What it was trained on.
        ids: Ids of the test utterances.
        gold: Their languages, [n].
        found: The answers, [n]; an empty text for none.
        outcomes: What became of each, [n].
        domains: Kinds of their recordings, [n].
        in_domain: Whether training has that kind, [n].
        known: Whether training has the speaker, [n].
    """

    experiment: str
    classifier: str
    seed: int
    training: Trained
    ids: tuple[str, ...]
    gold: tuple[str, ...]
    found: tuple[str, ...]
    outcomes: tuple[str, ...]
    domains: np.ndarray
    in_domain: np.ndarray
    known: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether each answer is right, [n]."""
        return np.array([a == b for a, b in zip(self.gold, self.found, strict=True)])

    @property
    def counts(self) -> np.ndarray:
        """How many utterances of each language got each answer, [L, L + 1]."""
        place = {label: i for i, label in enumerate(self.training.labels)} | {"": -1}
        return confusion([place[a] for a in self.gold], [place[b] for b in self.found], len(self.training.labels))


def trained(tables: Tables) -> dict[str, Trained]:
    """What each experiment is trained on, by its name.

    Raises:
        BadInputError: If the tables contradict themselves; the file is named.
    """
    names = tables["experiments"]["experiment"].tolist()
    refuse(len(set(names)) < len(names), "experiments", "an experiment comes twice")
    found = {}
    for name in names:
        labels = tables["labels"].loc[tables["labels"]["experiment"] == name, "language"].tolist()
        refuse(not labels or len(set(labels)) < len(labels), "labels", f"languages of {name} are missing or come twice")
        rows = tables["training"][tables["training"]["experiment"] == name]
        strange = set(rows["language"]) - set(labels)
        refuse(bool(strange) or bool((rows["utterances"] < 1).any()), "training", f"rows of {name} that cannot be")
        found[name] = Trained(tuple(labels), rows)
    return found


def answered(tables: Tables) -> Iterator[Answered]:
    """What the tables hold, one after another: experiment, classifier and seed.

    Raises:
        BadInputError: If the tables contradict themselves; the file is named.
    """
    experiments = trained(tables)
    for table in ("tests", "answers"):
        strange = set(tables[table]["experiment"]) - set(experiments)
        refuse(bool(strange), table, f"experiment {next(iter(strange), '')!r} is not in the table of experiments")
    for name, training in experiments.items():
        tests = tables["tests"][tables["tests"]["experiment"] == name]
        refuse(bool(tests["item"].duplicated().any()), "tests", f"an utterance of {name} comes twice")
        refuse(bool(set(tests["language"]) - set(training.labels)), "tests", f"a language of {name} is none of its own")
        given = tables["answers"][tables["answers"]["experiment"] == name]
        for (classifier, seed), rows in given.groupby(["classifier", "seed"], sort=False):
            yield _one(name, str(classifier), int(cast(int, seed)), training, tests, rows)


def headline(tables: Tables) -> dict[str, dict[str, Any]]:
    """The samples of the first experiment, classifier and seed, by the id of each test utterance, in their order."""
    one = next(answered(tables), None)
    if one is None:
        return {}
    rows = zip(one.ids, one.domains.tolist(), one.gold, one.outcomes, one.found, strict=True)
    return {row[0]: _sample(*row) for row in rows}


def _sample(id: str, domain: str, language: str, outcome: str, answer: str) -> dict[str, Any]:
    return {
        "task": NAME,
        "kind": "spoken_lid",
        "id": id,
        "domain": domain,
        "prompt": "",
        "answer": answer or None,
        "outcome": outcome,
        "gold": language,
        "scores": {"accuracy": int(answer == language)},
    }


def _one(name: str, classifier: str, seed: int, training: Trained, tests: pd.DataFrame, rows: pd.DataFrame) -> Answered:
    same = sorted(rows["item"]) == sorted(tests["item"])
    refuse(not same, "answers", f"the answers of {classifier} are not one for each test of {name}")
    in_order = rows.set_index("item").loc[tests["item"]]
    found, outcomes = tuple(in_order["language"]), tuple(in_order["outcome"])
    refuse(bool(set(found) - {*training.labels, ""}), "answers", f"an answer of {classifier} is no language of {name}")
    refuse(bool(set(outcomes) - {ANSWERED, UNPARSED, FAILED}), "answers", f"an outcome of {classifier} is none")
    differ = any(bool(language) != (outcome == ANSWERED) for language, outcome in zip(found, outcomes, strict=True))
    refuse(differ, "answers", f"an outcome of {classifier} does not fit its answer")
    domains = tests["domain"].to_numpy().astype(str)
    return Answered(
        name, classifier, seed, training, tuple(tests["item"]), tuple(tests["language"]), found, outcomes, domains,
        tests["domain"].isin(training.domains).to_numpy(), tests["speaker"].isin(training.speakers).to_numpy(),
    )  # fmt: skip


def refuse(wrong: bool, table: str, what: str) -> None:
    """Refuse tables that contradict themselves.

    Raises:
        BadInputError: If something is wrong; file and reason are named.
    """
    if wrong:
        raise BadInputError(f"{task_table_file(NAME, table)}: {what}; the run has to be repeated")
