"""Answers that were made elsewhere, such as a submission to the shared task, scored against right answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from moecap.data.languages import LANGUAGES
from moecap.data.speech_lists import Answered, Listed, answers_of, golds_of, manifest_of
from moecap.errors import BadInputError
from moecap.metrics.value import Metric
from moecap.tasks.base import TaskOptions
from moecap.tasks.spoken_lid.answered import headline
from moecap.tasks.spoken_lid.experiments import refuse_forbidden
from moecap.tasks.spoken_lid.scores import lid_metrics
from moecap.tasks.spoken_lid.settings import labels_of
from moecap.tasks.spoken_lid.tables import ANSWERED, TABLES, UNPARSED

__all__ = ["scored_submission"]

EXPERIMENT, CLASSIFIER = "submission", "given"

_SUBMISSION = re.compile(r"(?P<team>.+)_(?P<track>constrained|unconstrained)")


def scored_submission(
    arguments: Mapping[str, str], options: TaskOptions, predictions: Path, gold: Path
) -> tuple[list[Mapping[str, Any]], dict[str, Metric]]:
    """A sample of every utterance, and the method's metrics; a file named ``TEAM_TRACK.tsv`` is of that track.

    With the argument ``train``, the manifest of what was trained on, domains and speakers count as in a run.

    Args:
        arguments: The arguments in force.
        options: The task's options.
        predictions: The answers.
        gold: The right answers.

    Raises:
        BadInputError: With file and line of what is wrong.
    """
    labels = labels_of(arguments.get("labels", ""))
    golds = golds_of(gold, labels)
    labels, golds = labels or _spoken(golds), golds[: options.limit]
    answers = {one.id: one for one in answers_of(predictions, labels)}
    _refuse_others(golds, answers, predictions, complete=options.limit is None)
    named = _SUBMISSION.fullmatch(predictions.stem)
    if named is not None:
        options.progress(f"submission of {named['team']}, {named['track']} track")
    training = manifest_of(Path(arguments["train"]), options.data) if "train" in arguments else []
    if training and any(not one.speaker for one in golds):
        raise BadInputError(f"{gold}: it tells no speakers, so that train=FILE says nothing of them; give a manifest")
    refuse_forbidden(training, named["track"] if named else arguments.get("track", ""), options.progress)
    tables = _tables(labels, training, golds, answers)
    found = headline(tables)
    return [found[one.id] for one in golds], lid_metrics(tables)


def _refuse_others(golds: list[Listed], answers: Mapping[str, Answered], predictions: Path, *, complete: bool) -> None:
    known = {one.id for one in golds}
    for one in answers.values():
        if one.id not in known and complete:
            raise BadInputError(f"{one.where}: no right answer has the id {one.id!r}; take the line out")
    missing = [one.id for one in golds if one.id not in answers]
    if missing:
        more = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise BadInputError(f"{predictions}: no answer for {missing[0]!r}{more}; add them")


def _spoken(golds: list[Listed]) -> tuple[str, ...]:
    spoken = {one.language for one in golds}
    return (*(code for code in LANGUAGES if code in spoken), *sorted(spoken - set(LANGUAGES)))


def _tables(
    labels: tuple[str, ...], training: list[Listed], golds: list[Listed], answers: Mapping[str, Answered]
) -> dict[str, pd.DataFrame]:
    """The tables of a run whose only classifier made the answers."""
    heard: dict[tuple[str, str, str], int] = {}
    for one in training:
        if one.language not in labels:
            raise BadInputError(f"{one.where}: {one.language} cannot be answered; name all languages with labels=")
        heard[one.language, one.domain, one.speaker] = heard.get((one.language, one.domain, one.speaker), 0) + 1
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLES}
    rows["experiments"] = [(EXPERIMENT, "", "", "", 0, 0, 0.0, 0, 0, 0.0)]
    rows["labels"] = [(EXPERIMENT, label) for label in labels]
    rows["training"] = [(EXPERIMENT, *group, number, 0.0) for group, number in heard.items()]
    rows["tests"] = [(EXPERIMENT, one.id, one.language, one.domain, one.speaker, 0.0, 0) for one in golds]
    rows["answers"] = [
        (EXPERIMENT, CLASSIFIER, 0, one.id, ANSWERED if (said := answers[one.id].language) else UNPARSED, said)
        for one in golds
    ]
    found = {}
    for name, schema in TABLES.items():
        empty: pd.DataFrame = schema.empty_table().to_pandas()
        found[name] = pd.DataFrame(rows[name], columns=schema.names).astype(empty.dtypes.to_dict())
    return found
