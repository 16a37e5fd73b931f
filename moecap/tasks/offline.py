"""Scores predictions that were made elsewhere: a file of answers against a task's own questions or a file of golds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from moecap.data.published import Row, json_lines
from moecap.errors import BadInputError, NotAvailableError
from moecap.tasks.answers.letter import LETTERS, stated_letter
from moecap.tasks.base import Task, TaskOptions
from moecap.tasks.generative import GenerativeTask, OpenQuestion
from moecap.tasks.multiple_choice import MultipleChoiceTask, Question

__all__ = ["identified_rows", "score_predictions"]


def score_predictions(
    task: Task, options: TaskOptions, predictions: Path, gold: Path | None
) -> list[Mapping[str, Any]]:
    """A sample for each question; one without a prediction is unanswered, which is wrong.

    Args:
        task: The task.
        options: Its options.
        predictions: JSON lines with ``id`` and ``answer`` or ``prediction``: of a task that generates the model's text,
            of multiple choice a letter, a sentence that states one, or the text of a choice. The samples of a run are
            such a file: lines of other tasks are passed over, and an ``outcome`` failed or truncated stays one.
        gold: JSON lines with ``id`` and ``gold`` (or ``answer``), and ``about`` where the task's grading needs it, in
            place of the task's own questions; the samples of a run are such a file.

    Raises:
        NotAvailableError: If the task cannot be scored without its model.
        BadInputError: If a line is malformed, comes twice or is of no question; it is named.
    """
    if not isinstance(task, GenerativeTask | MultipleChoiceTask):
        raise NotAvailableError(
            f"task {task.name!r} scores what a model gives as it runs; moecap run --task {task.name}"
        )
    questions = task.items(options) if gold is None else _golds(task, gold)[: options.limit]
    answers = _answers(task, predictions)
    known = {question.id for question in questions}
    for name, said in answers.items():
        if name not in known:
            raise BadInputError(f"{said.where}: no question {name!r} in task {task.name!r}; take the line out")
    return [_sample(task, question, answers.get(question.id, _Said(question.id, None))) for question in questions]


class _Said(NamedTuple):
    """A prediction, or that there is none.

    Attributes:
        where: Where it stands.
        answer: What it says.
        outcome: What became of the question, where a run's sample says so.
    """

    where: str
    answer: str | None
    outcome: str | None = None


def _sample(task: GenerativeTask | MultipleChoiceTask, question: Any, said: _Said) -> dict[str, Any]:
    sample = {"task": task.name, "id": question.id, "answer": said.answer, "gold": question.gold}
    if isinstance(task, MultipleChoiceTask):
        return sample | _choice(question, said.answer)
    failed, cut_off = said.outcome == "failed", said.outcome == "truncated"
    try:
        return sample | task.graded(question, said.answer or "", failed=failed, cut_off=cut_off)
    except (KeyError, TypeError) as error:
        raise BadInputError(
            f"{said.where}: the gold file lacks what the task's grading needs ({error!r}); give it as "
            "'about', or leave --gold out"
        ) from error


def _choice(question: Question, answer: str | None) -> dict[str, Any]:
    """The choice that is named by its letter or its text."""
    texts = [text.strip() for text in question.answers]
    letter = None
    if answer is not None:
        same = [LETTERS[number] for number, text in enumerate(texts) if text == answer.strip()]
        letter = same[0] if len(same) == 1 else stated_letter(answer, len(texts), texts)
    outcome = "unanswered" if letter is None else "answered"
    return {"extracted": letter, "outcome": outcome, "scores": {"accuracy": int(letter == LETTERS[question.gold])}}


def _answers(task: Task, path: Path) -> dict[str, _Said]:
    """Each prediction by the id of its question."""
    found: dict[str, _Said] = {}
    for name, where, row in identified_rows(task, path, "prediction"):
        answer = row.get("answer", row.get("prediction"))
        if not isinstance(answer, str):
            if answer is None or isinstance(answer, bool | list | dict):
                raise BadInputError(f"{where}: no answer or prediction; give it as text")
            answer = str(answer)
        found[name] = _Said(where, answer, row.get("outcome"))
    return found


def _golds(task: GenerativeTask | MultipleChoiceTask, path: Path) -> list[OpenQuestion]:
    if isinstance(task, MultipleChoiceTask) or not task.regradable:  # which grades by more than a question and a text
        raise NotAvailableError(f"task {task.name!r} brings its own right answers; leave --gold out")
    questions = []
    for name, where, row in identified_rows(task, path, "gold"):
        gold = row.get("gold", row.get("answer"))
        about = row.get("about", {})
        if gold is None or not isinstance(about, dict):
            raise BadInputError(f"{where}: no gold (or answer), or an 'about' that is no object; mend the line")
        questions.append(OpenQuestion(name, "", gold, 1, about=about))
    return questions


def identified_rows(task: Task, path: Path, kind: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Id, place and content of each line that names no other task.

    Raises:
        BadInputError: If the file cannot be read, an id is missing or comes twice, or all lines are of other tasks.
    """
    seen: dict[str, str] = {}
    others: set[str] = set()
    for where, row in _rows(path):
        if (other := row.get("task", task.name)) != task.name:
            others.add(str(other))
            continue
        name = row.get("id")
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise BadInputError(f"{where}: no id; each {kind} needs the id of its question")
        name = str(name)
        if name in seen:
            raise BadInputError(f"{where}: a second {kind} for {name!r}, after {seen[name]}; leave one out")
        seen[name] = where.rpartition(", ")[2]
        yield name, where, row
    if others and not seen:
        raise BadInputError(f"{path}: all its lines are of {', '.join(sorted(others))} and none of {task.name}")


def _rows(path: Path) -> Iterable[Row]:
    if not path.is_file():
        raise BadInputError(f"{path}: no such file; give JSON lines with id and answer")
    try:
        yield from json_lines(path)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror}); give JSON lines with id and answer") from None
