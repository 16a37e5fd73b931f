"""A multiple-choice question as data sets publish it, before any prompt is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MultipleChoice", "number_of_choice"]


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


def number_of_choice(value: object, choices: Sequence[str]) -> int:
    """The number of the right choice, counted from 0, as a data set gives it.

    Raises:
        ValueError: If it is none.
    """
    if type(value) is not int or not 0 <= value < len(choices):
        raise ValueError(f"answer {value!r} of {len(choices)} choices")
    return value
