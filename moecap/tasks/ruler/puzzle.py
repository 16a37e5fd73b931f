"""What RULER's tasks have in common: a question whose prompt can be made of any size, and the size that fits."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from moecap.errors import BadInputError

__all__ = ["Puzzle", "largest_size", "seeded"]


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A question with its right answers, before the size of its prompt is chosen.

    Attributes:
        golds: The right answers.
        prompt: The prompt with a number of units of filler (lines, words, documents); more units, more tokens.
        least: The fewest units.
        most: The most units that there are; ``None`` for no bound.
    """

    golds: tuple[str, ...]
    prompt: Callable[[int], str]
    least: int = 1
    most: int | None = None


def seeded(*parts: object) -> random.Random:
    """A generator of its own for each combination of parts; the same anywhere."""
    return random.Random("/".join(map(str, parts)))


def largest_size(puzzle: Puzzle, room: int, tokens: Callable[[str], int], near: int | None) -> int:
    """The most units of filler with which a prompt takes at most ``room`` tokens.

    Args:
        puzzle: The question.
        room: Tokens for the prompt.
        tokens: Counts the tokens of a prompt.
        near: A size to begin with, such as that of a question of the same kind; ``None`` for none.

    Raises:
        BadInputError: If even the fewest units do not fit.
    """

    def fits(size: int) -> bool:
        return tokens(puzzle.prompt(size)) <= room

    if not fits(puzzle.least):
        raise BadInputError(
            f"a prompt of {room} tokens is too short for its question; take a greater --task-arg length"
        )
    low, step = puzzle.least, 1
    if near is not None and near > low:
        if fits(near):
            low = near
        else:
            return _between(fits, low, near)
    while puzzle.most is None or low < puzzle.most:
        high = low + step if puzzle.most is None else min(low + step, puzzle.most)
        if not fits(high):
            return _between(fits, low, high)
        low, step = high, step * 2
    return low


def _between(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The last size that fits, where ``low`` does and ``high`` does not."""
    step = 1
    while high - step > low and not fits(high - step):  # near the upper end first: sizes of a kind differ little
        high, step = high - step, step * 2
    low = max(low, high - step)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
