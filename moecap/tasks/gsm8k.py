"""GSM8K: grade-school arithmetic in words; the number that a generated answer states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from moecap.data.gsm8k import gsm8k_examples, load_gsm8k
from moecap.tasks.answers.number import stated_number
from moecap.tasks.arguments import number_of_shots
from moecap.tasks.base import TaskOptions
from moecap.tasks.generative import GenerativeTask, Grade, OpenQuestion

__all__ = ["Gsm8k"]

EXAMPLES = 8
"""Solved problems that come with it."""


class Gsm8k(GenerativeTask):
    """GSM8K's test split, 1,319 problems, after eight solved ones (``--task-arg shots=0`` to 8).

    An answer is right if the number that it states equals the published one. As plain text the solved problems stand
    before the question, and the answer ends where the model goes on to a next one; in a conversation (``chat=true``)
    they are turns of it.
    """

    name: ClassVar[str] = "gsm8k"
    title: ClassVar[str] = "GSM8K: grade-school arithmetic in words, eight-shot, by generated answers"
    metric: ClassVar[str] = "accuracy (the stated number is the published one)"
    paper: ClassVar[str] = "arXiv 2110.14168"
    source: ClassVar[str] = "openai/gsm8k, MIT; examples of arXiv 2201.11903"
    arguments: ClassVar[tuple[str, ...]] = ("shots",)

    def questions(self, options: TaskOptions) -> Sequence[OpenQuestion]:
        """The first ``limit`` problems of the test split."""
        self.shots = number_of_shots(options.arguments, EXAMPLES)
        examples = gsm8k_examples()[: self.shots] if self.shots else ()
        shown = [(f"Question: {question}", answer) for question, answer in examples]
        before = "".join(f"{question}\nAnswer: {answer}\n\n" for question, answer in shown)
        turns = tuple(turn for question, answer in shown for turn in (("user", question), ("assistant", answer)))
        tokens, stop = (2048, ()) if self.uses_chat else (512, ("Question:",))
        return [
            OpenQuestion(
                problem.id,
                f"{before}Question: {problem.question}\nAnswer:",
                problem.answer,
                tokens,
                stop,
                (*turns, ("user", f"Question: {problem.question}")),
            )
            for problem in load_gsm8k(data=options.data)[: options.limit]
        ]

    def grade(self, question: OpenQuestion, text: str) -> Grade:
        """Right if the stated number equals the published one; both are exact fractions."""
        number = stated_number(text)
        return Grade({"accuracy": int(number == stated_number(question.gold))}, None if number is None else str(number))
