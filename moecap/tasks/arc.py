"""ARC-Easy: grade-school science questions (Clark et al. 2018, arXiv 1803.05457), by log-likelihood, no examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from moecap.tasks.base import TaskOptions
from moecap.tasks.multiple_choice import MultipleChoiceTask, Question

__all__ = ["ArcEasy"]


class ArcEasy(MultipleChoiceTask):
    """ARC-Easy's test split, 2,376 questions."""

    name: ClassVar[str] = "arc_easy"
    title: ClassVar[str] = "ARC-Easy: grade-school science, multiple choice by log-likelihood, zero-shot"
    metric: ClassVar[str] = "accuracy (acc; accuracy.arc_easy_norm is acc_norm)"
    paper: ClassVar[str] = "arXiv 1803.05457"
    source: ClassVar[str] = "allenai/ai2_arc, CC BY-SA 4.0"

    def questions(self, options: TaskOptions) -> Sequence[Question]:
        """The first ``limit`` questions of the test split."""
        from moecap.data.arc import load_arc

        questions = load_arc("easy", split="test", data=options.data)[: options.limit]
        return [
            Question(q.id, f"Question: {q.question}\nAnswer:", tuple(f" {c}" for c in q.choices), q.answer_index)
            for q in questions
        ]
