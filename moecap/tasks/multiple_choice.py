"""Multiple choice by log-likelihood: the choice that the model finds most likely after the question.

``accuracy`` takes the highest log-likelihood; ``norm`` the highest per character of the choice, so that long choices
are not at a disadvantage. The protocol is that of the Language Model Evaluation Harness (``acc`` and ``acc_norm``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from moecap.backend import Continuation, Engine, Scored
from moecap.observations.recorder import Recorder
from moecap.tasks.arguments import refuse_unknown_arguments
from moecap.tasks.base import (
    Task,
    TaskFacts,
    TaskOptions,
    first_items,
    prompts_digest,
)
from moecap.tasks.location import locate
from moecap.tokenizer import Tokenizer

__all__ = [
    "MultipleChoiceTask",
    "Question",
    "choice_lengths",
    "choice_scores",
    "continuation",
    "run_multiple_choice",
]

GROUP = 32
"""Questions for which the engine is asked at a time: enough that batches of similar length form among them."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question as it is shown to the model.

    Attributes:
        id: Its id in the data set.
        prompt: The text before the answer, without trailing space.
        answers: The texts that may follow, each with its leading space.
        gold: Index of the right one.
        contexts: Where each answer follows a text of its own, these texts; they stand in place of the prompt.
    """

    id: str
    prompt: str
    answers: tuple[str, ...]
    gold: int
    contexts: tuple[str, ...] = ()


class MultipleChoiceTask(Task):
    """A task whose given answers are scored by their log-likelihood. A subclass gives its questions."""

    requires: ClassVar[frozenset[str]] = frozenset({"prompt_logprobs"})
    shots: int = 0
    """Solved examples before each question, once the questions are made."""

    @abstractmethod
    def questions(self, options: TaskOptions) -> Sequence[Question]:
        """The questions, ``options.limit`` of them at most.

        Raises:
            UsageError: If the data is not here or not in its format.
        """

    def items(self, options: TaskOptions) -> Sequence[Question]:
        """The questions."""
        refuse_unknown_arguments(f"task {self.name}", options.arguments, self.takes)
        location = locate(self.source, self.hub, options)
        self.data_source = location.words
        asked = replace(options, data=location.folder)
        questions, more = first_items(options.limit, lambda limit: self.questions(replace(asked, limit=limit)))
        self.limited = more or self.is_narrowed(options)
        return questions

    def lengths(self, items: Sequence[Question], tokenizer: Tokenizer) -> Iterator[tuple[str, int]]:
        """Each question with its longest answer."""
        return choice_lengths(items, tokenizer)

    def facts(self, items: Sequence[Question], tokenizer: Tokenizer) -> TaskFacts:
        """What the result says of these questions."""
        digest = prompts_digest([question.prompt for question in items])
        return TaskFacts(len(items), digest, self.shots, source=self.data_source, limited=self.limited)

    def restated(self, item: Question, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        """The question with its answers and the right one."""
        return _asked(item)

    def run(
        self,
        items: Sequence[Question],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        """Score the answers of every question."""
        return run_multiple_choice(self.name, items, engine, tokenizer, recorder, done)


def continuation(tokenizer: Tokenizer, id: str, prompt: str, answer: str) -> Continuation:
    """Token ids of a prompt and its answer, split where the prompt's own tokens end.

    They begin with what the tokenizer begins a sequence with, as the harness's do. The two are encoded together, since
    a tokenizer may merge across the border.
    """
    whole = tokenizer.encode_prompt(prompt + answer)
    context = whole[: len(tokenizer.encode_prompt(prompt))]
    return Continuation(id, context, whole[len(context) :])


def choice_lengths(questions: Sequence[Question], tokenizer: Tokenizer) -> Iterator[tuple[str, int]]:
    """Id of each question and the tokens of its prompt with the longest answer; the last token is never fed."""
    for question in questions:
        yield question.id, max(len(p.context) + len(p.target) - 1 for p in _pairs(question, tokenizer))


def choice_scores(log_likelihoods: Sequence[float], answers: Sequence[str], gold: int) -> dict[str, int]:
    """0 or 1 by the highest log-likelihood, and by the highest per character (leading space not counted).

    Args:
        log_likelihoods: Natural-log likelihood of each answer.
        answers: The answers' texts.
        gold: Index of the right one.
    """
    best = max(range(len(answers)), key=lambda i: log_likelihoods[i])
    per_character = [ll / len(a.removeprefix(" ")) for ll, a in zip(log_likelihoods, answers, strict=True)]
    best_normed = max(range(len(answers)), key=lambda i: per_character[i])
    return {"accuracy": int(best == gold), "norm": int(best_normed == gold)}


def _pairs(question: Question, tokenizer: Tokenizer) -> list[Continuation]:
    contexts = question.contexts or (question.prompt,) * len(question.answers)
    return [
        continuation(tokenizer, f"{question.id}#{i}", context, answer)
        for i, (context, answer) in enumerate(zip(contexts, question.answers, strict=True))
    ]


def run_multiple_choice(
    task: str,
    questions: Sequence[Question],
    engine: Engine,
    tokenizer: Tokenizer,
    recorder: Recorder,
    done: Callable[[int], None],
) -> Iterator[Mapping[str, Any]]:
    """Score every answer of every question and yield one sample a question.

    The engine is asked for a group of whole questions at a time, so that an interruption loses one group at most.

    Args:
        task: Name of the task.
        questions: The questions.
        engine: An engine that gives ``prompt_logprobs``.
        tokenizer: The model's tokenizer.
        recorder: Keeps the steps.
        done: Hears how many questions are finished.
    """
    for first in range(0, len(questions), GROUP):
        group = questions[first : first + GROUP]
        pairs = [pair for question in group for pair in _pairs(question, tokenizer)]
        scored = iter(engine.score(pairs, recorder, partial(_report, done, first, len(group) / len(pairs))))
        for question in group:
            yield _sample(task, question, [next(scored) for _ in question.answers])


def _report(done: Callable[[int], None], first: int, per_pair: float, pairs: int) -> None:
    done(first + int(pairs * per_pair))


def _sample(task: str, question: Question, scored: Sequence[Scored]) -> Mapping[str, Any]:
    likelihoods = [s.log_likelihood for s in scored]
    best = max(range(len(scored)), key=lambda i: likelihoods[i])
    return {
        "task": task,
        "kind": "multiple_choice",
        "id": question.id,
        **_asked(question),
        "log_likelihoods": likelihoods,
        "greedy": [s.is_greedy for s in scored],
        "answer": question.answers[best],
        "scores": choice_scores(likelihoods, question.answers, question.gold),
    }


def _asked(question: Question) -> dict[str, Any]:
    """What a sample says of its question."""
    contexts = {"contexts": list(question.contexts)} if question.contexts else {}
    return {"prompt": question.prompt, **contexts, "answers": list(question.answers), "gold": question.gold}
