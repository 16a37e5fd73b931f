"""RULER's variable tracking: a value goes from variable to variable, among repeated lines; one solved example."""

from __future__ import annotations

import random
import string
from itertools import pairwise

from moecap.tasks.ruler.needles import NOISE
from moecap.tasks.ruler.puzzle import Puzzle, seeded

__all__ = ["chain_puzzle"]

HOPS = 4
EXAMPLE_LINES = 8
"""Lines of the solved example, which RULER bounds by 500 tokens."""


def chain_puzzle(*seed: object) -> Puzzle:
    """A question for all variables of one value, with a solved example before it."""
    rng = seeded(*seed, "chains")
    solved_names, solved_value = _names(rng, 3), str(rng.randint(10000, 99999))
    example = _asked(_lines(solved_names, solved_value, EXAMPLE_LINES, rng), solved_value) + " ".join(solved_names)
    names, value = _names(rng, 5), str(rng.randint(10000, 99999))

    def prompt(size: int) -> str:
        return f"{example}\n\n{_asked(_lines(names, value, size, seeded(*seed, 'places')), value)}"

    return Puzzle(tuple(names), prompt, least=HOPS + 1)


def _names(rng: random.Random, letters: int) -> list[str]:
    names: list[str] = []
    while len(names) <= HOPS:
        name = "".join(rng.choices(string.ascii_uppercase, k=letters))
        if name not in names:
            names.append(name)
    return names


def _lines(names: list[str], value: str, size: int, rng: random.Random) -> str:
    """The assignments in their order, at places drawn among the repeated lines."""
    assigned = [f"VAR {names[0]} = {value}"]
    assigned += [f"VAR {new} = VAR {old}" for old, new in pairwise(names)]
    lines = [NOISE] * size
    for number, place in enumerate(sorted(rng.sample(range(size), len(assigned)))):
        lines.insert(place + number, assigned[number])
    return "\n".join(lines)


def _asked(context: str, value: str) -> str:
    return (
        "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n"
        f"{context}\nQuestion: Find all variables that are assigned the value {value} in the text above. Answer: "
        f"According to the chain(s) of variable assignment in the text above, {HOPS + 1} variables are assigned the "
        f"value {value}, they are: "
    )
