"""Programs that turn concepts into labels: plain functions of whole numbers, by name.

A program takes each concept as an argument of its own and returns each output as an element of a tuple. It uses
arithmetic alone, so that the same function answers for numbers and for arrays of any shape.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from moecap.errors import BadInputError, UnknownNameError
from moecap.tasks.nesydm.driving import driving, driving_released
from moecap.tasks.nesydm.shortest_path import same_cost, shortest_path

__all__ = ["PROGRAMS", "Program", "program_of"]

Block = tuple[tuple[int, ...], tuple[int, ...]]

MOST_DIGITS = 18
"""Digits of a summand that a 64-bit number holds."""


def _equal(labels: np.ndarray, golds: np.ndarray, concepts: np.ndarray) -> np.ndarray:
    equal: np.ndarray = (labels == golds).all(axis=-1)
    return equal


@dataclass(frozen=True, slots=True)
class Program:
    """A function from concepts to a label, with the sizes of both.

    Attributes:
        name: Its name.
        function: Takes ``concepts`` whole numbers (or arrays of them) and returns ``outputs`` of them.
        concepts: Number of concepts, C.
        values: Values of a concept, V: 0 to V - 1.
        outputs: Number of outputs, Y, that make up a label.
        output_values: Values of an output.
        blocks: Concepts and outputs in groups that do not meet: the outputs of a group depend on its concepts alone.
        agrees: Whether a label is right, from labels and golds [..., Y] and the true concepts [..., C]; equality in
            every output where a program says nothing else.
    """

    name: str
    function: Callable[..., tuple[Any, ...]]
    concepts: int
    values: int
    outputs: int
    output_values: int
    blocks: tuple[Block, ...] = ()
    agrees: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] = _equal

    def __call__(self, concepts: Any) -> Any:
        """Labels of concepts.

        Args:
            concepts: [..., C], a NumPy array or a tensor of whole numbers.

        Returns:
            [..., Y], of the same kind.
        """
        outputs = self.function(*(concepts[..., i] for i in range(self.concepts)))
        if isinstance(concepts, np.ndarray):
            return np.stack(outputs, axis=-1)
        import torch

        return torch.stack(outputs, dim=-1)

    def parts(self) -> tuple[Block, ...]:
        """The groups of concepts and outputs; all in one where the program names none."""
        return self.blocks or ((tuple(range(self.concepts)), tuple(range(self.outputs))),)


def addition(*digits: Any) -> tuple[Any, ...]:
    """The decimal digits of the sum of two numbers of N digits, N + 1 of them, the first one the highest."""
    n = len(digits) // 2
    total = sum(10 ** (n - 1 - i) * (digits[i] + digits[n + i]) for i in range(n))
    return tuple(total // 10**i % 10 for i in range(n, -1, -1))


def xor(first: Any, second: Any) -> tuple[Any, ...]:
    """Whether two truth values differ."""
    return ((first + second) % 2,)


def total(first: Any, second: Any) -> tuple[Any, ...]:
    """The sum as one output, as in MNIST-Half and MNIST-Even-Odd."""
    return (first + second,)


def _addition(digits: int) -> Program:
    return Program("addition", addition, 2 * digits, 10, digits + 1, 10)


def _shortest_path(grid: int) -> Program:
    return Program("shortest_path", shortest_path, grid**2, 5, grid**2, 2, agrees=same_cost)


def _driving(name: str, function: Callable[..., tuple[Any, ...]]) -> Program:
    # what lies ahead, to the left and to the right decides one output each
    released = (range(9), range(9, 15), range(15, 21))
    by_meaning = (range(9), (9, 10, 11, 18, 19, 20), range(12, 18))
    groups = released if function is driving_released else by_meaning
    blocks = tuple((tuple(group), (output,)) for output, group in enumerate(groups))
    return Program(name, function, 21, 2, 3, 4, blocks)


PROGRAMS: Mapping[str, Callable[[int], Program]] = {
    "addition": _addition,
    "driving": lambda _: _driving("driving", driving),
    "driving_released": lambda _: _driving("driving_released", driving_released),
    "even_odd": lambda _: Program("even_odd", total, 2, 10, 1, 19),
    "half": lambda _: Program("half", total, 2, 5, 1, 19),
    "shortest_path": _shortest_path,
    "xor": lambda _: Program("xor", xor, 2, 2, 1, 2),
}
"""Each makes a program of a size: digits of a summand for ``addition``, cells along an edge for ``shortest_path``."""


def program_of(name: str, size: int) -> Program:
    """A program by its name, or ``MODULE:NAME`` for a ``Program`` of the user's own.

    Args:
        name: The name.
        size: Digits of a summand, or cells along the edge of a map; other programs have one size.

    Raises:
        UnknownNameError: If there is none of that name.
        BadInputError: If the user's own cannot be imported, or the size is none that the program can have.
    """
    module, colon, own = name.partition(":")
    if not colon:
        if name not in PROGRAMS:
            raise UnknownNameError("program", name, PROGRAMS, "or give MODULE:NAME of a Program of your own")
        if name == "addition" and not 1 <= size <= MOST_DIGITS:
            raise BadInputError(f"addition of {size} digits: give a number from 1 to {MOST_DIGITS}")
        return PROGRAMS[name](size)
    try:
        found = getattr(importlib.import_module(module), own)
    except (ImportError, AttributeError) as error:
        raise BadInputError(f"program {name}: {error}; give MODULE:NAME of a Program that can be imported") from error
    if not isinstance(found, Program):
        raise BadInputError(
            f"program {name} is a {type(found).__name__}; make it a moecap.tasks.nesydm.programs.Program"
        )
    return found
