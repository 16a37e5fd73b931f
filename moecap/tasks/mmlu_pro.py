"""MMLU-Pro: up to ten choices, reasoning before the answer, five solved examples of the question's category."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

from moecap.data.hub import HubFiles
from moecap.data.mmlu_pro import HUB, ReasonedChoice, load_mmlu_pro
from moecap.tasks.answers.letter import stated_letter
from moecap.tasks.arguments import number_of_shots
from moecap.tasks.base import TaskOptions
from moecap.tasks.generative import GenerativeTask, Grade, OpenQuestion
from moecap.tasks.location import FROM_HUB
from moecap.tasks.turns import in_turns

__all__ = ["MmluPro"]

SHOTS = 5
THINK = "Let's think step by step."


class MmluPro(GenerativeTask):
    """MMLU-Pro's test split, 12,032 questions of 14 categories, which a limit takes in turn.

    The prompt is that of its authors: examples of the validation split with their reasoning.
    """

    name: ClassVar[str] = "mmlu_pro"
    title: ClassVar[str] = "MMLU-Pro: 14 categories, up to ten choices, five-shot with reasoning, generated answers"
    metric: ClassVar[str] = "accuracy"
    paper: ClassVar[str] = "arXiv 2406.01574"
    source: ClassVar[str] = f"TIGER-Lab/MMLU-Pro, MIT{FROM_HUB}"
    hub: ClassVar[HubFiles] = HUB
    arguments: ClassVar[tuple[str, ...]] = ("shots",)

    def questions(self, options: TaskOptions) -> Sequence[OpenQuestion]:
        """The questions, the first one of each category first."""
        self.shots = number_of_shots(options.arguments, SHOTS)
        solved: dict[str, list[str]] = defaultdict(list)
        if self.shots:
            for example in load_mmlu_pro("validation", options.folder):
                solved[example.category].append(f"{_shown(example)}{_reasoning(example)}\n\n")
        stop = () if self.uses_chat else ("Question:",)  # a conversation may name the question in its reasoning
        asked = in_turns(load_mmlu_pro("test", options.folder), lambda question: question.category)[: options.limit]
        return [
            OpenQuestion(
                question.choice.id,
                _head(question.category) + "".join(solved[question.category][: self.shots]) + _open(question),
                question.choice.labels[question.choice.answer_index],
                2048,
                stop,
                about={"choices": question.choice.choices},
            )
            for question in asked
        ]

    def grade(self, question: OpenQuestion, text: str) -> Grade:
        """Right if the letter that is stated is that of the right choice."""
        choices = question.about["choices"]
        letter = stated_letter(text, len(choices), choices)
        return Grade({"accuracy": int(letter == question.gold)}, letter)


def _head(category: str) -> str:
    return (
        f"The following are multiple choice questions (with answers) about {category}. Think step by step and then "
        'finish your answer with "the answer is (X)" where X is the correct letter choice.\n\n'
    )


def _shown(question: ReasonedChoice) -> str:
    choice = question.choice
    options = "\n".join(f"{label}. {text.strip()}" for label, text in zip(choice.labels, choice.choices, strict=True))
    return f"Question:\n{choice.question}\nOptions:\n{options}\n"


def _open(question: ReasonedChoice) -> str:
    return f"{_shown(question)}Answer: {THINK}"


def _reasoning(question: ReasonedChoice) -> str:
    return "Answer: " + question.reasoning.removeprefix("A: ")
