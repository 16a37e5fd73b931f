"""Five short tasks by log-likelihood without examples, with the prompts of the Language Model Evaluation Harness.

Each asks the validation split, since the test splits have no public answers.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

from moecap.data.multiple_choice import number_of_choice
from moecap.data.published import parsed
from moecap.data.rows import data_set_rows
from moecap.data.sets import data_set
from moecap.tasks.base import TaskOptions
from moecap.tasks.multiple_choice import MultipleChoiceTask, Question

__all__ = ["BoolQ", "HellaSwag", "Piqa", "Sst2", "WinoGrande"]


class _Validation(MultipleChoiceTask):
    """A task that makes one question of each row of a data set of the same name."""

    metric: ClassVar[str] = "accuracy"

    @abstractmethod
    def question(self, name: str, row: Mapping[str, Any]) -> Question:
        """The question of a row.

        Raises:
            KeyError: If a column is not there; likewise TypeError and ValueError for what is in it.
        """

    def questions(self, options: TaskOptions) -> Sequence[Question]:
        """The first ``limit`` questions of the validation split."""
        rows = islice(data_set_rows(self.name, "validation", data=options.data), options.limit)
        return list(parsed(rows, self._question, f"a row of {data_set(self.name).source}"))

    def _question(self, number: int, row: Mapping[str, Any]) -> Question:
        question = self.question(str(number), row)
        number_of_choice(question.gold, question.answers)
        return question


class Sst2(_Validation):
    """SST-2's validation split, 872 sentences of film reviews: negative or positive."""

    name: ClassVar[str] = "sst2"
    title: ClassVar[str] = "SST-2: sentiment of sentences, two answers by log-likelihood, zero-shot"
    paper: ClassVar[str] = "arXiv 1804.07461"
    source: ClassVar[str] = "nyu-mll/glue sst2"

    def question(self, name: str, row: Mapping[str, Any]) -> Question:
        """Whether the sentence is negative or positive."""
        prompt = f"{row['sentence']}\nQuestion: Is this sentence positive or negative?\nAnswer:"
        return Question(name, prompt, (" negative", " positive"), int(row["label"]))


class BoolQ(_Validation):
    """BoolQ's validation split, 3,270 questions about a passage: no or yes."""

    name: ClassVar[str] = "boolq"
    title: ClassVar[str] = "BoolQ: yes-no questions about passages, two answers by log-likelihood, zero-shot"
    paper: ClassVar[str] = "arXiv 1905.10044"
    source: ClassVar[str] = "google/boolq, CC BY-SA 3.0"

    def question(self, name: str, row: Mapping[str, Any]) -> Question:
        """The passage and the question."""
        prompt = f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:"
        return Question(name, prompt, (" no", " yes"), int(bool(row["answer"])))


class Piqa(_Validation):
    """PIQA's validation split, 1,838 goals with two ways to reach them."""

    name: ClassVar[str] = "piqa"
    title: ClassVar[str] = "PIQA: everyday physics, two answers by log-likelihood, zero-shot"
    metric: ClassVar[str] = "accuracy (acc; accuracy.piqa_norm is acc_norm)"
    paper: ClassVar[str] = "arXiv 1911.11641"
    source: ClassVar[str] = "ybisk/piqa"

    def question(self, name: str, row: Mapping[str, Any]) -> Question:
        """The goal and its two solutions."""
        prompt = f"Question: {row['goal']}\nAnswer:"
        return Question(name, prompt, (f" {row['sol1']}", f" {row['sol2']}"), int(row["label"]))


class HellaSwag(_Validation):
    """HellaSwag's validation split, 10,042 situations with four continuations."""

    name: ClassVar[str] = "hellaswag"
    title: ClassVar[str] = "HellaSwag: how a situation goes on, four answers by log-likelihood, zero-shot"
    metric: ClassVar[str] = "accuracy (acc; accuracy.hellaswag_norm is acc_norm)"
    paper: ClassVar[str] = "arXiv 1905.07830"
    source: ClassVar[str] = "Rowan/hellaswag, MIT"

    def question(self, name: str, row: Mapping[str, Any]) -> Question:
        """The situation and its continuations, without the marks of the texts' source."""
        prompt = _unmarked(f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}")
        answers = tuple(f" {_unmarked(ending)}" for ending in row["endings"])
        return Question(name, prompt, answers, int(row["label"]))


class WinoGrande(_Validation):
    """WinoGrande XL's validation split, 1,267 sentences: which of two names fits, by the rest of the sentence."""

    name: ClassVar[str] = "winogrande"
    title: ClassVar[str] = "WinoGrande: to whom a sentence refers, the rest of it by log-likelihood, zero-shot"
    paper: ClassVar[str] = "arXiv 1907.10641"
    source: ClassVar[str] = "allenai/winogrande"

    def question(self, name: str, row: Mapping[str, Any]) -> Question:
        """The sentence up to each name, and its rest as what both are followed by."""
        before, gap, rest = row["sentence"].partition("_")
        if not gap:
            raise ValueError("no gap in the sentence")
        contexts = tuple(before + row[option] for option in ("option1", "option2"))
        return Question(name, row["sentence"], (f" {rest.strip()}",) * 2, int(row["answer"]) - 1, contexts)


def _unmarked(text: str) -> str:
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")
