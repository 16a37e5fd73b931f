"""Multiple choice by log-likelihood: the choice that the model finds most likely after the question.

``accuracy`` takes the highest log-likelihood; ``norm`` the highest per character of the choice, so that long choices
are not at a disadvantage. The protocol is that of the Language Model Evaluation Harness (``acc`` and ``acc_norm``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moecap.backend import Continuation, Engine
from moecap.observations.recorder import Recorder
from moecap.tokenizer import Tokenizer

__all__ = ["Question", "choice_scores", "continuation", "run_multiple_choice"]


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


def run_multiple_choice(
    task: str,
    questions: Sequence[Question],
    engine: Engine,
    tokenizer: Tokenizer,
    recorder: Recorder,
    done: Callable[[int], None],
) -> Iterator[Mapping[str, Any]]:
    """Score every answer of every question and yield one sample a question.

    Args:
        task: Name of the task.
        questions: The questions.
        engine: An engine that gives ``prompt_logprobs``.
        tokenizer: The model's tokenizer.
        recorder: Keeps the steps.
        done: Hears how many questions are finished.
    """
    pairs = [
        continuation(tokenizer, f"{q.id}#{i}", q.prompt, answer)
        for q in questions
        for i, answer in enumerate(q.answers)
    ]
    per_question = len(pairs) / max(1, len(questions))
    scored = iter(engine.score(pairs, recorder, lambda n: done(int(n / per_question))))
    for question in questions:
        values = [next(scored) for _ in question.answers]
        likelihoods = [v.log_likelihood for v in values]
        best = max(range(len(values)), key=lambda i: likelihoods[i])
        yield {
            "task": task,
            "kind": "multiple_choice",
            "id": question.id,
            "prompt": question.prompt,
            "answers": list(question.answers),
            "log_likelihoods": likelihoods,
            "greedy": [v.is_greedy for v in values],
            "answer": question.answers[best],
            "gold": question.gold,
            "scores": choice_scores(likelihoods, question.answers, question.gold),
        }
