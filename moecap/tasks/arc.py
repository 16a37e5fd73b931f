"""ARC-Easy: grade-school science questions (Clark et al. 2018, arXiv 1803.05457), by log-likelihood, no examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from moecap.backend import Engine
from moecap.errors import UnknownNameError
from moecap.observations.recorder import Recorder
from moecap.tasks.base import Task, TaskOptions
from moecap.tasks.multiple_choice import Question, choice_lengths, run_multiple_choice
from moecap.tokenizer import Tokenizer

__all__ = ["ArcEasy"]


class ArcEasy(Task):
    """ARC-Easy's test split, 2,376 questions."""

    name: ClassVar[str] = "arc_easy"
    title: ClassVar[str] = "ARC-Easy: grade-school science, multiple choice by log-likelihood, zero-shot"
    requires: ClassVar[frozenset[str]] = frozenset({"prompt_logprobs"})
    metric: ClassVar[str] = "accuracy (acc; accuracy.arc_easy_norm is acc_norm)"
    paper: ClassVar[str] = "arXiv 1803.05457"
    source: ClassVar[str] = "allenai/ai2_arc, CC BY-SA 4.0"

    def items(self, options: TaskOptions) -> Sequence[Question]:
        """The first ``limit`` questions of the test split."""
        from moecap.data.arc import load_arc

        if options.arguments:
            raise UnknownNameError("argument of task arc_easy", next(iter(options.arguments)), [], "it takes none")
        questions = load_arc("easy", split="test", data=options.data)[: options.limit]
        return [
            Question(q.id, f"Question: {q.question}\nAnswer:", tuple(f" {c}" for c in q.choices), q.answer_index)
            for q in questions
        ]

    def lengths(self, items: Sequence[Any], tokenizer: Tokenizer) -> Iterator[tuple[str, int]]:
        """The question with its longest choice."""
        return choice_lengths(items, tokenizer)

    def run(
        self,
        items: Sequence[Any],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        """Score the four choices of every question."""
        return run_multiple_choice(self.name, items, engine, tokenizer, recorder, done)
