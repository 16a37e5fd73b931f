"""A multiple-choice question as data sets publish it, before any prompt is made of it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MultipleChoice"]


@dataclass(frozen=True, slots=True)
class MultipleChoice:
    """One question with its answers.

    Attributes:
        id: The data set's own identifier.
        question: The question's text, unchanged.
        choices: The answers' texts, unchanged, in the data set's order.
        labels: One label a choice, ``A`` or ``1`` and so on.
        answer_index: Position of the right answer in ``choices``.
    """

    id: str
    question: str
    choices: tuple[str, ...]
    labels: tuple[str, ...]
    answer_index: int
