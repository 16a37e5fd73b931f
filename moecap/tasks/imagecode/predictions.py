"""Picks that were made elsewhere, scored against a split's JSON file.

A prediction: ``{"set": "open-images-1815_f91d6f546e63f20d", "gold_key": "5", "pred": 5}``, where ``gold_key`` is the
key of the description in its set (its number, from 0, in the unlabelled test split), ``pred`` the picked place from 0
to 9 or null for no answer, and ``scores``, where given, the ten scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from moecap.data.imagecode import descriptions, split_file, tags_of
from moecap.data.published import json_lines
from moecap.errors import BadInputError
from moecap.metrics.value import Metric
from moecap.tasks.base import Task, TaskOptions
from moecap.tasks.imagecode.asked import released_question
from moecap.tasks.imagecode.facts import Facts
from moecap.tasks.imagecode.picked import GIVEN
from moecap.tasks.imagecode.questions import IMAGES, Question
from moecap.tasks.imagecode.scores import imagecode_metrics
from moecap.tasks.imagecode.settings import Settings
from moecap.tasks.imagecode.submission import refuse_unwritable, write_submission

__all__ = ["scored_predictions"]


def scored_predictions(
    task: Task, settings: Settings, options: TaskOptions, predictions: Path, gold: Path | None
) -> tuple[list[Mapping[str, Any]], dict[str, Metric]]:
    """A sample of every description, and the method's metrics; what has no prediction is wrong.

    Args:
        task: The task.
        settings: The arguments; ``export`` writes the submission.
        options: The limit, and the folder where ``gold`` is not given.
        predictions: The file of predictions.
        gold: The JSON file of a split.

    Raises:
        BadInputError: With file and line of what is wrong.
    """
    if gold is None and options.data is None:
        raise BadInputError("imagecode scores predictions with --gold FILE, a split's JSON file; or --data DIR")
    path = gold if gold is not None else split_file(options.folder, settings.split)
    tags = tags_of(settings.phenomena) if settings.phenomena is not None else {}
    every = [released_question(one, tags.get((one.set, one.key), ())) for one in descriptions(path)]
    asked = every[: options.limit]
    if settings.export is not None:
        refuse_unwritable(settings.export, limited=len(asked) < len(every))
    said = _predictions(predictions, {question.id for question in every})
    if settings.export is not None:
        if missing := [question.id for question in asked if said.get(question.id, (None, None))[0] is None]:
            raise BadInputError(
                f"{predictions}: no place for {missing[0]!r} and {len(missing) - 1} others; a submission needs one each"
            )
        write_submission(settings.export, asked, {name: pick for name, (pick, _) in said.items() if pick is not None})
    facts = Facts()
    samples: list[Mapping[str, Any]] = []
    for question in asked:
        facts.describe(question)
        pick, scores = said.get(question.id, (None, None))
        facts.picked(GIVEN, 0, question, pick)
        facts.scored(GIVEN, 0, question, scores or ())
        samples.append(_sample(task, question, pick))
    return samples, imagecode_metrics(facts.frames())


def _predictions(path: Path, known: set[str]) -> dict[str, tuple[int | None, list[float] | None]]:
    """Pick and scores by the question's id."""
    if not path.is_file():
        raise BadInputError(f"{path}: no such file; give JSON lines with set, gold_key and pred")
    found: dict[str, tuple[int | None, list[float] | None]] = {}
    lines: dict[str, str] = {}
    for where, row in json_lines(path):
        name, key = row.get("set"), row.get("gold_key")
        if not isinstance(name, str) or not isinstance(key, str | int) or isinstance(key, bool):
            raise BadInputError(f"{where}: no set or no gold_key; a line has set, gold_key and pred")
        one = f"{name}/{key}"
        if one not in known:
            raise BadInputError(f"{where}: no description {str(key)!r} of the set {name!r}; take the line out")
        if one in found:
            raise BadInputError(f"{where}: a second prediction for {one!r}, after {lines[one]}; leave one out")
        lines[one] = where.rpartition(", ")[2]
        found[one] = _pick(where, row), _scores(where, row)
        pick, scores = found[one]
        if scores is not None and (pick is None or scores[pick] < max(scores)):
            raise BadInputError(f"{where}: pred is {pick}, which has not the largest of the scores; mend one of them")
    return found


def _pick(where: str, row: Mapping[str, Any]) -> int | None:
    if "pred" not in row:
        raise BadInputError(f"{where}: no pred; give a place from 0 to {IMAGES - 1}, or null for no answer")
    pick = row["pred"]
    if pick is None:
        return None
    if not isinstance(pick, int) or isinstance(pick, bool) or not 0 <= pick < IMAGES:
        raise BadInputError(f"{where}: pred is {str(pick)[:40]}; give a whole number from 0 to {IMAGES - 1}")
    return pick


def _scores(where: str, row: Mapping[str, Any]) -> list[float] | None:
    given = row.get("scores")
    if given is None:
        return None
    numbers = isinstance(given, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in given)
    if not numbers or len(given) != IMAGES or not all(isfinite(v) for v in given):
        raise BadInputError(f"{where}: scores is {str(given)[:40]}; give {IMAGES} finite numbers, or leave it out")
    return [float(value) for value in given]


def _sample(task: Task, question: Question, pick: int | None) -> dict[str, Any]:
    return {
        "task": task.name,
        "kind": task.name,
        "id": question.id,
        "prompt": question.text,
        "answer": None if pick is None else str(pick),
        "gold": question.gold,
        "scores": {} if question.gold is None else {"accuracy": int(pick == question.gold)},
    }
