"""LongBench and LongBench v2: questions about long texts; a text that the model does not hold is cut in its middle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

from moecap.data.hub import HubFiles
from moecap.data.longbench import HUB_V2, load_longbench, longbench_v2_rows
from moecap.data.published import parsed
from moecap.errors import UnknownNameError
from moecap.tasks.answers.letter import stated_letter
from moecap.tasks.answers.longbench import LANGUAGES, METRICS, longbench_score, require_libraries
from moecap.tasks.base import TaskOptions
from moecap.tasks.generative import Grade, OpenQuestion
from moecap.tasks.location import FROM_FOLDER, FROM_HUB
from moecap.tasks.long_texts import LongTextTask
from moecap.tasks.turns import in_turns

__all__ = ["LongBench", "LongBenchV2"]

CHOICES = ("choice_A", "choice_B", "choice_C", "choice_D")


class LongBench(LongTextTask):
    """LongBench's 21 data sets, 4,750 questions, which a limit takes in turn. Needs ``--data``.

    Prompts and lengths of answers are those of its repository, which the folder holds. ``--task-arg
    sets=qasper,hotpotqa`` takes some, ``sets=english``, ``code`` and ``chinese`` those of a language. The authors'
    overall score is the mean of the data sets' scores, each of which stands beside the mean over questions.
    """

    name: ClassVar[str] = "longbench"
    title: ClassVar[str] = "LongBench: questions, summaries and code with long contexts, 21 data sets, generated"
    metric: ClassVar[str] = "mean over questions of F1, ROUGE-L, accuracy or similarity, by data set; each set apart"
    paper: ClassVar[str] = "arXiv 2308.14508"
    source: ClassVar[str] = f"THUDM/LongBench with data.zip unpacked into data/, MIT{FROM_FOLDER}"
    version: ClassVar[str] = "2"
    arguments: ClassVar[tuple[str, ...]] = ("sets",)
    narrowing: ClassVar[tuple[str, ...]] = ("sets",)

    def questions(self, options: TaskOptions) -> Sequence[OpenQuestion]:
        """The questions, the first one of each data set first."""
        names = _named(options)
        require_libraries(names)
        asked = [question for name in names for question in load_longbench(name, options.folder)]
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
    """LongBench v2's 503 questions with four choices about texts of 8,000 to 2 million words.

    The scores of easy and hard questions and of short, medium and long texts stand beside the headline.
    """

    name: ClassVar[str] = "longbench_v2"
    title: ClassVar[str] = "LongBench v2: four choices about very long texts, generated answers"
    metric: ClassVar[str] = "accuracy; easy, hard, short, medium and long apart"
    paper: ClassVar[str] = "arXiv 2412.15204"
    source: ClassVar[str] = f"THUDM/LongBench-v2, Apache-2.0{FROM_HUB}"
    hub: ClassVar[HubFiles] = HUB_V2

    def questions(self, options: TaskOptions) -> Sequence[OpenQuestion]:
        """The questions in the published order, with the authors' zero-shot prompt."""
        rows = islice(longbench_v2_rows(options.folder), options.limit)
        return list(parsed(rows, _choice, "a question of LongBench v2"))

    def grade(self, question: OpenQuestion, text: str) -> Grade:
        """Right if the letter that is stated is that of the right choice."""
        letter = stated_letter(text, 4, question.about["choices"])
        return Grade({"accuracy": int(letter == question.gold)}, letter)


def _choice(_number: int, row: Mapping[str, Any]) -> OpenQuestion:
    choices = [str(row[name]) for name in CHOICES]
    gold = row["answer"]
    if gold not in ("A", "B", "C", "D"):
        raise ValueError(f"answer {gold!r} is not A, B, C or D")
    lettered = "\n".join(f"({letter}) {text.strip()}" for letter, text in zip("ABCD", choices, strict=True))
    prompt = (
        "Please read the following text and answer the question below.\n\n"
        f"<text>\n{row['context'].strip()}\n</text>\n\n"
        f"What is the correct answer to this question: {row['question'].strip()}\nChoices:\n{lettered}\n\n"
        'Format your response as follows: "The correct answer is (insert answer here)".'
    )
    about = {"kinds": [str(row["difficulty"]), str(row["length"])], "choices": choices}
    return OpenQuestion(str(row["_id"]), prompt, gold, 128, about=about)


def _named(options: TaskOptions) -> tuple[str, ...]:
    """The data sets that ``--task-arg sets=A,B`` names, by themselves or by their language, or all of them."""
    asked = options.arguments.get("sets")
    if asked is None:
        return tuple(METRICS)
    names: dict[str, None] = {}
    for name in asked.split(","):
        if name not in METRICS and name not in LANGUAGES:
            raise UnknownNameError("data set of LongBench", name, [*METRICS, *LANGUAGES])
        names |= dict.fromkeys(LANGUAGES.get(name, (name,)))
    return tuple(names)
