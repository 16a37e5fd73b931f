"""Multiple choice by log-likelihood: the choice that the model finds most likely after the question.

``accuracy`` takes the highest log-likelihood; ``norm`` the highest per character of the choice, so that long choices
are not at a disadvantage. The protocol is that of the Language Model Evaluation Harness (``acc`` and ``acc_norm``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from moecap.backend import Continuation, Engine, Scored
from moecap.observations.recorder import Recorder
from moecap.tokenizer import Tokenizer

__all__ = ["Question", "choice_lengths", "choice_scores", "continuation", "run_multiple_choice"]

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
    """

    id: str
    prompt: str
    answers: tuple[str, ...]
    gold: int


def continuation(tokenizer: Tokenizer, id: str, prompt: str, answer: str) -> Continuation:
    """Token ids of a prompt and its answer, split where the prompt's own tokens end.

    The two are encoded together, since a tokenizer may merge across the border.
    """
    whole = tokenizer.encode(prompt + answer)
    context = whole[: len(tokenizer.encode(prompt))]
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
    return [
        continuation(tokenizer, f"{question.id}#{i}", question.prompt, answer)
        for i, answer in enumerate(question.answers)
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
        "prompt": question.prompt,
        "answers": list(question.answers),
        "log_likelihoods": likelihoods,
        "greedy": [s.is_greedy for s in scored],
        "answer": question.answers[best],
        "gold": question.gold,
        "scores": choice_scores(likelihoods, question.answers, question.gold),
    }
