"""RULER's needles in a haystack: values of keys, hidden among repeated lines, essays or other needles."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from moecap.tasks.ruler.puzzle import Puzzle, seeded
from moecap.tasks.ruler.vocabulary import english_words

__all__ = ["NEEDLES", "NOISE", "Needle", "needle_puzzle"]

NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
"""A line of the haystack of repeated lines."""

DEPTHS = tuple(round(100 * place / 39) for place in range(40))
"""Per cent of an essay at which needles are put."""

Kind = Literal["words", "numbers", "uuids"]


@dataclass(frozen=True, slots=True)
class Needle:
    """One of the eight tasks.

    Attributes:
        haystack: What hides the needles.
        keys: What keys are.
        values: What values are.
        pairs: Keys that have values.
        each: Values of a key.
        asked: Keys that are asked for.
    """

    haystack: Literal["noise", "essay", "needle"]
    keys: Kind = "words"
    values: Kind = "numbers"
    pairs: int = 1
    each: int = 1
    asked: int = 1


NEEDLES = {
    "niah_single_1": Needle("noise"),
    "niah_single_2": Needle("essay"),
    "niah_single_3": Needle("essay", values="uuids"),
    "niah_multikey_1": Needle("essay", pairs=4),
    "niah_multikey_2": Needle("needle"),
    "niah_multikey_3": Needle("needle", keys="uuids", values="uuids"),
    "niah_multivalue": Needle("essay", each=4),
    "niah_multiquery": Needle("essay", pairs=4, asked=4),
}


def needle_puzzle(needle: Needle, essay: Sequence[str], *seed: object) -> Puzzle:
    """A question for the values of keys.

    Args:
        needle: The task.
        essay: Words of the essays; needed by tasks that hide needles in them.
        seed: What tells this question from all others.
    """
    rng = seeded(*seed, "needles")
    pairs = [
        (_drawn(needle.keys, rng), [_drawn(needle.values, rng) for _ in range(needle.each)])
        for _ in range(needle.pairs)
    ]
    hidden = [_sentence(needle.values, key, value) for key, values in pairs for value in values]
    rng.shuffle(hidden)
    chosen = rng.sample(pairs, needle.asked)
    question = _question(needle.values, [key for key, _ in chosen], single=needle.asked * needle.each == 1)
    golds = tuple(value for _, values in chosen for value in values)

    def prompt(size: int) -> str:
        return question(_haystack(needle, essay, hidden, size, seeded(*seed, "places")))

    return Puzzle(golds, prompt, least=len(hidden))


def _haystack(needle: Needle, essay: Sequence[str], hidden: Sequence[str], size: int, rng: random.Random) -> str:
    if needle.haystack == "essay":
        return _in_essay(_words(essay, size), hidden, rng)
    places = sorted(rng.sample(range(size), len(hidden)), reverse=True)
    if needle.haystack == "noise":
        lines = [NOISE] * size
    else:
        lines = [_sentence(needle.values, _drawn(needle.keys, rng), _drawn(needle.values, rng)) for _ in range(size)]
    for place, line in zip(places, hidden, strict=True):
        lines.insert(place, line)
    return "\n".join(lines)


def _words(essay: Sequence[str], size: int) -> str:
    repeats = -(-size // len(essay))
    return " ".join((list(essay) * repeats)[:size])


def _in_essay(text: str, hidden: Sequence[str], rng: random.Random) -> str:
    """The text with the needles between its sentences, at depths drawn among forty."""
    sentences = re.split(r"(?<=[.!?])\s+", text)
    places = sorted(len(sentences) * depth // 100 for depth in rng.sample(DEPTHS, len(hidden)))
    pieces, last = [], 0
    for place, line in zip(places, hidden, strict=True):
        pieces += [*sentences[last:place], line]
        last = place
    return " ".join([*pieces, *sentences[last:]])


def _sentence(kind: Kind, key: str, value: str) -> str:
    return f"One of the special magic {kind} for {key} is: {value}."


def _question(kind: Kind, keys: Sequence[str], *, single: bool) -> Callable[[str], str]:
    named = keys[0] if len(keys) == 1 else ", ".join(keys[:-1]) + ", and " + keys[-1]
    what, some, are, which = (kind[:-1], "A", "is", "is") if single else (kind, "Some", "are", "are all")

    def question(context: str) -> str:
        return (
            f"{some} special magic {what} {are} hidden within the following text. Make sure to memorize it. I will "
            f"quiz you about the {what} afterwards.\n{context}\nWhat {which} the special magic {what} for {named} "
            f"mentioned in the provided text? The special magic {what} for {named} mentioned in the provided text {are}"
        )

    return question


def _drawn(kind: Kind, rng: random.Random) -> str:
    if kind == "numbers":
        return str(rng.randint(10**6, 10**7 - 1))
    if kind == "uuids":
        return str(uuid.UUID(int=rng.getrandbits(128), version=4))
    adjectives, nouns = _adjectives_and_nouns()
    return f"{rng.choice(adjectives)}-{rng.choice(nouns)}"


@cache
def _adjectives_and_nouns() -> tuple[list[str], list[str]]:
    return english_words("adjectives"), english_words("nouns")
