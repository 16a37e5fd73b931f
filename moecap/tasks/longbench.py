"""LongBench and LongBench v2: questions about long texts; a text that the model does not hold is cut in its middle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from moecap.data.longbench import load_longbench, longbench_v2_rows
from moecap.errors import BadInputError, UnknownNameError
from moecap.tasks.answers.letter import stated_letter
from moecap.tasks.answers.longbench import METRICS, SUMMARIES, longbench_score
from moecap.tasks.answers.overlap import require_rouge
from moecap.tasks.base import TaskOptions
from moecap.tasks.generative import Grade, OpenQuestion
from moecap.tasks.long_texts import LongTextTask
from moecap.tasks.turns import in_turns

__all__ = ["LongBench", "LongBenchV2"]

CHOICES = ("choice_A", "choice_B", "choice_C", "choice_D")


class LongBench(LongTextTask):
    """LongBench's 16 English and code data sets, 3,750 questions, which a limit takes in turn. Needs ``--data``.

    Prompts and lengths of answers are those of its repository, which the folder holds. ``--task-arg
    sets=qasper,hotpotqa`` takes some. The authors' overall score is the mean of the data sets' scores, each of which
    stands beside the mean over questions. The five Chinese data sets are left out.
    """

    name: ClassVar[str] = "longbench"
    title: ClassVar[str] = "LongBench: questions, summaries and code with long contexts, 16 data sets, generated"
    metric: ClassVar[str] = "mean over questions of F1, ROUGE-L, accuracy or similarity, by data set; each set apart"
    paper: ClassVar[str] = "arXiv 2308.14508"
    source: ClassVar[str] = "THUDM/LongBench, MIT; --data DIR"
    arguments: ClassVar[tuple[str, ...]] = ("sets",)

    def questions(self, options: TaskOptions) -> Sequence[OpenQuestion]:
        """The questions, the first one of each data set first."""
        names = _named(options, tuple(METRICS), "data set of LongBench")
        if set(names) & set(SUMMARIES):
            require_rouge()
        asked = [question for name in names for question in load_longbench(name, options.data)]
        return [
            OpenQuestion(
                q.id, q.prompt, list(q.golds), q.output_tokens, about={"kinds": [q.data_set], "classes": q.classes}
            )
            for q in in_turns(asked, lambda question: question.data_set)[: options.limit]
        ]

    def grade(self, question: OpenQuestion, text: str) -> Grade:
        """The data set's own score, 0 to 1."""
        name = question.about["kinds"][0]
        score = longbench_score(name, text, question.gold, question.about["classes"])
        return Grade({"accuracy": score}, text.strip() or None)


class LongBenchV2(LongTextTask):
    """LongBench v2's 503 questions with four choices about texts of 8,000 to 2 million words. Needs ``--data``.

    The scores of easy and hard questions and of short, medium and long texts stand beside the headline.
    """

    name: ClassVar[str] = "longbench_v2"
    title: ClassVar[str] = "LongBench v2: four choices about very long texts, generated answers"
    metric: ClassVar[str] = "accuracy; easy, hard, short, medium and long apart"
    paper: ClassVar[str] = "arXiv 2412.15204"
    source: ClassVar[str] = "THUDM/LongBench-v2, Apache-2.0; --data DIR"

    def questions(self, options: TaskOptions) -> Sequence[OpenQuestion]:
        """The questions in the published order, with the authors' zero-shot prompt."""
        rows = list(longbench_v2_rows(options.data))[: options.limit]
        return [_choice(where, row) for where, row in rows]

    def grade(self, question: OpenQuestion, text: str) -> Grade:
        """Right if the letter that is stated is that of the right choice."""
        letter = stated_letter(text, 4, question.about["choices"])
        return Grade({"accuracy": int(letter == question.gold)}, letter)


def _choice(where: str, row: Mapping[str, Any]) -> OpenQuestion:
    try:
        choices = [str(row[name]) for name in CHOICES]
        kinds = [str(row["difficulty"]), str(row["length"])]
        name, gold, context, asked = str(row["_id"]), row["answer"], str(row["context"]), str(row["question"])
    except KeyError as error:
        raise BadInputError(f"{where}: no {error}; use the published format of LongBench v2") from error
    if gold not in ("A", "B", "C", "D"):
        raise BadInputError(f"{where}: answer {gold!r} is not A, B, C or D; use the published format")
    lettered = "\n".join(f"({letter}) {text.strip()}" for letter, text in zip("ABCD", choices, strict=True))
    prompt = (
        f"Please read the following text and answer the question below.\n\n<text>\n{context.strip()}\n</text>\n\n"
        f"What is the correct answer to this question: {asked.strip()}\nChoices:\n{lettered}\n\n"
        'Format your response as follows: "The correct answer is (insert answer here)".'
    )
    return OpenQuestion(name, prompt, gold, 128, about={"kinds": kinds, "choices": choices})


def _named(options: TaskOptions, known: Sequence[str], kind: str) -> tuple[str, ...]:
    """The data sets that ``--task-arg sets=A,B`` names, or all of them."""
    asked = options.arguments.get("sets")
    names = tuple(known) if asked is None else tuple(dict.fromkeys(asked.split(",")))
    for name in names:
        if name not in known:
            raise UnknownNameError(kind, name, known)
    return names
