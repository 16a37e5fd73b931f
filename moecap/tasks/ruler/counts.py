"""RULER's counts of words: the ten words of a list that come more often, and the three commonest of a coded text."""

from __future__ import annotations

import math
import random
import string
from functools import cache

from moecap.tasks.ruler.puzzle import Puzzle, seeded
from moecap.tasks.ruler.vocabulary import english_words

__all__ = ["coded_puzzle", "common_puzzle"]

COMMON = 10
"""Common words of a list."""

SHORT = 4096
"""Tokens below which lists repeat their words less often."""

CODE_LETTERS = 6
ZETA_2 = math.pi**2 / 6


def common_puzzle(length: int, *seed: object) -> Puzzle:
    """A question for the ten most common words of a numbered list, with a solved example before it.

    Args:
        length: Tokens of the whole prompt with its answer, which decides how often words are repeated.
        seed: What tells this question from all others.
    """
    rng = seeded(*seed, "words")
    words = list(_all_words())
    rng.shuffle(words)
    common, others = words[:COMMON], words[COMMON:]
    shown, often, seldom = (20, 3, 1) if length < SHORT else (40, 10, 3)
    solved = rng.sample(others, shown)
    example = _listed(solved[:COMMON], solved[COMMON:], often, seldom, rng) + " " + _numbered(solved[:COMMON])
    often, seldom = (6, 1) if length < SHORT else (30, 3)

    def prompt(size: int) -> str:
        return f"{example}\n{_listed(common, others[:size], often, seldom, seeded(*seed, 'places'))}"

    return Puzzle(tuple(common), prompt, least=1, most=len(others))


def coded_puzzle(length: int, *seed: object) -> Puzzle:
    """A question for the three most frequent words of a coded text, whose frequencies fall as 1/rank².

    The most frequent of all are dots, which do not count.

    Args:
        length: Tokens of the prompt, which decides how many words there are.
        seed: What tells this question from all others.
    """
    rng = seeded(*seed, "code")
    vocabulary: dict[str, None] = {}
    while len(vocabulary) < max(4, length // 50):
        vocabulary["".join(rng.choices(string.ascii_lowercase, k=CODE_LETTERS))] = None
    words = ["...", *list(vocabulary)[1:]]

    def prompt(size: int) -> str:
        counts = [int(size / rank**2 / ZETA_2) for rank in range(1, len(words) + 1)]
        text = [word for word, count in zip(words, counts, strict=True) for _ in range(count)]
        seeded(*seed, "places").shuffle(text)
        return (
            "Read the following coded text and track the frequency of each coded word. Find the three most frequently "
            f"appeared coded words. {' '.join(text)}\nQuestion: Do not provide any explanation. Please ignore the dots "
            "'....'. What are the three most frequently appeared words in the above coded text? Answer: According to "
            "the coded text above, the three most frequently appeared words are:"
        )

    return Puzzle(tuple(words[1:4]), prompt, least=100)


@cache
def _all_words() -> tuple[str, ...]:
    return tuple(sorted({*english_words("nouns"), *english_words("adjectives"), *english_words("verbs")}))


def _listed(common: list[str], others: list[str], often: int, seldom: int, rng: random.Random) -> str:
    words = common * often + others * seldom
    rng.shuffle(words)
    return (
        "Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that "
        f"appear most often.\n{_numbered(words)}\nQuestion: What are the 10 most common words in the above list? "
        "Answer: The top 10 words that appear most often in the list are:"
    )


def _numbered(words: list[str]) -> str:
    return " ".join(f"{number}. {word}" for number, word in enumerate(words, 1))
