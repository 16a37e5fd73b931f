"""Tasks in words: classification sets of GLUE, SuperGLUE and others with a prompt each, or a user's file of tasks.

The package of data holds the validation splits alone, so that each is split again here: every third example judges,
the others are learned from. Accuracies are therefore not those of the sets' own test splits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moecap.data.published import json_lines, parsed
from moecap.data.rows import data_set_rows
from moecap.data.sets import data_set
from moecap.errors import BadInputError, UnknownNameError
from moecap.tasks.adapter_routing.examples import TEST_EVERY, Example, ExampleTask, TaskSet, split
from moecap.tasks.adapter_routing.settings import Settings
from moecap.tasks.base import TaskOptions
from moecap.tasks.likelihood import BoolQ, Sst2

__all__ = ["HELD_OUT", "MOST_ANSWERS", "PROMPTS", "TRAINED", "text_tasks"]

TRAINED = ("sst2", "mrpc", "boolq", "commonsense_qa", "social_i_qa")
HELD_OUT = ("rte", "cb", "copa")
"""Sets of text classification, and those of them that T0 holds out, too."""

MOST_ANSWERS = 20
"""A task of a user's file has at most so many different targets; one of each is an answer to choose from."""

Row = Mapping[str, Any]
Question = tuple[str, Sequence[str], int]
"""Prompt, answers and the number of the right one."""


def text_tasks(settings: Settings, options: TaskOptions) -> TaskSet:
    """The tasks that are asked for.

    Args:
        settings: Says which, and how many examples of each are learned from.
        options: Gives the folder of the data and the most test examples of a task.

    Raises:
        UsageError: If the data is not here, or a file or a name is none.
    """
    if settings.tasks is None:
        examples = {name: _set(name, settings, options) for name in _chosen(settings)}
        source = f"{', '.join(data_set(name).source for name in examples)}: validation splits"
        trained, held_out = settings.train or TRAINED, settings.held_out or HELD_OUT
        narrowed = set(trained) | set(held_out) != {*TRAINED, *HELD_OUT}
    else:
        examples = _file(settings.tasks)
        source, narrowed = f"the user's file {settings.tasks.name}", False
        trained, held_out = _parts(settings, list(examples))
    if both := set(trained) & set(held_out):
        raise BadInputError(f"--task-arg held_out={','.join(held_out)}: {min(both)!r} is trained on, too; name it once")
    short = {name: [e for e in found if len(e.prompt) <= settings.longest] for name, found in examples.items()}
    tasks = {name: split(name, short[name], options.limit, settings.pool) for name in (*trained, *held_out)}
    for name, (task, _) in tasks.items():
        _refuse_empty(name, task)
    return TaskSet(
        tuple(tasks[name][0] for name in trained),
        tuple(tasks[name][0] for name in held_out),
        source,
        narrowed or short != examples or any(left_out for _, left_out in tasks.values()),
    )


def _chosen(settings: Settings) -> tuple[str, ...]:
    names = (*(settings.train or TRAINED), *(settings.held_out or HELD_OUT))
    for name in names:
        if name not in PROMPTS:
            raise UnknownNameError("set of texts", name, PROMPTS)
    return names


def _set(name: str, settings: Settings, options: TaskOptions) -> list[Example]:
    """The examples of a set, as many as can be of use."""
    asked = PROMPTS[name]

    def example(number: int, row: dict[str, Any]) -> Example:
        prompt, answers, gold = asked(row)
        if not 0 <= gold < len(answers):
            raise ValueError(f"{gold} is the number of no answer")
        return Example(f"{name}-{number}", prompt, tuple(f" {answer}" for answer in answers), gold)

    rows = data_set_rows(name, "validation", data=options.data)
    return list(parsed(rows, example, f"a row of {data_set(name).source}"))


