"""MMLU: 57 subjects with four choices, five solved examples each, by log-likelihood of the letter or by generation.

The examples are those of the subject's dev split, in its order. A limit takes the subjects in turn, so that a few
questions are of many subjects; the accuracy is over questions, not over subjects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from moecap.data.mmlu import load_mmlu, mmlu_subjects
from moecap.data.multiple_choice import MultipleChoice
from moecap.tasks.answers.letter import stated_letter
from moecap.tasks.arguments import number_of_shots
from moecap.tasks.base import TaskOptions
from moecap.tasks.generative import GenerativeTask, Grade, OpenQuestion
from moecap.tasks.multiple_choice import MultipleChoiceTask, Question
from moecap.tasks.turns import in_turns

__all__ = ["Mmlu", "MmluGenerative"]

DEV = 5
"""Examples of each subject."""


class _FiftySevenSubjects:
    """What both ways of asking have in common."""

    metric: ClassVar[str] = "accuracy"
    paper: ClassVar[str] = "arXiv 2009.03300"
    source: ClassVar[str] = "cais/mmlu, MIT"
    arguments: ClassVar[tuple[str, ...]] = ("shots", "subject")
    narrowing: ClassVar[tuple[str, ...]] = ("subject",)


class Mmlu(_FiftySevenSubjects, MultipleChoiceTask):
    """MMLU's test split, 14,042 questions: the letter that is likeliest after the question."""

    name: ClassVar[str] = "mmlu"
    title: ClassVar[str] = "MMLU: 57 subjects, four choices, five-shot, by log-likelihood of the letter"

    def questions(self, options: TaskOptions) -> Sequence[Question]:
        """The questions, the subjects in turn."""
        self.shots = number_of_shots(options.arguments, DEV)
        answers = tuple(f" {letter}" for letter in "ABCD")
        return [Question(q.id, prompt, answers, q.answer_index) for q, prompt in _asked(options, self.shots)]


class MmluGenerative(_FiftySevenSubjects, GenerativeTask):
    """MMLU's test split, 14,042 questions: the letter that a generated answer states."""

    name: ClassVar[str] = "mmlu_generative"
    title: ClassVar[str] = "MMLU: 57 subjects, four choices, five-shot, by generated answers"

    def questions(self, options: TaskOptions) -> Sequence[OpenQuestion]:
        """The questions, the subjects in turn."""
        self.shots = number_of_shots(options.arguments, DEV)
        tokens, stop = (2048, ()) if self.uses_chat else (32, ("\n\n",))  # a conversation may reason before it answers
        return [
            OpenQuestion(q.id, prompt, q.labels[q.answer_index], tokens, stop, about={"choices": q.choices})
            for q, prompt in _asked(options, self.shots)
        ]

    def grade(self, question: OpenQuestion, text: str) -> Grade:
        """Right if the letter that is stated is that of the right choice."""
        letter = stated_letter(text, 4, question.about["choices"])
        return Grade({"accuracy": int(letter == question.gold)}, letter)


def _asked(options: TaskOptions, shots: int) -> Iterator[tuple[MultipleChoice, str]]:
    """The questions with their prompts, the first one of each subject first."""
    subjects = mmlu_subjects(options.arguments.get("subject"))
    questions = [question for subject in subjects for question in load_mmlu(subject, data=options.data)]
    heads: dict[str, str] = {}
    for question in in_turns(questions, _subject)[: options.limit]:
        subject = _subject(question)
        if subject not in heads:
            topic = subject.replace("_", " ")
            examples = load_mmlu(subject, "dev", data=options.data)[:shots] if shots else ()
            solved = "".join(f"{_shown(e)} {e.labels[e.answer_index]}\n\n" for e in examples)
            heads[subject] = f"The following are multiple choice questions (with answers) about {topic}.\n\n{solved}"
        yield question, heads[subject] + _shown(question)


def _subject(question: MultipleChoice) -> str:
    return question.id.partition("/")[0]


def _shown(question: MultipleChoice) -> str:
    choices = "\n".join(f"{label}. {text}" for label, text in zip(question.labels, question.choices, strict=True))
    return f"{question.question.strip()}\n{choices}\nAnswer:"