def _file(path: Path) -> dict[str, list[Example]]:
    """The tasks of a user's file, in the order in which they begin.

    Raises:
        BadInputError: With file and line.
    """
    if not path.is_file():
        raise BadInputError(f"--task-arg tasks={path}: no such file; give JSON lines with task, prompt and target")
    lines: dict[str, list[tuple[str, str, str]]] = {}
    for where, row in json_lines(path):
        texts = [row.get(key) for key in ("task", "prompt", "target")]
        for key, text in zip(("task", "prompt", "target"), texts, strict=True):
            if not isinstance(text, str) or not text.strip():
                raise BadInputError(f"{where}: no {key}; each line needs task, prompt and target as texts")
        task, prompt, target = (str(text) for text in texts)
        lines.setdefault(task, []).append((where.rpartition(" ")[2], prompt, target.strip()))
    found: dict[str, list[Example]] = {}
    for task, rows in lines.items():
        targets = Counter(target for _, _, target in rows)
        if not 2 <= len(targets) <= MOST_ANSWERS:
            raise BadInputError(
                f"{path}, line {rows[0][0]}: task {task!r} has {len(targets)} different targets; a task chooses among "
                f"2 to {MOST_ANSWERS}"
            )
        answers = sorted(targets)
        found[task] = [
            Example(f"{task}-{line}", prompt.rstrip(), tuple(f" {a}" for a in answers), answers.index(target))
            for line, prompt, target in rows
        ]
    if len(found) < 2:
        raise BadInputError(f"{path}: {len(found)} tasks; at least one to train on and one to hold out are needed")
    return found


def _parts(settings: Settings, names: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and held-out tasks of a user's file; without a word of the user's, every third task is held out."""
    for name in (*settings.train, *settings.held_out):
        if name not in names:
            raise UnknownNameError("task in the file", name, names)
    held_out = settings.held_out or tuple(n for n in names[2::3] or names[-1:] if n not in settings.train)
    trained = settings.train or tuple(name for name in names if name not in held_out)
    if not held_out or not trained:
        raise BadInputError("--task-arg train, held_out: one of them leaves no task for the other; name fewer")
    return trained, held_out


def _refuse_empty(name: str, task: ExampleTask) -> None:
    if not task.pool or not task.test:
        raise BadInputError(
            f"task {name!r} has too few examples: {TEST_EVERY} are the fewest, give more or leave it out"
        )


def _mrpc(row: Row) -> Question:
    text = f"{row['sentence1']}\n{row['sentence2']}\nQuestion: Do the two sentences say the same?\nAnswer:"
    return text, ("no", "yes"), int(row["label"])


def _rte(row: Row) -> Question:
    text = f"{row['sentence1']}\nQuestion: Does it follow that {_clause(row['sentence2'])}?\nAnswer:"
    return text, ("yes", "no"), int(row["label"])


def _cb(row: Row) -> Question:
    text = f"{row['premise']}\nQuestion: Does it follow that {_clause(row['hypothesis'])}?\nAnswer:"
    return text, ("yes", "no", "maybe"), int(row["label"])


def _copa(row: Row) -> Question:
    link = {"cause": "because", "effect": "so"}[row["question"]]
    choices = (_clause(row["choice1"]), _clause(row["choice2"]))
    return f"{row['premise'].rstrip('. ')} {link}", choices, int(row["label"])


def _commonsense_qa(row: Row) -> Question:
    choices = row["choices"]
    return f"Question: {row['question']}\nAnswer:", choices["text"], choices["label"].index(row["answerKey"])


def _social_i_qa(row: Row) -> Question:
    answers = (row["answerA"], row["answerB"], row["answerC"])
    return f"{row['context']}\nQuestion: {row['question']}\nAnswer:", answers, int(row["label"]) - 1


def _clause(sentence: str) -> str:
    """A sentence as a part of another: a small first letter (but for ``I``), no full stop."""
    bare = sentence.strip().rstrip(".")
    return bare if bare.startswith(("I ", "I'")) else bare[:1].lower() + bare[1:]


def _of_task(task: Sst2 | BoolQ) -> Callable[[Row], Question]:
    """The prompt and answers of a task by log-likelihood, whose answers begin with a blank."""

    def asked(row: Row) -> Question:
        question = task.question("", row)
        return question.prompt, tuple(answer.removeprefix(" ") for answer in question.answers), question.gold

    return asked


PROMPTS: Mapping[str, Callable[[Row], Question]] = {
    "sst2": _of_task(Sst2()),
    "mrpc": _mrpc,
    "boolq": _of_task(BoolQ()),
    "commonsense_qa": _commonsense_qa,
    "social_i_qa": _social_i_qa,
    "rte": _rte,
    "cb": _cb,
    "copa": _copa,
}
